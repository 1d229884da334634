//! Whether a push is that of a pack: the folder has a `pack.yaml`, and nothing says it is an app.

use super::PushArgs;
use crate::automation::upload::PACK_FILE;
use crate::failure::{Failure, Outcome};
use std::path::{Path, PathBuf};

/// The folder of the pack to push, if it is one. Options that only apps have are refused with it.
pub fn folder(args: &PushArgs) -> Outcome<Option<PathBuf>> {
    let named = args.what.as_deref().map(Path::new);
    let folder = match (&args.path, named) {
        (Some(path), _) => path.clone(),
        (None, Some(named)) if named.is_dir() => named.to_path_buf(),
        (None, None) => PathBuf::from("."),
        (None, Some(_)) => return Ok(None),
    };
    let has = |name: &str| folder.join(name).is_file();
    let manifest = args.manifest.is_some() || has("manifest.yml") || has("manifest.yaml");
    if !has(PACK_FILE) || manifest {
        return Ok(None);
    }
    let mut of_apps = options_of_apps(args);
    if args.path.is_some() && named.is_some() {
        of_apps.push("a name");
    }
    if of_apps.is_empty() {
        return Ok(Some(folder));
    }
    Err(Failure::usage(format!(
        "{} is the folder of a pack, and a pack has no {}",
        folder.display(),
        of_apps.join(", ")
    ))
    .fix("leave that out, or add a manifest.yml if it is an app"))
}

fn options_of_apps(args: &PushArgs) -> Vec<&'static str> {
    [
        ("--name", args.name.is_some()),
        ("--no-manifest", args.no_manifest),
        ("--instances", args.instances.is_some()),
        ("--memory", args.memory.is_some()),
        ("--disk", args.disk.is_some()),
        ("--buildpack", !args.buildpacks.is_empty()),
        ("--command", args.command.is_some()),
        ("--stack", args.stack.is_some()),
        ("--no-route", args.no_route),
        ("--random-route", args.random_route),
        ("--hostname", args.hostname.is_some()),
        ("--domain", args.domain.is_some()),
        ("--health-check-type", args.health_check_type.is_some()),
        ("--endpoint", args.endpoint.is_some()),
        ("--start-timeout", args.start_timeout.is_some()),
        ("--var", !args.variables.is_empty()),
        ("--vars-file", !args.variables_files.is_empty()),
        ("--no-start", args.no_start),
        ("--strategy", args.strategy.is_some()),
        ("--canary-steps", !args.canary_steps.is_empty()),
    ]
    .into_iter()
    .filter_map(|(option, given)| given.then_some(option))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        push: PushArgs,
    }

    fn judged(words: &[&str]) -> Outcome<Option<PathBuf>> {
        let words = std::iter::once("push").chain(words.iter().copied());
        folder(&Line::parse_from(words).push)
    }

    #[test]
    fn a_folder_with_a_pack_file_is_a_pack_unless_a_manifest_says_otherwise() {
        let pack = tempfile::tempdir().expect("a temporary folder");
        let path = pack.path().display().to_string();
        assert_eq!(judged(&[&path]).expect("an app"), None);
        std::fs::write(pack.path().join(PACK_FILE), "name: x\n").expect("a file");
        assert_eq!(judged(&[&path]).expect("a pack"), Some(pack.path().into()));
        assert_eq!(
            judged(&["-p", &path]).expect("a pack"),
            Some(pack.path().into())
        );
        let failure = judged(&[&path, "-m", "64M", "--no-route"]).expect_err("options of apps");
        assert!(failure.what.contains("--memory, --no-route"), "{failure}");
        assert!(
            judged(&["shop", "-p", &path]).is_err(),
            "a pack has its own name"
        );
        std::fs::write(pack.path().join("manifest.yml"), "applications: []\n").expect("a file");
        assert_eq!(judged(&[&path, "-m", "64M"]).expect("an app"), None);
    }
}
