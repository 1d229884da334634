//! The certificate of a cluster that nobody gave one: it signs itself, so that TLS can be tried at once.
//!
//! It is written once, as `default.pem`, and is the operator's from then on: to be replaced, or removed with
//! others in its place.

use super::files;
use anyhow::Context;
use std::path::Path;

/// Makes sure that the folder holds a certificate.
pub fn provide(folder: &Path, domain: &str) -> anyhow::Result<()> {
    let holds_one = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().ends_with(".pem"));
    if holds_one {
        return Ok(());
    }
    let names = vec![format!("*.{domain}"), domain.to_string()];
    let made = rcgen::generate_simple_self_signed(names)
        .context("making a certificate that signs itself")?;
    let text = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
    Ok(files::write(
        &folder.join("default.pem"),
        text.as_bytes(),
        0o600,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gets_a_certificate_once() {
        let folder = tempfile::tempdir().expect("a folder");
        provide(folder.path(), "yard.test").expect("a certificate");
        let file = folder.path().join("default.pem");
        let first = std::fs::read_to_string(&file).expect("the file");
        assert!(first.contains("PRIVATE KEY") && first.contains("BEGIN CERTIFICATE"));
        provide(folder.path(), "yard.test").expect("nothing to do");
        let again = std::fs::read_to_string(&file).expect("the file");
        assert_eq!(first, again);
    }
}
