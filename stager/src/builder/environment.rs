//! The environment of the buildpacks' scripts, and the script that gives the running app the
//! same dependencies.
//!
//! A buildpack puts programs and libraries into `deps/<index>/{bin,lib,include,pkgconfig}` and
//! single variables into `deps/<index>/env/NAME`; buildpacks that come later, and the app, find
//! them through the usual search paths, the latest index first.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What one buildpack left in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependency {
    pub folder: PathBuf,
    /// Subfolders that exist, of those in [`SEARCH`].
    pub folders: Vec<&'static str>,
    pub variables: BTreeMap<String, String>,
}

/// Subfolder, variable while staging, and whether the running app needs it too.
pub const SEARCH: [(&str, &str, bool); 6] = [
    ("bin", "PATH", true),
    ("lib", "LD_LIBRARY_PATH", true),
    ("lib", "LIBRARY_PATH", false),
    ("include", "CPATH", false),
    ("pkgconfig", "PKG_CONFIG_PATH", false),
    ("share/pkgconfig", "PKG_CONFIG_PATH", false),
];

/// Environment of a script: the inherited one, the fixed variables, and what earlier buildpacks made.
pub fn of_script(
    inherited: &BTreeMap<String, String>,
    fixed: &BTreeMap<String, String>,
    dependencies: &[Dependency],
) -> BTreeMap<String, String> {
    let mut environment = inherited.clone();
    environment.extend(fixed.clone());
    environment
        .entry("PATH".to_string())
        .or_insert_with(|| DEFAULT_PATH.to_string());
    environment
        .entry("LANG".to_string())
        .or_insert_with(|| "C.UTF-8".to_string());
    for dependency in dependencies {
        for (subfolder, variable, _) in SEARCH {
            if dependency.folders.contains(&subfolder) {
                prepend(
                    &mut environment,
                    variable,
                    &dependency.folder.join(subfolder),
                );
            }
        }
        environment.extend(dependency.variables.clone());
    }
    environment
}

fn prepend(environment: &mut BTreeMap<String, String>, variable: &str, folder: &Path) {
    let value = match environment.get(variable).filter(|rest| !rest.is_empty()) {
        Some(rest) => format!("{}:{rest}", folder.display()),
        None => folder.display().to_string(),
    };
    environment.insert(variable.to_string(), value);
}

/// `profile.d/000_deps.sh`: sourced before the app starts. The scripts in `deps/*/profile.d` are sourced by
/// the agent's launcher itself, after this one.
pub fn profile_script(deps: &Path, dependencies: &[Dependency]) -> String {
    let mut script = String::from(
        "# Search paths of what the buildpacks installed; sourced before the app starts.\n",
    );
    let _ = writeln!(
        script,
        "export DEPS_DIR={}",
        quote(&deps.display().to_string())
    );
    for dependency in dependencies {
        for (subfolder, variable, running) in SEARCH {
            if running && dependency.folders.contains(&subfolder) {
                let folder = quote(&dependency.folder.join(subfolder).display().to_string());
                let _ = writeln!(
                    script,
                    "export {variable}={folder}${{{variable}:+:${variable}}}"
                );
            }
        }
    }
    script
}

/// In single quotes for a shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Looks at what is in `folder`.
pub fn inspect(folder: &Path) -> std::io::Result<Dependency> {
    let folders = SEARCH
        .iter()
        .map(|(subfolder, ..)| *subfolder)
        .filter(|subfolder| folder.join(subfolder).is_dir());
    let mut dependency = Dependency {
        folder: folder.to_path_buf(),
        folders: folders.collect(),
        ..Default::default()
    };
    for path in files(&folder.join("env"))? {
        if let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| is_variable(name))
        {
            let value = String::from_utf8_lossy(&std::fs::read(&path)?)
                .trim_end_matches('\n')
                .to_string();
            dependency.variables.insert(name.to_string(), value);
        }
    }
    Ok(dependency)
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn is_variable(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(index: usize) -> Dependency {
        Dependency {
            folder: format!("/d/{index}").into(),
            folders: vec!["bin"],
            ..Default::default()
        }
    }

    #[test]
    fn later_buildpacks_find_the_programs_of_earlier_ones_the_latest_first() {
        let environment = of_script(
            &BTreeMap::new(),
            &BTreeMap::new(),
            &[dependency(0), dependency(1)],
        );
        assert_eq!(
            environment["PATH"],
            format!("/d/1/bin:/d/0/bin:{DEFAULT_PATH}")
        );
        assert!(!environment.contains_key("LD_LIBRARY_PATH"));
    }

    #[test]
    fn fixed_variables_win_over_inherited_ones_and_buildpacks_over_both() {
        let map = |value: &str| {
            BTreeMap::from([
                ("A".to_string(), value.to_string()),
                ("PATH".to_string(), value.to_string()),
            ])
        };
        let mut first = dependency(0);
        first.variables.insert("A".into(), "buildpack".into());
        let environment = of_script(&map("inherited"), &map("fixed"), &[first]);
        assert_eq!(environment["A"], "buildpack");
        assert_eq!(environment["PATH"], "/d/0/bin:fixed");
    }

    #[test]
    fn the_profile_script_does_the_same_in_bash() {
        let mut second = dependency(1);
        second.folders = vec!["bin", "lib"];
        let script = profile_script(Path::new("/d"), &[dependency(0), second]);
        let output = std::process::Command::new("/bin/bash")
            .env_clear()
            .env("PATH", "/bin")
            .args([
                "-euc",
                &format!("{script}\necho \"$DEPS_DIR|$PATH|$LD_LIBRARY_PATH\""),
            ])
            .output()
            .expect("bash starts");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "/d|/d/1/bin:/d/0/bin:/bin|/d/1/lib\n"
        );
    }

    #[test]
    fn a_folder_is_inspected_and_odd_names_are_left_out() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for part in ["bin", "env"] {
            std::fs::create_dir(folder.path().join(part)).expect("folder");
        }
        std::fs::write(folder.path().join("env/GOOD"), "value\n").expect("file");
        std::fs::write(folder.path().join("env/BAD-NAME"), "value").expect("file");
        let dependency = inspect(folder.path()).expect("inspected");
        assert_eq!(dependency.folders, ["bin"]);
        assert_eq!(
            dependency.variables,
            BTreeMap::from([("GOOD".to_string(), "value".to_string())])
        );
    }
}
