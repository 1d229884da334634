//! The end of a log file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The last lines; none if the file cannot be read.
pub fn last_lines(file: &Path, number: usize) -> Vec<String> {
    const ENOUGH: u64 = 64 * 1024;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
        let mut bytes = Vec::new();
        file.take(ENOUGH).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(number)..]
        .iter()
        .map(|line| line.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("log");
        std::fs::write(&file, "one\ntwo\n\nthree\n").expect("a log");
        assert_eq!(last_lines(&file, 2), ["two", "three"]);
        assert_eq!(
            last_lines(&folder.path().join("none"), 2),
            Vec::<String>::new()
        );
    }
}
