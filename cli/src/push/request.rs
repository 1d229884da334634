//! What the arguments of `push` mean: which apps, which sources, which manifest.

use super::manifest::{self, Overrides};
use super::variables::{Variables, parse_variable};
use super::{PushArgs, files};
use crate::apps::lifecycle::How;
use crate::failure::{Code, Failure, Outcome};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use yaml_serde::{Mapping, Value};

#[derive(Debug)]
pub struct Request {
    pub manifest: Option<Mapping>,
    /// Folder of the manifest; without one, of the sources.
    pub folder: PathBuf,
    /// Chosen app, or the name for the only one.
    pub name: Option<String>,
    pub overrides: Overrides,
    pub no_start: bool,
    /// Nothing is to be changed.
    pub plan: bool,
    pub strategy: Option<How>,
    pub canary_steps: Vec<u32>,
    pub timeout: Duration,
}

/// What the first argument is. A text with a slash is a path, an existing folder too unless the
/// manifest has an app of that name; all else is an app's name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Nothing,
    Path(PathBuf),
    Name(String),
}

fn classify(
    what: Option<&str>,
    has_path_flag: bool,
    exists: impl Fn(&Path) -> bool,
    named_in_manifest: impl Fn(&str) -> bool,
) -> What {
    let Some(text) = what else {
        return What::Nothing;
    };
    if text.contains('/') || text == "." || text == ".." {
        return What::Path(PathBuf::from(text));
    }
    if has_path_flag || named_in_manifest(text) || !exists(Path::new(text)) {
        return What::Name(text.to_string());
    }
    What::Path(PathBuf::from(text))
}

impl Request {
    pub fn read(args: &PushArgs) -> Outcome<Request> {
        if !args.canary_steps.is_empty() && args.strategy != Some(How::Canary) {
            return Err(Failure::usage(
                "--canary-steps are those of --strategy canary",
            ));
        }
        let variables = read_variables(args)?;
        let here = PathBuf::from(".");
        let mut found = match &args.manifest {
            Some(file) if file.is_dir() => Some(find(file).ok_or_else(|| {
                Failure::usage(format!("there is no manifest.yml in {}", file.display()))
            })?),
            Some(file) => Some(file.clone()),
            None => None,
        };
        let beside = if args.no_manifest { None } else { find(&here) };
        // Only its names matter here; what is wrong with it is told when it is the one used.
        let names = found
            .as_ref()
            .or(beside.as_ref())
            .map(|file| read_names(file, &variables))
            .unwrap_or_default();
        let what = classify(
            args.what.as_deref(),
            args.path.is_some(),
            Path::exists,
            |name| names.iter().any(|known| known == name),
        );
        if matches!(what, What::Path(_)) && args.path.is_some() {
            return Err(Failure::usage(
                "the app is given twice, as an argument and with --path",
            ));
        }
        let (path, positional_name) = match what {
            What::Nothing => (args.path.clone(), None),
            What::Name(name) => (args.path.clone(), Some(name)),
            What::Path(path) => (Some(path), None),
        };
        if args.name.is_some() && positional_name.is_some() {
            return Err(Failure::usage(
                "the app's name is given twice, as an argument and with --name",
            ));
        }
        let name = args.name.clone().or(positional_name);
        if found.is_none() && !args.no_manifest {
            found = match &path {
                // A folder named as argument brings its own manifest.
                Some(path) if args.path.is_none() => find(path),
                Some(path) => beside.or_else(|| find(path)),
                None => beside,
            };
        }
        let manifest = found
            .as_ref()
            .map(|file| read_manifest(file, &variables))
            .transpose()?;
        let folder = match &found {
            Some(file) => file
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .map_or(here.clone(), Path::to_path_buf),
            None => path.clone().unwrap_or(here),
        };
        let own_manifest = found.as_ref().is_some_and(|file| {
            path.as_deref()
                .is_some_and(|path| file.parent() == Some(path))
        });
        // The folder that brought the manifest is where the manifest's own paths start.
        let path = if own_manifest && args.path.is_none() {
            None
        } else {
            path
        };
        let name = match name {
            None if manifest.is_none() => Some(default_name(&folder)?),
            name => name,
        };
        Ok(Request {
            manifest,
            folder,
            name,
            overrides: overrides(args, path),
            no_start: args.no_start,
            plan: args.plan,
            strategy: args.strategy,
            canary_steps: args.canary_steps.clone(),
            timeout: Duration::from_secs(args.timeout.max(1)),
        })
    }
}

fn overrides(args: &PushArgs, path: Option<PathBuf>) -> Overrides {
    Overrides {
        instances: args.instances,
        memory: args.memory.clone(),
        disk: args.disk.clone(),
        buildpacks: args.buildpacks.clone(),
        command: args.command.clone(),
        stack: args.stack.clone(),
        no_route: args.no_route,
        random_route: args.random_route,
        hostname: args.hostname.clone(),
        domain: args.domain.clone(),
        health_check_type: args.health_check_type.clone(),
        endpoint: args.endpoint.clone(),
        start_timeout: args.start_timeout,
        path,
    }
}

fn default_name(folder: &Path) -> Outcome<String> {
    let missing = |_| {
        Failure::new(
            Code::Usage,
            format!("there is no file or folder {}", folder.display()),
        )
        .fix("`yard push FOLDER`")
    };
    let whole = fs::canonicalize(folder).map_err(missing)?;
    files::name_of_folder(&whole)
        .ok_or_else(|| Failure::usage("the app needs a name").fix("`yard push NAME`"))
}

fn find(folder: &Path) -> Option<PathBuf> {
    ["manifest.yml", "manifest.yaml"]
        .iter()
        .map(|name| folder.join(name))
        .find(|file| file.is_file())
}

fn read_names(file: &Path, variables: &Variables) -> Vec<String> {
    fs::read_to_string(file)
        .ok()
        .and_then(|text| manifest::read(&text, variables).ok())
        .map(|manifest| manifest::names(&manifest))
        .unwrap_or_default()
}

fn read_manifest(file: &Path, variables: &Variables) -> Outcome<Mapping> {
    let text = fs::read_to_string(file).map_err(|error| {
        Failure::usage(format!("read the manifest {}: {error}", file.display()))
    })?;
    manifest::read(&text, variables).map_err(|fault| {
        let failure = Failure::usage(format!("{}: {fault}", file.display()));
        match fault {
            manifest::ManifestFault::MissingVariables(_) => {
                failure.fix("give it with --var NAME=VALUE or --vars-file FILE")
            }
            _ => failure,
        }
    })
}

/// Files first, then the command line, which wins.
fn read_variables(args: &PushArgs) -> Outcome<Variables> {
    let mut variables = Variables::new();
    for file in &args.variables_files {
        let text = fs::read_to_string(file).map_err(|error| {
            Failure::usage(format!("read the variables {}: {error}", file.display()))
        })?;
        let values: Mapping = yaml_serde::from_str(&text).map_err(|error| {
            Failure::usage(format!("{} holds no variables: {error}", file.display()))
        })?;
        for (name, value) in values {
            let Value::String(name) = name else {
                return Err(Failure::usage(format!(
                    "{}: a variable's name is a text",
                    file.display()
                )));
            };
            variables.insert(name, value);
        }
    }
    for text in &args.variables {
        let (name, value) = parse_variable(text).map_err(Failure::usage)?;
        variables.insert(name, value);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_is_a_path_or_a_name() {
        let check = |text: &str, flag: bool, exists: bool, named: bool| {
            classify(Some(text), flag, |_| exists, |_| named)
        };
        assert_eq!(
            check("samples/static", false, false, false),
            What::Path("samples/static".into())
        );
        assert_eq!(check(".", false, true, false), What::Path(".".into()));
        assert_eq!(check("shop", false, true, false), What::Path("shop".into()));
        assert_eq!(check("shop", false, true, true), What::Name("shop".into()));
        assert_eq!(
            check("shop", false, false, false),
            What::Name("shop".into())
        );
        assert_eq!(check("shop", true, true, false), What::Name("shop".into()));
        assert_eq!(classify(None, true, |_| true, |_| true), What::Nothing);
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        push: PushArgs,
    }

    fn read(arguments: &[&str]) -> Request {
        let line = <Line as clap::Parser>::parse_from(
            std::iter::once("push").chain(arguments.iter().copied()),
        );
        Request::read(&line.push).expect("a request")
    }

    #[test]
    fn a_folder_brings_its_manifest_and_its_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let app = folder.path().join("My.Shop");
        fs::create_dir(&app).expect("a folder");
        let path = app.display().to_string();
        let request = read(&[&path]);
        assert_eq!(
            (request.name.as_deref(), request.manifest.is_some()),
            (Some("my"), false)
        );
        assert_eq!(request.overrides.path.as_deref(), Some(app.as_path()));

        fs::write(
            app.join("manifest.yml"),
            "applications: [{name: a, path: src}]",
        )
        .expect("a manifest");
        let request = read(&[&path]);
        assert_eq!(
            (request.name.as_deref(), request.manifest.is_some()),
            (None, true)
        );
        assert_eq!(request.folder, app);
        assert_eq!(
            request.overrides.path, None,
            "the manifest's own path counts"
        );

        let request = read(&[&path, "--no-manifest", "--name", "b"]);
        assert_eq!(
            (request.name.as_deref(), request.manifest.is_some()),
            (Some("b"), false)
        );

        let request = read(&["c", "-p", &path]);
        assert_eq!(request.name.as_deref(), Some("c"));
        assert_eq!(request.overrides.path.as_deref(), Some(app.as_path()));
    }
}
