//! Files with the right mode, written whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct FileError {
    pub operation: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

pub(crate) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError {
        operation,
        path,
        source,
    }
}

/// Makes a folder and its parents; sets the mode of the folder itself also if it exists.
pub fn folder(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(failed("create the folder", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of", path))
}

/// Writes a file beside its place and moves it there, so that no reader sees half of it and no
/// crash leaves half of it.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("file");
    let beside = parent.join(format!(".{name}.{}.new", std::process::id()));
    let writing = || -> io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    writing().map_err(|source| {
        let _ = fs::remove_file(&beside);
        failed("write", path)(source)
    })
}

/// The text of a file, `None` if there is none.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path)(source)),
    }
}

/// Reads JSON, or the default where there is no file.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    match read(path)? {
        None => Ok(None),
        Some(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| failed("understand", path)(io::Error::other(error))),
    }
}

pub fn write_json<T: serde::Serialize>(path: &Path, value: &T, mode: u32) -> Result<(), FileError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| failed("write", path)(io::Error::other(error)))?;
    text.push(b'\n');
    write(path, &text, mode)
}

/// Writes a secret once; afterwards it stays as it is.
pub fn once(path: &Path, content: impl FnOnce() -> String) -> Result<String, FileError> {
    if let Some(text) = read(path)? {
        return Ok(text.trim_end().to_string());
    }
    let text = content();
    write(path, format!("{text}\n").as_bytes(), 0o600)?;
    Ok(text)
}
