//! The key that clients know this cluster by. Made once: another one would look like somebody in between.

use anyhow::Context;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Reads the key or makes it, and writes down its fingerprint: SHA-256, base64 without padding, as Cloud
/// Foundry's clients compare it.
pub fn open(key_file: &Path, fingerprint_file: &Path) -> anyhow::Result<PrivateKey> {
    let key = match std::fs::read_to_string(key_file) {
        Ok(text) => PrivateKey::from_openssh(&text)
            .with_context(|| format!("{} is no key", key_file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(key_file)?,
        Err(error) => {
            return Err(error).with_context(|| format!("reading {}", key_file.display()));
        }
    };
    let text = key.public_key().fingerprint(HashAlg::Sha256).to_string();
    let fingerprint = text.strip_prefix("SHA256:").unwrap_or(&text);
    replace(fingerprint_file, fingerprint.as_bytes(), 0o644)?;
    Ok(key)
}

fn make(file: &Path) -> anyhow::Result<PrivateKey> {
    let pair = Ed25519Keypair::from_seed(&rand::random());
    let key = PrivateKey::new(KeypairData::from(pair), "stackyard").context("making a key")?;
    let text = key.to_openssh(LineEnding::LF).context("writing a key")?;
    replace(file, text.as_bytes(), 0o600)?;
    Ok(key)
}

/// Whole or not at all.
fn replace(file: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let fresh = file.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut written = std::fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(mode)
            .open(&fresh)?;
        written.write_all(content)?;
        written.sync_all()?;
        std::fs::rename(&fresh, file)
    };
    write().with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_stays_the_same_and_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let (key, fingerprint) = (folder.path().join("key"), folder.path().join("print"));
        let first = open(&key, &fingerprint).unwrap();
        let print = std::fs::read_to_string(&fingerprint).unwrap();
        assert_eq!(print.len(), 43);
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = open(&key, &fingerprint).unwrap();
        assert_eq!(first.public_key(), second.public_key());
        assert_eq!(std::fs::read_to_string(&fingerprint).unwrap(), print);
        std::fs::write(&key, "no key").unwrap();
        assert!(open(&key, &fingerprint).is_err());
    }
}
