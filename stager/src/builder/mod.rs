//! The builder: runs inside the sandbox of a staging, as the app's user, and turns a package into
//! a droplet. It is part of the stager because both speak [`crate::domain::build`]; the agents put
//! the executable that holds it into the sandbox.
//!
//! ```text
//! prepare    unpack the package (bounded, trusted in nothing) and the cache; uploaded buildpacks are unpacked
//!            in the same way, those named by their address fetched, once they are needed
//! detect     the first buildpack that fits, unless the user named some
//! supply     each buildpack but the last, then the last if it finalizes
//! finalize   the last one (or `compile`, the old style)
//! release    the last one's default commands; launch.yml; the Procfile overrules
//! pack       droplet.tgz, and on success only cache.tgz
//! ```
//!
//! No tokio, no environment of a daemon: plain files and child processes, also where something is fetched. All it
//! says is for the user who pushes. The result file is written on failure too; the exit status says
//! the step when even that is impossible.

mod archive;
mod buildpack;
mod console;
mod environment;
mod fetch;
mod layout;
mod processes;
mod script;
mod unpack;

pub use console::Console;
pub use layout::Layout;

use crate::domain::build::{
    BuildFailure, BuildRequest, BuildResult, LifecycleMetadata, Step, place,
};
use archive::Archive;
use buildpack::Built;
use processes::Processes;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A cache larger than this is not kept: fetching it would cost more than it saves.
const LARGEST_CACHE: u64 = 1 << 30;

const USAGE: &str = "usage: builder --request FILE [--home FOLDER] [--yard FOLDER]";

/// `stackyard builder …`. Returns the exit status.
pub fn main(arguments: &[String]) -> i32 {
    let mut console = Console::standard();
    match parse(arguments) {
        Ok(layout) => run(&layout, &mut console),
        Err(fault) => {
            console.complain(&format!("builder: {fault}\n{USAGE}"));
            2
        }
    }
}

fn parse(arguments: &[String]) -> Result<Layout, String> {
    let mut layout = Layout {
        home: place::HOME.into(),
        yard: Path::new(place::REQUEST)
            .parent()
            .map_or_else(PathBuf::new, Path::to_path_buf),
        request: place::REQUEST.into(),
    };
    let mut arguments = arguments
        .iter()
        .map(String::as_str)
        .skip_while(|argument| *argument == "builder");
    while let Some(argument) = arguments.next() {
        let place = match argument {
            "--request" => &mut layout.request,
            "--home" => &mut layout.home,
            "--yard" => &mut layout.yard,
            other => return Err(format!("unknown argument {other}")),
        };
        *place = arguments
            .next()
            .ok_or_else(|| format!("{argument} needs a value"))?
            .into();
    }
    Ok(layout)
}

/// Builds what is laid out there, and writes the result.
pub fn run(layout: &Layout, console: &mut Console) -> i32 {
    let (status, result) = match build(layout, console) {
        Ok(result) => (0, result),
        // Not printed: the controller tells it in the app's log, from the result file.
        Err(failure) => (
            failure.step.exit_status(),
            BuildResult {
                yard_failure: Some(failure),
                ..Default::default()
            },
        ),
    };
    let document = serde_json::to_vec_pretty(&result)
        .expect("a struct of texts and maps with text keys serializes");
    if let Err(error) =
        fs::create_dir_all(layout.out()).and_then(|()| fs::write(layout.result(), document))
    {
        console.complain(&format!(
            "The result cannot be written to {}: {error}",
            layout.result().display()
        ));
        return if status == 0 {
            Step::Pack.exit_status()
        } else {
            status
        };
    }
    status
}

fn build(layout: &Layout, console: &mut Console) -> Result<BuildResult, BuildFailure> {
    let begun = Instant::now();
    let request = read_request(layout).map_err(|error| fail(Step::Prepare, error))?;
    let limit = Duration::from_secs(request.timeout_seconds);
    // The agent ends the sandbox at the limit; ending the step before it leaves time to say which.
    let margin = (limit / 10).min(Duration::from_secs(10));
    let deadline = begun + limit.saturating_sub(margin);

    prepare(layout, &request, console)?;
    let built = buildpack::run_all(layout, &request, deadline, console)?;
    let processes = processes_of(layout, &built)?;
    if processes.is_empty() && !request.start_command_given {
        return Err(failure(
            Step::Pack,
            "Start command not specified: neither the buildpack nor a Procfile names one. Add a Procfile with a line `web: COMMAND`, or give a command (-c, or `command:` in the manifest).".to_string(),
        ));
    }
    pack(layout, &built, &processes, console)?;
    keep_cache(layout, console);
    let last = built
        .buildpacks
        .last()
        .map(|buildpack| buildpack.key.clone())
        .unwrap_or_default();
    Ok(BuildResult {
        process_types: processes,
        lifecycle_type: "buildpack".to_string(),
        lifecycle_metadata: LifecycleMetadata {
            detected_buildpack: built.detected,
            buildpack_key: last,
            buildpacks: built.buildpacks,
        },
        execution_metadata: String::new(),
        yard_failure: None,
    })
}

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("the build request {path} cannot be read")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the build request {path} is not understood")]
    Decode {
        path: String,
        #[source]
        source: serde_json::Error,
    },
}

fn read_request(layout: &Layout) -> Result<BuildRequest, RequestError> {
    let path = || layout.request.display().to_string();
    let bytes = fs::read(&layout.request).map_err(|source| RequestError::Read {
        path: path(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| RequestError::Decode {
        path: path(),
        source,
    })
}

fn prepare(
    layout: &Layout,
    request: &BuildRequest,
    console: &mut Console,
) -> Result<(), BuildFailure> {
    let folders = [
        layout.app(),
        layout.deps(),
        layout.profile(),
        layout.cache(),
        layout.temporary(),
        layout.home.join("logs"),
        layout.home.join("tmp"),
        layout.out(),
    ];
    for folder in folders {
        fs::create_dir_all(&folder).map_err(|error| {
            failure(
                Step::Prepare,
                format!("the folder {} cannot be made: {error}", folder.display()),
            )
        })?;
    }
    console.phase("Unpacking the package...");
    let bounds = unpack::Bounds {
        bytes: request.max_unpacked_bytes,
        entries: request.max_entries,
    };
    let unpacked = unpack::unpack(&layout.package(), &layout.app(), bounds).map_err(|error| {
        let told = chain(&error);
        let told = format!("the package cannot be unpacked: {told}{}", hint(&error));
        failure(Step::Prepare, told)
    })?;
    console.detail(&format!(
        "{} files, {}",
        unpacked.files,
        size(unpacked.bytes)
    ));
    if layout.cache_in().exists() {
        match archive::unpack_cache(&layout.cache_in(), &layout.cache()) {
            Ok(()) => console.detail("using the cache of an earlier build"),
            Err(error) => {
                console.detail(&format!(
                    "the cache of an earlier build is unusable and left out: {}",
                    chain(&error)
                ));
                // Half of a cache may be worse than none; what cannot be removed is reported by who needs it.
                let _ = fs::remove_dir_all(layout.cache())
                    .and_then(|()| fs::create_dir_all(layout.cache()));
            }
        }
    }
    Ok(())
}

/// The setting that bounds a package.
fn hint(error: &unpack::UnpackError) -> &'static str {
    match error {
        unpack::UnpackError::TooMany { .. } => " (setting controller/packages/max_files)",
        unpack::UnpackError::TooLarge { .. } => " (setting controller/packages/max_unpacked_size)",
        _ => "",
    }
}

fn processes_of(layout: &Layout, built: &Built) -> Result<Processes, BuildFailure> {
    let mut sources = vec![built.released.clone()];
    for index in 0..built.buildpacks.len() {
        let path = layout.dep(index).join("launch.yml");
        if path.exists() {
            let document = format!(
                "launch.yml of the buildpack {}",
                built.buildpacks[index].name
            );
            let text = read_text(&path)?;
            sources.push(
                processes::launch(&text, &document).map_err(|error| fail(Step::Release, error))?,
            );
        }
    }
    let procfile = layout.app().join("Procfile");
    if procfile.is_file() {
        sources.push(
            processes::procfile(&read_text(&procfile)?).map_err(|error| fail(Step::Pack, error))?,
        );
    }
    Ok(processes::merge(sources))
}

fn read_text(path: &Path) -> Result<String, BuildFailure> {
    fs::read_to_string(path).map_err(|error| {
        failure(
            Step::Pack,
            format!("{} cannot be read: {error}", path.display()),
        )
    })
}

fn pack(
    layout: &Layout,
    built: &Built,
    processes: &Processes,
    console: &mut Console,
) -> Result<(), BuildFailure> {
    console.phase("Packing the droplet...");
    for (process, command) in processes {
        console.detail(&format!("{process}: {command}"));
    }
    let write = || -> Result<(u64, Vec<String>), archive::ArchiveError> {
        let info = serde_json::json!({
            "detected_buildpack": built.detected,
            "start_command": processes.get("web").map_or("", String::as_str),
            "process_types": processes,
        });
        let mut archive = Archive::create(&layout.droplet_out())?;
        archive.folder(&layout.app(), "./app")?;
        archive.folder(&layout.deps(), "./deps")?;
        archive.empty_folder("./logs")?;
        archive.empty_folder("./tmp")?;
        archive.folder(&layout.profile(), "./profile.d")?;
        // JSON is YAML.
        archive.content("./staging_info.yml", format!("{info}\n").as_bytes())?;
        let left_out = std::mem::take(&mut archive.left_out);
        Ok((archive.finish()?, left_out))
    };
    let (bytes, left_out) = write().map_err(|error| fail(Step::Pack, error))?;
    for path in left_out {
        console.detail(&format!("left out, as no droplet can carry it: {path}"));
    }
    console.detail(&format!("droplet: {}", size(bytes)));
    Ok(())
}

/// A cache makes the next build faster and is never worth failing this one.
fn keep_cache(layout: &Layout, console: &mut Console) {
    let bytes = archive::size_of(&layout.cache());
    if bytes == 0 {
        return;
    }
    if bytes > LARGEST_CACHE {
        console.detail(&format!(
            "the cache of the buildpacks ({}) is too large to be kept",
            size(bytes)
        ));
        return;
    }
    let write = || {
        let mut archive = Archive::create(&layout.cache_out())?;
        archive.folder(&layout.cache(), ".")?;
        archive.finish()
    };
    match write() {
        Ok(bytes) => console.detail(&format!("cache: {}", size(bytes))),
        Err(error) => {
            console.detail(&format!(
                "the cache of the buildpacks is not kept: {}",
                chain(&error)
            ));
            let _ = fs::remove_file(layout.cache_out());
        }
    }
}

fn failure(step: Step, message: String) -> BuildFailure {
    BuildFailure {
        step,
        message,
        last_lines: Vec::new(),
        timed_out: false,
    }
}

fn fail(step: Step, error: impl Error) -> BuildFailure {
    failure(step, chain(&error))
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// "1.5 MB"
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn places_have_defaults_and_can_be_moved() {
        let layout = parse(&words("builder --request /yard/request.json")).expect("parsed");
        assert_eq!(
            (layout.home.as_path(), layout.yard.as_path()),
            (Path::new("/home/vcap"), Path::new("/yard"))
        );
        let layout = parse(&words("--home /h --yard /y --request /r")).expect("parsed");
        assert_eq!(layout.droplet_out(), Path::new("/y/out/droplet.tgz"));
        assert!(parse(&words("--home")).is_err());
        assert!(parse(&words("--verbose")).is_err());
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(
            [size(12), size(1500), size(2_500_000), size(3_210_000_000)],
            ["12 B", "1.5 kB", "2.5 MB", "3.21 GB"]
        );
    }
}
