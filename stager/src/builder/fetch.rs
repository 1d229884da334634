//! Fetches a buildpack that is named by its address.
//!
//! The address is the user's. It is asked from inside the sandbox, as the app's user, by the `git` or `curl` of the
//! stack: what they reach is what the app itself may reach, and neither stager nor agent asks an address on somebody's
//! behalf. Bounded in time (the operator's [`Fetch::within`], and the build's own deadline) and in size ([`Bounds`];
//! until it is complete, the disk of the sandbox).
//!
//! A repository is first asked for a single commit; servers that can only hand out files (and commits that
//! are named by their checksum) need the whole of it.

use super::console::Console;
use super::script::{self, Finished, Script};
use super::unpack::{self, Bounds};
use super::{archive, chain, failure};
use crate::domain::build::{BuildFailure, Step};
use proto::buildpacks::{Address, Kind};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub struct Fetch<'a> {
    pub address: &'a Address,
    /// Where it is to be; not there yet.
    pub target: &'a Path,
    /// An existing folder.
    pub temporary: &'a Path,
    pub environment: &'a BTreeMap<String, String>,
    pub deadline: Instant,
    /// Longest run of one program.
    pub within: Duration,
    pub bounds: Bounds,
    /// The ways in which anything may be asked, also after a redirection.
    pub schemes: &'a [String],
}

impl Fetch<'_> {
    pub fn run(&self, console: &mut Console) -> Result<(), BuildFailure> {
        if let Some(folder) = self.target.parent() {
            fs::create_dir_all(folder).map_err(|error| self.failed(&error.to_string()))?;
        }
        match &self.address.kind {
            Kind::Zip => self.zip(console),
            Kind::Git { reference } => self.git(reference.as_deref(), console),
        }
    }

    fn failed(&self, why: &str) -> BuildFailure {
        failure(
            Step::Prepare,
            format!("The buildpack {} could not be fetched: {why}", self.address),
        )
    }

    fn too_large(&self, bytes: u64) -> BuildFailure {
        self.failed(&format!(
            "it comes to {bytes} bytes, at most {} are allowed",
            self.bounds.bytes
        ))
    }

    fn program(
        &self,
        name: &str,
        arguments: &[&str],
        quiet: bool,
        console: &mut Console,
    ) -> Result<Finished, BuildFailure> {
        let mut environment = self.environment.clone();
        // Nobody is there to be asked for a password, and a server that stalls is given up.
        for (name, value) in [
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ALLOW_PROTOCOL", self.schemes.join(":").as_str()),
            ("GIT_HTTP_LOW_SPEED_LIMIT", "1"),
            ("GIT_HTTP_LOW_SPEED_TIME", "60"),
        ] {
            environment.insert(name.to_string(), value.to_string());
        }
        let script = Script {
            program: PathBuf::from(name),
            arguments: arguments.iter().map(PathBuf::from).collect(),
            environment: &environment,
            directory: self.temporary,
            deadline: self.deadline.min(Instant::now() + self.within),
            quiet,
        };
        script::run(&script, console).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.failed(&format!("this stack has no {name}")),
            _ => self.failed(&format!("{name} cannot be run: {error}")),
        })
    }

    /// How a program that did not succeed ended.
    fn ended(&self, name: &str, finished: Finished) -> BuildFailure {
        let why = match finished.status {
            None => format!("{name} did not end in time"),
            Some(_) => format!("{name} failed with {}", finished.describe()),
        };
        let last = finished.last_lines.last().cloned().unwrap_or_default();
        let why = match last.is_empty() {
            true => why,
            false => format!("{why}: {last}"),
        };
        BuildFailure {
            timed_out: finished.status.is_none() && Instant::now() >= self.deadline,
            last_lines: finished.last_lines,
            ..self.failed(&why)
        }
    }

    fn git(&self, reference: Option<&str>, console: &mut Console) -> Result<(), BuildFailure> {
        let target = self.target.display().to_string();
        let mut shallow = vec!["clone", "--quiet", "--depth", "1"];
        shallow.extend(["--recurse-submodules", "--shallow-submodules"]);
        if let Some(reference) = reference {
            shallow.extend(["--branch", reference]);
        }
        shallow.extend(["--", &self.address.url, &target]);
        let finished = self.program("git", &shallow, true, console)?;
        if !finished.success() {
            let said = String::from_utf8_lossy(&finished.stderr).to_string();
            if finished.status.is_none() || (reference.is_none() && !said.contains("shallow")) {
                return Err(self.ended("git", finished));
            }
            self.whole(reference, &target, console)?;
        }
        let bytes = archive::size_of(self.target);
        if bytes > self.bounds.bytes {
            return Err(self.too_large(bytes));
        }
        Ok(())
    }

    fn whole(
        &self,
        reference: Option<&str>,
        target: &str,
        console: &mut Console,
    ) -> Result<(), BuildFailure> {
        if self.target.exists() {
            fs::remove_dir_all(self.target).map_err(|error| self.failed(&error.to_string()))?;
        }
        let clone = ["clone", "--quiet", "--", &self.address.url, target];
        let mut steps: Vec<Vec<&str>> = vec![clone.to_vec()];
        if let Some(reference) = reference {
            steps.push(vec!["-C", target, "checkout", "--quiet", reference, "--"]);
        }
        steps.push(
            [
                "-C",
                target,
                "submodule",
                "--quiet",
                "update",
                "--init",
                "--recursive",
            ]
            .to_vec(),
        );
        for step in steps {
            let finished = self.program("git", &step, true, console)?;
            if !finished.success() {
                return Err(self.ended("git", finished));
            }
        }
        Ok(())
    }

    fn zip(&self, console: &mut Console) -> Result<(), BuildFailure> {
        let file = self.temporary.join("buildpack.zip");
        let (output, most) = (file.display().to_string(), self.bounds.bytes.to_string());
        let schemes: Vec<&str> = self.schemes.iter().map(String::as_str).collect();
        let web: Vec<&str> = schemes
            .into_iter()
            .filter(|scheme| scheme.starts_with("http"))
            .collect();
        let schemes = format!("={}", web.join(","));
        let words = [
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--max-redirs",
            "5",
            "--proto",
            &schemes,
            "--connect-timeout",
            "30",
            "--max-filesize",
            &most,
            "--output",
            &output,
            "--url",
            &self.address.url,
        ];
        let finished = self.program("curl", &words, true, console)?;
        if !finished.success() {
            return Err(self.ended("curl", finished));
        }
        let bytes = fs::metadata(&file).map_or(0, |about| about.len());
        if bytes > self.bounds.bytes {
            return Err(self.too_large(bytes));
        }
        let made = unpack(&file, self.temporary, self.target, self.bounds);
        // Of a build that goes on it would be left in the way of the next buildpack.
        let _ = fs::remove_file(&file);
        made.map_err(|why| self.failed(&format!("its archive is unusable: {why}")))
    }
}

/// Unpacks the archive of a buildpack into `target`, which is not there yet. The error is half a sentence.
pub fn unpack(
    archive: &Path,
    temporary: &Path,
    target: &Path,
    bounds: Bounds,
) -> Result<(), String> {
    let unpacked = temporary.join("buildpack");
    let made = || -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        fs::create_dir_all(&unpacked).map_err(told)?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(told)?;
        }
        unpack::unpack(archive, &unpacked, bounds).map_err(|error| chain(&error))?;
        fs::rename(top(&unpacked), target).map_err(told)
    };
    let made = made();
    let _ = fs::remove_dir_all(&unpacked);
    made
}

/// Archives of repositories have all they hold in a single folder.
fn top(folder: &Path) -> PathBuf {
    let entries: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    match entries.as_slice() {
        [only] if !folder.join("bin").exists() && only.is_dir() => only.clone(),
        _ => folder.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    use zip::write::SimpleFileOptions;

    /// Hands out the files of a folder, as any web server would.
    fn serve(folder: &Path) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let folder = folder.to_path_buf();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &folder);
            }
        });
        format!("http://{address}")
    }

    fn answer(stream: TcpStream, folder: &Path) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let path = request.split(' ').nth(1).unwrap_or("/");
        let path = path.split('?').next().unwrap_or("/");
        let (status, body) = match fs::read(folder.join(path.trim_start_matches('/'))) {
            Ok(body) => ("200 OK", body),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let mut stream = stream;
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )?;
        stream.write_all(&body)
    }

    const LARGEST: Bounds = Bounds {
        bytes: 1 << 30,
        entries: 100_000,
    };

    struct Place {
        folder: tempfile::TempDir,
        environment: BTreeMap<String, String>,
        base: String,
    }

    impl Place {
        fn new() -> Place {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["served", "temporary", "home"] {
                fs::create_dir(folder.path().join(name)).expect("a folder");
            }
            let home = folder.path().join("home").display().to_string();
            let path = std::env::var("PATH").expect("a path");
            let base = serve(&folder.path().join("served"));
            Place {
                environment: BTreeMap::from([("HOME".into(), home), ("PATH".into(), path)]),
                folder,
                base,
            }
        }

        fn served(&self) -> PathBuf {
            self.folder.path().join("served")
        }

        fn target(&self) -> PathBuf {
            self.folder.path().join("buildpacks/fetched")
        }

        fn fetch(&self, rest: &str, bounds: Bounds) -> Result<PathBuf, BuildFailure> {
            self.fetch_from(&format!("{}/{rest}", self.base), bounds)
        }

        fn fetch_from(&self, address: &str, bounds: Bounds) -> Result<PathBuf, BuildFailure> {
            self.fetch_within(address, bounds, Duration::from_secs(60))
        }

        fn fetch_within(
            &self,
            address: &str,
            bounds: Bounds,
            within: Duration,
        ) -> Result<PathBuf, BuildFailure> {
            let address = Address::parse(address).expect("an address");
            let fetch = Fetch {
                address: &address,
                target: &self.target(),
                temporary: &self.folder.path().join("temporary"),
                environment: &self.environment,
                deadline: Instant::now() + Duration::from_secs(60),
                within,
                bounds,
                schemes: &["http".to_string()],
            };
            fetch.run(&mut Console::standard())?;
            Ok(self.target())
        }

        fn git(&self, folder: &Path, words: &[&str]) {
            let done = Command::new("git")
                .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
                .args(words)
                .current_dir(folder)
                .env("HOME", self.folder.path().join("home"))
                .output()
                .expect("git runs");
            assert!(done.status.success(), "{words:?}: {done:?}");
        }

        /// A repository of two branches, as files that a web server can hand out.
        fn repository(&self) {
            let work = self.folder.path().join("work");
            fs::create_dir_all(work.join("bin")).expect("a folder");
            self.git(&work, &["init", "--quiet", "--initial-branch", "main"]);
            for (branch, text) in [("main", "one"), ("other", "two")] {
                if branch != "main" {
                    self.git(&work, &["checkout", "--quiet", "-b", branch]);
                }
                let compile = work.join("bin/compile");
                fs::write(&compile, format!("#!/bin/sh\necho {text}\n")).expect("a file");
                fs::set_permissions(&compile, fs::Permissions::from_mode(0o755)).expect("a mode");
                self.git(&work, &["add", "."]);
                self.git(&work, &["commit", "--quiet", "-m", text]);
            }
            self.git(&work, &["checkout", "--quiet", "main"]);
            let bare = self.served().join("pack.git").display().to_string();
            self.git(&work, &["clone", "--quiet", "--bare", ".", &bare]);
            self.git(Path::new(&bare), &["update-server-info"]);
        }
    }

    fn has(program: &str) -> bool {
        let there = Command::new(program).arg("--version").output().is_ok();
        if !there {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED: {program} is not installed\n"),
            );
        }
        there
    }

    fn compile_of(folder: &Path) -> String {
        let path = folder.join("bin/compile");
        let mode = fs::metadata(&path)
            .expect("the script")
            .permissions()
            .mode();
        assert_eq!(mode & 0o100, 0o100, "it can be run");
        fs::read_to_string(path).expect("the script")
    }

    #[test]
    fn a_repository_is_fetched_also_from_a_server_that_only_has_files() {
        if !has("git") {
            return;
        }
        for (reference, text) in [("", "one"), ("#other", "two")] {
            let place = Place::new();
            place.repository();
            let folder = place.fetch(&format!("pack.git{reference}"), LARGEST);
            assert!(compile_of(&folder.expect("fetched")).contains(text));
        }
    }

    #[test]
    fn what_is_not_there_or_too_large_is_told() {
        if !has("git") || !has("curl") {
            return;
        }
        let place = Place::new();
        place.repository();
        let message = |fetched: Result<PathBuf, BuildFailure>| {
            let failure = fetched.expect_err("a failure");
            assert_eq!(failure.step, Step::Prepare);
            failure.message
        };
        let told = message(place.fetch("pack.git#nothing", LARGEST));
        assert!(told.contains("git failed with exit status"), "{told}");
        let place = Place::new();
        let told = message(place.fetch("none.git", LARGEST));
        assert!(told.contains("none.git could not be fetched"), "{told}");
        let told = message(place.fetch("none.zip", LARGEST));
        assert!(told.contains("curl failed with exit status 22"), "{told}");
        // A port that nobody listens on.
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = closed.local_addr().expect("an address");
        drop(closed);
        for file in ["x.git", "x.zip"] {
            let told = message(place.fetch_from(&format!("http://{address}/{file}"), LARGEST));
            assert!(told.contains("failed with exit status"), "{told}");
        }
        place.repository();
        let small = Bounds {
            bytes: 10,
            ..LARGEST
        };
        let told = message(place.fetch("pack.git", small));
        assert!(told.contains("at most 10 are allowed"), "{told}");
        fs::write(place.served().join("x.zip"), [7; 100]).expect("a file");
        let told = message(place.fetch("x.zip", small));
        assert!(told.contains("curl failed with exit status 63"), "{told}");
        let told = message(place.fetch("x.zip", LARGEST));
        assert!(told.contains("no readable zip archive"), "{told}");
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        if !has("git") || !has("curl") {
            return;
        }
        // The system takes the connections; nobody reads them.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("an address");
        for file in ["x.git", "x.zip"] {
            let address = format!("http://{address}/{file}");
            let place = Place::new();
            let failure = place
                .fetch_within(&address, LARGEST, Duration::from_secs(1))
                .expect_err("a failure");
            assert!(
                failure.message.contains("did not end in time"),
                "{}",
                failure.message
            );
            assert!(!failure.timed_out, "the build itself has time left");
        }
    }

    #[test]
    fn an_archive_may_hold_all_in_one_folder() {
        if !has("curl") {
            return;
        }
        for prefix in ["", "pack-1.0/"] {
            let place = Place::new();
            let file = fs::File::create(place.served().join("pack.zip")).expect("a file");
            let mut writer = zip::ZipWriter::new(file);
            for (name, mode) in [("bin/compile", 0o755), ("README", 0o644)] {
                let options = SimpleFileOptions::default().unix_permissions(mode);
                writer
                    .start_file(format!("{prefix}{name}"), options)
                    .expect("an entry");
                writer.write_all(b"#!/bin/sh\n").expect("a file");
            }
            writer.finish().expect("an archive");
            let folder = place.fetch("pack.zip", LARGEST).expect("fetched");
            assert!(compile_of(&folder).starts_with("#!/bin/sh"), "{prefix}");
        }
    }
}
