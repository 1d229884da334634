//! Droplets that users upload: looked through before they are anybody's to run.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;

/// Where a droplet says what it runs.
const INFO: &str = "staging_info.yml";
const LONGEST_INFO: u64 = 1 << 20;

/// What a droplet says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Info {
    pub detected_buildpack: String,
    pub start_command: String,
    /// Type to command.
    pub process_types: BTreeMap<String, String>,
}

impl Info {
    /// The commands it brings: those of each type, or of the one that every droplet names.
    pub fn processes(self) -> BTreeMap<String, String> {
        let mut processes = self.process_types;
        if !self.start_command.trim().is_empty() {
            processes
                .entry("web".to_string())
                .or_insert(self.start_command);
        }
        processes
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub max_entries: u64,
    pub max_unpacked: u64,
}

/// Reads a gzipped tar to its end.
pub fn look_through(archive: impl Read, bounds: Bounds) -> Result<Info, String> {
    // One byte more than may be is enough to tell.
    let text = flate2::read::MultiGzDecoder::new(archive).take(bounds.max_unpacked + 1);
    let mut tar = tar::Archive::new(text);
    let walked = walk(&mut tar, bounds.max_entries);
    if tar.into_inner().limit() == 0 {
        return Err(format!(
            "it unpacks to more than {} bytes",
            bounds.max_unpacked
        ));
    }
    walked
}

fn walk(tar: &mut tar::Archive<impl Read>, max_entries: u64) -> Result<Info, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read as a gzipped tar: {error}");
    let (mut info, mut entries, mut has_app) = (None, 0, false);
    for entry in tar.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        entries += 1;
        if entries > max_entries {
            return Err(format!("it has more than {max_entries} files"));
        }
        let path = entry.path().map_err(unreadable)?;
        let path = path.strip_prefix(".").unwrap_or(&path).to_path_buf();
        has_app |= path.starts_with("app");
        if path.as_os_str() == INFO {
            let mut read = String::new();
            let mut limited = entry.take(LONGEST_INFO);
            limited.read_to_string(&mut read).map_err(unreadable)?;
            let parsed: Info = yaml_serde::from_str(&read)
                .map_err(|error| format!("its {INFO} cannot be read: {error}"))?;
            info = Some(parsed);
        }
    }
    if !has_app {
        return Err("it holds no folder 'app': is it a droplet?".to_string());
    }
    Ok(info.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const BOUNDS: Bounds = Bounds {
        max_entries: 10,
        max_unpacked: 1 << 20,
    };

    fn droplet(files: &[(&str, &str)]) -> Vec<u8> {
        let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(packed);
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, content.as_bytes())
                .unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn a_droplet_says_what_it_runs() {
        let ours = droplet(&[
            ("./app/x", "y"),
            (
                "./staging_info.yml",
                r#"{"start_command":"run","detected_buildpack":"go","process_types":{"web":"run","worker":"work"}}"#,
            ),
        ]);
        let info = look_through(&ours[..], BOUNDS).unwrap();
        assert_eq!(info.detected_buildpack, "go");
        let commands = info.processes();
        assert_eq!(commands["web"], "run");
        assert_eq!(commands["worker"], "work");
        let others = droplet(&[
            ("./app/x", "y"),
            ("./staging_info.yml", "start_command: bin/start\n"),
        ]);
        let commands = look_through(&others[..], BOUNDS).unwrap().processes();
        assert_eq!(
            commands,
            BTreeMap::from([("web".to_string(), "bin/start".to_string())])
        );
        let silent = look_through(&droplet(&[("app/x", "")])[..], BOUNDS).unwrap();
        assert!(silent.processes().is_empty());
    }

    #[test]
    fn what_is_no_droplet_is_refused_with_the_reason() {
        let why = |bytes: &[u8]| look_through(bytes, BOUNDS).unwrap_err();
        assert!(why(b"PK\x03\x04").contains("gzipped tar"));
        assert!(why(&droplet(&[("README", "x")])).contains("no folder 'app'"));
        let broken = droplet(&[("app/x", "y"), ("staging_info.yml", "[")]);
        assert!(
            why(&broken).contains("staging_info.yml"),
            "{}",
            why(&broken)
        );
        let many: Vec<(String, &str)> = (0..11).map(|n| (format!("app/{n}"), "")).collect();
        let many: Vec<(&str, &str)> = many
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        assert!(why(&droplet(&many)).contains("more than 10 files"));
        let large = "x".repeat(2 << 20);
        assert!(why(&droplet(&[("app/x", &large)])).contains("more than 1048576 bytes"));
        let mut cut = droplet(&[("app/x", &"abc".repeat(5000))]);
        cut.truncate(cut.len() / 2);
        assert!(why(&cut).contains("gzipped tar"));
    }

    #[test]
    fn a_bomb_is_not_unpacked_to_its_end() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0; 1 << 20];
        for _ in 0..8 {
            packed.write_all(&zeros).unwrap();
        }
        assert!(look_through(&packed.finish().unwrap()[..], BOUNDS).is_err());
    }
}
