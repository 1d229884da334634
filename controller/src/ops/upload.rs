//! From an uploaded zip and a list of matched files to a stored package.
//!
//! The zip is judged by its table of contents ([`crate::domain::archive`]) before anything of it
//! is used. Matched files come from the blob store and are added; then the whole is stored under its
//! checksum. Afterwards, when the answer is out, its larger files are kept one by one, so that the
//! next push need not send them.

use super::{Ops, Refusal};
use crate::blobs::Digests;
use crate::domain::archive::{self, Bounds, Entry, EntryKind};
use proto::api::{PackageFile, Resource};
use sha1::Digest;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Smaller files are cheaper sent than asked for.
pub const SMALLEST_RESOURCE: u64 = 64 * 1024;
/// Larger ones are not kept on their own.
const LARGEST_RESOURCE: u64 = 512 * 1024 * 1024;
/// Most files kept of one package.
const MOST_RESOURCES: usize = 500;
/// What bounds a package once it is unpacked.
const MAX_UNPACKED: &str = "controller/packages/max_unpacked_size";
/// Longest target of a symlink that is read.
const LONGEST_LINK: u64 = 4096;

/// What was received. The folder is removed with it.
pub struct Upload {
    pub folder: TempDir,
    /// The zip, if one was sent.
    pub zip: Option<PathBuf>,
    /// Files the server has, as matched before.
    pub resources: Vec<Resource>,
}

impl Ops {
    /// A folder of its own for an upload.
    pub fn upload_folder(&self) -> Result<TempDir, Refusal> {
        tempfile::Builder::new()
            .prefix("upload-")
            .tempdir_in(&self.scratch)
            .map_err(Refusal::internal("making a folder for an upload"))
    }
}

/// Checks and stores.
pub(super) async fn process(ops: &Ops, upload: &Upload) -> Result<Digests, Refusal> {
    let settings = ops.settings();
    let bounds = Bounds {
        max_entries: settings.integer("controller/packages/max_files").max(0) as u64,
        max_unpacked: settings.size(MAX_UNPACKED),
        setting: Some(MAX_UNPACKED),
    };
    let fetched = fetch_resources(ops, upload, bounds).await?;
    let zip = upload.zip.clone();
    let target = upload.folder.path().join("complete.zip");
    let built = {
        let target = target.clone();
        blocking("looking at a package", move || {
            complete(zip.as_deref(), &fetched, bounds, &target)
        })
        .await?
    };
    let path = match (built, &upload.zip) {
        (true, _) => target,
        (false, Some(zip)) => zip.clone(),
        (false, None) => {
            return Err(Refusal::InvalidBits(
                "no bits were sent: the app has no files".into(),
            ));
        }
    };
    Ok(ops
        .blobs
        .keep_file(&path, |sum| format!("packages/{sum}"))
        .await?)
}

pub(super) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Refusal::internal(operation))?
}

/// A matched file, copied out of the blob store.
struct Fetched {
    path: String,
    mode: u32,
    file: PathBuf,
}

async fn fetch_resources(
    ops: &Ops,
    upload: &Upload,
    bounds: Bounds,
) -> Result<Vec<Fetched>, Refusal> {
    if upload.resources.len() as u64 > bounds.max_entries {
        return Err(Refusal::InvalidBits(format!(
            "more than {} resources are named",
            bounds.max_entries
        )));
    }
    let total = upload.resources.iter().fold(0_u64, |sum, resource| {
        sum.saturating_add(resource.size_in_bytes)
    });
    if total > bounds.max_unpacked {
        return Err(Refusal::InvalidBits(format!(
            "the resources come to more than {} bytes",
            bounds.max_unpacked
        )));
    }
    let mut fetched = Vec::new();
    for (number, resource) in upload.resources.iter().enumerate() {
        let parts =
            archive::parts(&resource.path).map_err(|error| Refusal::InvalidBits(error.0))?;
        if parts.is_empty() {
            return Err(Refusal::InvalidBits("a resource has no path".into()));
        }
        let mode = u32::from_str_radix(&resource.mode, 8).map_err(|_| {
            Refusal::InvalidBits(format!(
                "the resource '{}' has no octal mode",
                resource.path
            ))
        })?;
        let key = super::resource_matches::key(&resource.checksum.value).ok_or_else(|| {
            Refusal::InvalidBits(format!("the resource '{}' has no SHA-1", resource.path))
        })?;
        let file = upload.folder.path().join(format!("resource-{number}"));
        if !ops.blobs.fetch(&key, &file).await? {
            return Err(Refusal::InvalidBits(format!(
                "the resource '{}' is not here (any more): send it",
                resource.path
            )));
        }
        fetched.push(Fetched {
            path: parts.join("/"),
            mode: mode & 0o777,
            file,
        });
    }
    Ok(fetched)
}

/// Writes zip plus resources to `target`; false: there are no resources, the zip is complete.
fn complete(
    zip: Option<&Path>,
    resources: &[Fetched],
    bounds: Bounds,
    target: &Path,
) -> Result<bool, Refusal> {
    let mut source = match zip {
        Some(path) => Some(open(path)?),
        None => None,
    };
    let mut entries = match &mut source {
        Some(source) => table_of_contents(source, bounds)?,
        None => Vec::new(),
    };
    for resource in resources {
        let size = resource
            .file
            .metadata()
            .map_err(Refusal::internal("looking at a resource"))?
            .len();
        entries.push(Entry {
            name: resource.path.clone(),
            kind: EntryKind::File,
            size,
        });
    }
    let contents =
        archive::check(&entries, bounds).map_err(|error| Refusal::InvalidBits(error.0))?;
    if contents.files == 0 {
        return Err(Refusal::InvalidBits("the app has no files".into()));
    }
    if resources.is_empty() {
        return Ok(false);
    }
    let file = File::create(target).map_err(Refusal::internal("writing a package"))?;
    let mut writer = ZipWriter::new(std::io::BufWriter::new(file));
    if let Some(source) = &mut source {
        // The table of contents stands in the order of the zip, with the resources after it.
        for (number, entry) in entries.iter().enumerate().take(source.len()) {
            if let EntryKind::Symlink { target } = &entry.kind {
                // A raw copy keeps the permissions only, and would make a file of it.
                writer
                    .add_symlink(&entry.name, target, SimpleFileOptions::default())
                    .map_err(Refusal::internal("adding a symlink to a package"))?;
                continue;
            }
            let entry = source.by_index_raw(number).map_err(not_a_zip)?;
            writer
                .raw_copy_file(entry)
                .map_err(Refusal::internal("copying an entry of a package"))?;
        }
    }
    for resource in resources {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(1))
            .large_file(true)
            .unix_permissions(resource.mode);
        writer
            .start_file(&resource.path, options)
            .map_err(Refusal::internal("adding a file to a package"))?;
        let mut file =
            File::open(&resource.file).map_err(Refusal::internal("reading a resource"))?;
        std::io::copy(&mut file, &mut writer)
            .map_err(Refusal::internal("adding a file to a package"))?;
    }
    let mut file = writer
        .finish()
        .map_err(Refusal::internal("finishing a package"))?;
    file.flush()
        .map_err(Refusal::internal("finishing a package"))?;
    Ok(true)
}

pub(super) fn open(path: &Path) -> Result<ZipArchive<File>, Refusal> {
    let file = File::open(path).map_err(Refusal::internal("opening an upload"))?;
    ZipArchive::new(file).map_err(not_a_zip)
}

fn not_a_zip(error: zip::result::ZipError) -> Refusal {
    Refusal::InvalidBits(format!("the upload is no valid zip: {error}"))
}

/// The entries of a zip, bounded by their number.
pub fn table_of_contents(
    source: &mut ZipArchive<File>,
    bounds: Bounds,
) -> Result<Vec<Entry>, Refusal> {
    if source.len() as u64 > bounds.max_entries {
        return Err(Refusal::InvalidBits(format!(
            "it holds {} entries, at most {} are allowed",
            source.len(),
            bounds.max_entries
        )));
    }
    let mut entries = Vec::with_capacity(source.len());
    for number in 0..source.len() {
        let entry = source.by_index_raw(number).map_err(not_a_zip)?;
        let (name, size, mode) = (entry.name().to_string(), entry.size(), entry.unix_mode());
        if entry.encrypted() {
            return Err(Refusal::InvalidBits(format!(
                "the entry '{name}' is encrypted"
            )));
        }
        let is_folder = entry.is_dir();
        drop(entry);
        const TYPE: u32 = 0o170_000;
        let kind = match mode.map(|mode| mode & TYPE) {
            _ if is_folder => EntryKind::Folder,
            Some(0o120_000) => {
                if size > LONGEST_LINK {
                    return Err(Refusal::InvalidBits(format!(
                        "the symlink '{name}' is too long"
                    )));
                }
                let mut target = String::new();
                let entry = source.by_index(number).map_err(not_a_zip)?;
                entry
                    .take(LONGEST_LINK)
                    .read_to_string(&mut target)
                    .map_err(|_| {
                        Refusal::InvalidBits(format!("the symlink '{name}' cannot be read"))
                    })?;
                EntryKind::Symlink { target }
            }
            None | Some(0 | 0o100_000) => EntryKind::File,
            Some(_) => EntryKind::Other,
        };
        entries.push(Entry { name, kind, size });
    }
    Ok(entries)
}

/// The files of a stored package.
pub(super) async fn files_of(zip: PathBuf) -> Result<Vec<PackageFile>, Refusal> {
    blocking("reading the files of a package", move || {
        let mut source = open(&zip)?;
        let mut files = Vec::with_capacity(source.len());
        for number in 0..source.len() {
            let entry = source.by_index_raw(number).map_err(not_a_zip)?;
            if entry.is_dir() {
                continue;
            }
            files.push(PackageFile {
                path: entry.name().to_string(),
                size_in_bytes: entry.size(),
                crc32: entry.crc32(),
                mode: format!("{:o}", entry.unix_mode().unwrap_or_default() & 0o777),
            });
        }
        Ok(files)
    })
    .await
}

/// Keeps the larger files of a package one by one, in the background.
pub(super) fn keep_resources(ops: &Ops, upload: Upload) {
    let Some(zip) = upload.zip.clone() else {
        return;
    };
    let worker = ops.clone();
    ops.tasks.spawn_once("keep-resources", async move {
        if let Err(error) = keep(&worker, &upload, zip).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "files of a package were not kept for later pushes"
            );
        }
    });
}

async fn keep(ops: &Ops, upload: &Upload, zip: PathBuf) -> Result<(), Refusal> {
    let large = {
        let zip = zip.clone();
        blocking("listing the large files of a package", move || {
            large_files(&zip)
        })
        .await?
    };
    for number in large {
        let (zip, file) = (zip.clone(), upload.folder.path().join("keep"));
        let extracted = file.clone();
        let sha1 = blocking("unpacking a file to keep", move || {
            extract(&zip, number, &extracted)
        })
        .await?;
        let Some(sha1) = sha1 else { continue };
        let key = format!("resources/{sha1}");
        if ops.blobs.size(&key).await?.is_none() {
            ops.blobs.put_file(&key, &file).await?;
        }
    }
    Ok(())
}

fn large_files(zip: &Path) -> Result<Vec<usize>, Refusal> {
    let mut source = open(zip)?;
    let mut large = BTreeSet::new();
    for number in 0..source.len() {
        let entry = source.by_index_raw(number).map_err(not_a_zip)?;
        let is_file = !entry.is_dir()
            && entry
                .unix_mode()
                .is_none_or(|mode| matches!(mode & 0o170_000, 0 | 0o100_000));
        if is_file && (SMALLEST_RESOURCE..=LARGEST_RESOURCE).contains(&entry.size()) {
            large.insert(number);
        }
    }
    Ok(large.into_iter().take(MOST_RESOURCES).collect())
}

/// Unpacks one entry and returns its SHA-1; None if it is not what it declared.
fn extract(zip: &Path, number: usize, target: &Path) -> Result<Option<String>, Refusal> {
    let mut source = open(zip)?;
    let entry = source.by_index(number).map_err(not_a_zip)?;
    let size = entry.size();
    let mut reader = entry.take(size + 1);
    let mut file = File::create(target).map_err(Refusal::internal("writing a file to keep"))?;
    let mut sha1 = sha1::Sha1::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0_u64;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) => return Ok(None),
        };
        total += count as u64;
        sha1.update(&buffer[..count]);
        file.write_all(&buffer[..count])
            .map_err(Refusal::internal("writing a file to keep"))?;
    }
    Ok((total == size).then(|| crate::blobs::hex(&sha1.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_entries: 10,
        max_unpacked: 1 << 20,
        setting: None,
    };

    /// A zip of (name, unix mode with type, content).
    fn zip(folder: &Path, entries: &[(&str, u32, &str)]) -> PathBuf {
        let path = folder.join("package.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, mode, content) in entries {
            let options = SimpleFileOptions::default().unix_permissions(*mode & 0o777);
            if mode & 0o170_000 == 0o120_000 {
                writer.add_symlink(*name, *content, options).unwrap();
            } else {
                writer.start_file(*name, options).unwrap();
                writer.write_all(content.as_bytes()).unwrap();
            }
        }
        writer.finish().unwrap();
        path
    }

    fn refused(entries: &[(&str, u32, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = zip(folder.path(), entries);
        let refusal = complete(Some(&path), &[], BOUNDS, &folder.path().join("out")).unwrap_err();
        assert!(matches!(refusal, Refusal::InvalidBits(_)), "{refusal:?}");
        refusal.to_string()
    }

    #[test]
    fn a_package_that_leads_out_of_the_app_is_refused() {
        assert!(refused(&[("../evil", 0o644, "x")]).contains("'../evil' leads out of it"));
        assert!(refused(&[("link", 0o120_777, "/etc/passwd")]).contains("'link' leads out of it"));
        assert!(refused(&[("/abs", 0o644, "x")]).contains("absolute"));
        let bomb = "0".repeat((1 << 20) + 1);
        assert!(refused(&[("bomb", 0o644, &bomb)]).contains("unpacks to more than"));
        assert!(refused(&[]).contains("no files"));
    }

    #[test]
    fn what_is_no_zip_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "hello").unwrap();
        let refusal = complete(Some(&path), &[], BOUNDS, &folder.path().join("out")).unwrap_err();
        assert!(refusal.to_string().contains("no valid zip"), "{refusal}");
    }

    #[test]
    fn matched_files_are_added() {
        let folder = tempfile::tempdir().unwrap();
        let path = zip(
            folder.path(),
            &[("a.txt", 0o644, "a"), ("link", 0o120_777, "a.txt")],
        );
        let resource = folder.path().join("r");
        std::fs::write(&resource, "resource").unwrap();
        let out = folder.path().join("out.zip");
        let fetched = [Fetched {
            path: "lib/run.sh".into(),
            mode: 0o755,
            file: resource,
        }];
        assert!(complete(Some(&path), &fetched, BOUNDS, &out).unwrap());
        let mut archive = open(&out).unwrap();
        let entries = table_of_contents(&mut archive, BOUNDS).unwrap();
        assert_eq!(
            entries
                .iter()
                .map(|entry| entry.name.as_str())
                .collect::<Vec<_>>(),
            ["a.txt", "link", "lib/run.sh"]
        );
        assert_eq!(
            entries[1].kind,
            EntryKind::Symlink {
                target: "a.txt".into()
            }
        );
        let mut text = String::new();
        let mut entry = archive.by_name("lib/run.sh").unwrap();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(
            (text.as_str(), entry.unix_mode().map(|mode| mode & 0o777)),
            ("resource", Some(0o755))
        );
    }
}
