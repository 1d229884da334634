//! The builder with the real buildpacks and the real samples, outside of a container: the same
//! code, with both roots moved. What it builds is then started and asked over HTTP.

mod own_buildpacks;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stager::builder::{Console, Layout, run};
use stager::domain::build::{BuildRequest, BuildResult, Step};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_path_buf()
}

/// A console whose text can be read.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Yard {
    folder: TempDir,
    layout: Layout,
}

struct Outcome {
    status: i32,
    result: BuildResult,
    text: String,
}

impl Outcome {
    fn failed(&self, step: Step, part: &str) {
        let failure = self
            .result
            .yard_failure
            .as_ref()
            .unwrap_or_else(|| panic!("it did not fail:\n{}", self.text));
        assert_eq!(
            (failure.step, self.status),
            (step, step.exit_status()),
            "{}",
            self.text
        );
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    fn web(&self) -> &str {
        assert_eq!(self.status, 0, "{}", self.text);
        self.result
            .process_types
            .get("web")
            .unwrap_or_else(|| panic!("no web process:\n{}", self.text))
    }
}

fn request() -> BuildRequest {
    BuildRequest {
        stack: "host".into(),
        buildpacks: vec![],
        order: ["staticfile", "nodejs", "python", "binary"]
            .map(String::from)
            .to_vec(),
        own_buildpacks: None,
        start_command_given: false,
        max_unpacked_bytes: 1 << 30,
        max_entries: 100_000,
        timeout_seconds: 300,
    }
}

impl Yard {
    fn new() -> Yard {
        let folder = tempfile::tempdir().expect("temporary folder");
        let yard = folder.path().join("yard");
        fs::create_dir_all(&yard).expect("folder");
        symlink(repository().join("buildpacks"), yard.join("buildpacks")).expect("link");
        let layout = Layout {
            home: folder.path().join("home"),
            request: yard.join("request.json"),
            yard,
        };
        Yard { folder, layout }
    }

    /// A yard whose package holds these files.
    fn with(files: &[(&str, &str)]) -> Yard {
        let yard = Yard::new();
        let source = yard.folder.path().join("source");
        fs::create_dir_all(&source).expect("folder");
        for (name, text) in files {
            let path = source.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
            fs::write(&path, text).expect("file");
            if text.starts_with("#!") {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
            }
        }
        yard.package(&source);
        yard
    }

    fn sample(name: &str) -> Yard {
        let yard = Yard::new();
        yard.package(&repository().join("samples").join(name));
        yard
    }

    fn package(&self, source: &Path) {
        self.zip(source, &self.layout.yard.join("package.zip"));
    }

    fn zip(&self, source: &Path, archive: &Path) {
        let mut zip = ZipWriter::new(File::create(archive).expect("file"));
        for entry in walkdir::WalkDir::new(source).sort_by_file_name() {
            let entry = entry.expect("entry");
            let name = entry
                .path()
                .strip_prefix(source)
                .expect("below")
                .display()
                .to_string();
            if entry.file_type().is_file() {
                let mode = entry.metadata().expect("metadata").permissions().mode();
                // An entry without a time gets that of its build.
                let time = zip::DateTime::from_date_and_time(2026, 3, 14, 15, 9, 26).expect("time");
                let options = SimpleFileOptions::default()
                    .unix_permissions(mode)
                    .last_modified_time(time);
                zip.start_file(name, options).expect("entry");
                zip.write_all(&fs::read(entry.path()).expect("content"))
                    .expect("written");
            }
        }
        zip.finish().expect("finished");
    }

    /// Buildpacks of a test instead of ours: (path below `buildpacks/`, script).
    fn buildpacks(&self, scripts: &[(&str, &str)]) {
        let folder = self.layout.yard.join("buildpacks");
        fs::remove_file(&folder)
            .or_else(|_| fs::remove_dir_all(&folder))
            .expect("removed");
        for (name, text) in scripts {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
            fs::write(&path, format!("#!/bin/bash\n{text}\n")).expect("script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        }
    }

    /// An uploaded buildpack of these scripts (path below it, text).
    fn archive(&self, name: &str, scripts: &[(&str, &str)]) -> PathBuf {
        let source = self.folder.path().join("archives").join(name);
        for (path, text) in scripts {
            let path = source.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
            fs::write(&path, format!("#!/bin/bash\n{text}\n")).expect("script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        }
        let archive = self.layout.yard.join(format!("{name}.zip"));
        self.zip(&source, &archive);
        archive
    }

    fn build(&self, request: &BuildRequest) -> Outcome {
        fs::write(
            &self.layout.request,
            serde_json::to_vec(request).expect("JSON"),
        )
        .expect("request");
        let text = Text::default();
        let mut console = Console::new(Box::new(text.clone()), Box::new(text.clone()));
        let status = run(&self.layout, &mut console);
        let result = serde_json::from_slice(&fs::read(self.layout.result()).expect("a result"))
            .expect("a build result");
        let text = String::from_utf8_lossy(&text.0.lock().expect("not poisoned")).into_owned();
        Outcome {
            status,
            result,
            text,
        }
    }

    /// Unpacks the droplet where it was built, as an agent does, and starts `command` in it.
    fn start(&self, command: &str) -> App {
        let home = &self.layout.home;
        fs::remove_dir_all(home).expect("the build is gone");
        fs::create_dir_all(home).expect("folder");
        let unpacked = Command::new("tar")
            .arg("-xzf")
            .arg(self.layout.droplet_out())
            .arg("-C")
            .arg(home)
            .status()
            .expect("tar");
        assert!(unpacked.success());
        let port = free_port();
        let script = "for script in ../profile.d/*.sh ../deps/*/profile.d/*.sh; do if [ -f \"$script\" ]; then . \"$script\"; fi; done; exec bash -c \"$0\"";
        let child = Command::new("/bin/bash")
            .args(["-c", script, command])
            .env_clear()
            .envs([
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("CF_INSTANCE_INDEX", "3"),
                ("VERSION", "v7"),
                ("LANG", "C.UTF-8"),
            ])
            .env("HOME", home.join("app"))
            .env("TMPDIR", home.join("tmp"))
            .env("PORT", port.to_string())
            .current_dir(home.join("app"))
            .stdout(Stdio::from(
                File::create(home.join("logs/out")).expect("log"),
            ))
            .stderr(Stdio::from(
                File::create(home.join("logs/err")).expect("log"),
            ))
            .process_group(0)
            .spawn()
            .expect("bash starts");
        App {
            child,
            port,
            logs: home.join("logs"),
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

struct App {
    child: Child,
    port: u16,
    logs: PathBuf,
}

impl App {
    /// The status line and the body; waits until the app listens.
    fn get(&self, path: &str) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match self.try_get(path) {
                Ok(answer) if !answer.is_empty() => return answer,
                other if Instant::now() > until => panic!("no answer: {other:?}\n{}", self.log()),
                _ => std::thread::park_timeout(Duration::from_millis(50)),
            }
        }
    }

    fn try_get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn log(&self) -> String {
        ["out", "err"]
            .map(|name| fs::read_to_string(self.logs.join(name)).unwrap_or_default())
            .concat()
    }

    /// Waits until the app has written this.
    fn logged(&self, part: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(part) {
            assert!(
                Instant::now() < until,
                "no {part:?} in its log: {}",
                self.log()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// TERM to the app's process, as an init forwards it; the exit status.
    fn terminate(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("signalled");
        let until = Instant::now() + Duration::from_secs(9);
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.code();
            }
            assert!(
                Instant::now() < until,
                "TERM did not end it within 9 s\n{}",
                self.log()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = nix::sys::signal::killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn missing(test: &str, programs: &[&str]) -> bool {
    let absent = programs.iter().find(|program| !Path::new(program).exists());
    if let Some(program) = absent {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED {test}: {program} is not installed\n"),
        );
    }
    absent.is_some()
}

#[test]
fn the_static_sample_is_served_by_nginx_with_its_options() {
    if missing("static", &["/usr/sbin/nginx"]) {
        return;
    }
    let yard = Yard::sample("static");
    let outcome = yard.build(&request());
    assert_eq!(
        outcome.result.lifecycle_metadata.detected_buildpack,
        "static files"
    );
    let mut app = yard.start(outcome.web());
    let answer = app.get("/");
    assert!(
        answer.contains("200 OK") && answer.contains("Hello from Stackyard"),
        "{answer}"
    );
    assert!(app.get("/style.css").contains("text/css"));
    assert!(app.get("/manifest.yml").contains("404"));
    assert!(app.get("/nothing").contains("404"));
    // On standard output, once the request is over for the server too.
    app.logged("GET /style.css");
    assert_eq!(app.terminate(), Some(0));
}

#[test]
fn a_staticfile_chooses_root_listing_pushstate_and_password() {
    if missing("staticfile", &["/usr/sbin/nginx"]) {
        return;
    }
    let yard = Yard::with(&[
        (
            "Staticfile",
            "root: site\ndirectory: visible\npushstate: enabled\nwhatever: 1\n",
        ),
        ("site/index.html", "the site"),
        ("site/sub/file.txt", "text"),
        ("site/.secret", "hidden"),
        ("site/.well-known/x", "known"),
        ("outside.txt", "outside"),
    ]);
    let outcome = yard.build(&request());
    assert!(
        outcome.text.contains("the option whatever is not known"),
        "{}",
        outcome.text
    );
    let app = yard.start(outcome.web());
    assert!(app.get("/").contains("the site"));
    assert!(
        app.get("/outside.txt").contains("the site"),
        "pushstate answers unknown paths"
    );
    assert!(app.get("/sub/").contains("file.txt"), "folders are listed");
    assert!(app.get("/.secret").contains("404"));
    assert!(app.get("/.well-known/x").contains("known"));

    let yard = Yard::with(&[
        ("index.html", "x"),
        ("Staticfile.auth", "bob:{PLAIN}secret\n"),
        ("Staticfile", "---\n"),
    ]);
    let app = yard.start(yard.build(&request()).web());
    assert!(app.get("/").contains("401"));
    assert!(app.get("/Staticfile.auth").contains("404"));

    Yard::with(&[("Staticfile", "root: ../..\n")])
        .build(&request())
        .failed(
            Step::Finalize,
            "bin/finalize of the buildpack staticfile failed with exit status 1",
        );
    Yard::with(&[("Staticfile", "root: nowhere\n")])
        .build(&request())
        .failed(Step::Finalize, "staticfile");
    let outcome =
        Yard::with(&[("Staticfile", "directory: maybe\n"), ("index.html", "")]).build(&request());
    outcome.failed(Step::Finalize, "staticfile");
    let failure = outcome.result.yard_failure.expect("failed");
    assert!(
        failure
            .last_lines
            .iter()
            .any(|line| line.contains("directory is 'maybe'")),
        "{failure:?}"
    );
}

#[test]
fn the_binary_sample_runs_as_it_is_and_its_droplet_is_reproducible() {
    if missing("binary", &["/usr/bin/python3"]) {
        return;
    }
    let yard = Yard::sample("binary");
    let outcome = yard.build(&request());
    let first = fs::read(yard.layout.droplet_out()).expect("a droplet");
    let mut app = yard.start(outcome.web());
    assert!(
        app.get("/")
            .contains("hello from binary, instance 3, version v7")
    );
    assert!(app.get("/env").contains("\"CF_INSTANCE_INDEX\": \"3\""));
    assert_eq!(app.terminate(), Some(0));

    fs::remove_dir_all(&yard.layout.home).expect("removed");
    assert_eq!(yard.build(&request()).status, 0);
    // Folders carry the time of the build, files that of the package.
    let files = |bytes: &[u8]| {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
        let entries = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("entry");
            let time = if entry.header().entry_type().is_dir() {
                0
            } else {
                entry.header().mtime().expect("time")
            };
            (
                entry.path().expect("path").into_owned(),
                entry.header().mode().expect("mode"),
                time * u64::from(entry.path().expect("path").starts_with("app")),
            )
        });
        entries.collect::<Vec<_>>()
    };
    assert_eq!(
        files(&first),
        files(&fs::read(yard.layout.droplet_out()).expect("a droplet"))
    );
}

#[test]
fn the_worker_sample_has_a_worker_and_no_web_process() {
    let yard = Yard::sample("worker");
    let outcome = yard.build(&request());
    assert_eq!(outcome.status, 0, "{}", outcome.text);
    assert_eq!(
        outcome.result.process_types.keys().collect::<Vec<_>>(),
        ["worker"]
    );
    let mut app = yard.start(&outcome.result.process_types["worker"]);
    app.logged("line 2 from worker, instance 3");
    assert_eq!(app.terminate(), Some(0));
}

/// A failure of the network is no failure of the builder; anything else is.
fn registry_unreachable(test: &str, outcome: &Outcome) -> bool {
    let signs = [
        "NewConnectionError",
        "ConnectTimeoutError",
        "Could not fetch URL",
        "Connection refused",
        "ENOTFOUND",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "EAI_AGAIN",
        "Temporary failure in name resolution",
    ];
    let unreachable = outcome.status != 0 && signs.iter().any(|sign| outcome.text.contains(sign));
    if unreachable {
        eprintln!(
            "SKIPPED {test}: the package registry cannot be reached from here\n{}",
            outcome.text
        );
    }
    unreachable
}

#[test]
fn the_python_sample_gets_its_dependency_and_the_second_build_uses_the_cache() {
    if missing("python", &["/usr/bin/python3"]) {
        return;
    }
    let yard = Yard::sample("python");
    let outcome = yard.build(&request());
    if registry_unreachable("python", &outcome) {
        return;
    }
    assert!(
        outcome
            .result
            .lifecycle_metadata
            .detected_buildpack
            .starts_with("Python 3."),
        "{}",
        outcome.text
    );
    let mut app = yard.start(outcome.web());
    assert!(
        app.get("/")
            .contains("hello from python, instance 3, version v7"),
        "{}",
        app.log()
    );
    assert_eq!(app.terminate(), Some(0), "{}", app.log());

    if !yard.layout.cache_out().exists() {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED the second half: the package index here forbids caching\n"),
        );
        return;
    }
    fs::remove_dir_all(&yard.layout.home).expect("removed");
    fs::rename(yard.layout.cache_out(), yard.layout.cache_in()).expect("renamed");
    let again = yard.build(&request());
    assert!(
        again.text.contains("using the cache of an earlier build"),
        "{}",
        again.text
    );
    assert!(again.text.contains("Using cached"), "{}", again.text);
}

#[test]
fn a_cache_reaches_the_next_build_of_the_same_buildpack() {
    let yard = Yard::with(&[("Procfile", "web: run")]);
    let script =
        "if test -f $2/count; then echo \"seen $(cat $2/count)\"; fi; echo -n x >> $2/count";
    yard.buildpacks(&[("a/bin/compile", script)]);
    let request = BuildRequest {
        buildpacks: vec!["a".into()],
        ..request()
    };
    assert_eq!(yard.build(&request).status, 0);
    for expected in ["seen x\n", "seen xx\n"] {
        fs::remove_dir_all(&yard.layout.home).expect("removed");
        fs::rename(yard.layout.cache_out(), yard.layout.cache_in()).expect("a cache was left");
        let outcome = yard.build(&request);
        assert!(outcome.text.contains(expected), "{}", outcome.text);
    }
}

#[test]
fn the_node_sample_gets_its_dependency() {
    if missing("node", &["/usr/bin/node", "/usr/bin/npm"]) {
        return;
    }
    let yard = Yard::sample("node");
    let outcome = yard.build(&request());
    if registry_unreachable("node", &outcome) {
        return;
    }
    assert_eq!(outcome.web(), "node server.js");
    let mut app = yard.start(outcome.web());
    assert!(
        app.get("/")
            .contains("hello from node, instance 3, version v7, up for"),
        "{}",
        app.log()
    );
    assert_eq!(app.terminate(), Some(0), "{}", app.log());
    assert!(
        app.log().contains("stopped"),
        "the app itself saw the signal: {}",
        app.log()
    );
}

#[test]
fn a_python_app_without_dependencies_needs_no_index_and_a_missing_one_is_named() {
    if missing("python without dependencies", &["/usr/bin/python3"]) {
        return;
    }
    let yard = Yard::with(&[("app.py", "import sys\nprint('prefix', sys.prefix)\n")]);
    let outcome = yard.build(&request());
    let mut app = yard.start(outcome.web());
    assert!(app.child.wait().expect("waited").success());
    assert!(app.log().contains("home/deps/0"), "{}", app.log());

    let files = [
        ("requirements.txt", "--no-index\nno-such-package-here\n"),
        ("runtime.txt", "python-2.7.18\n"),
        ("app.py", ""),
    ];
    let outcome = Yard::with(&files).build(&request());
    outcome.failed(Step::Supply, "bin/supply of the buildpack python failed");
    assert!(
        outcome.text.contains("asks for Python 2.7.18"),
        "{}",
        outcome.text
    );
    let lines = outcome.result.yard_failure.expect("failed").last_lines;
    assert!(
        lines
            .iter()
            .any(|line| line.contains("No matching distribution found for no-such-package-here")),
        "{lines:?}"
    );
}

#[test]
fn a_node_app_without_dependencies_needs_no_registry_and_a_broken_description_is_named() {
    if missing(
        "node without dependencies",
        &["/usr/bin/node", "/usr/bin/npm"],
    ) {
        return;
    }
    let package = r#"{"name":"x","version":"1.2.3","engines":{"node":"8.x"},"scripts":{"start":"node it's.js \"a b\""}}"#;
    let yard = Yard::with(&[
        ("package.json", package),
        (
            "its.js",
            "console.log(process.argv[2], process.env.npm_package_version, process.env.NODE_ENV)",
        ),
    ]);
    let outcome = yard.build(&request());
    assert_eq!(outcome.web(), "node it's.js \"a b\"", "the text survives");
    assert!(
        outcome.text.contains("asks for Node.js 8.x"),
        "{}",
        outcome.text
    );
    let mut app = yard.start("node its.js 'a b'");
    assert!(app.child.wait().expect("waited").success());
    assert_eq!(app.log(), "a b 1.2.3 production\n");

    let outcome = Yard::with(&[("package.json", "{oops")]).build(&request());
    outcome.failed(Step::Supply, "bin/supply of the buildpack nodejs");
    assert!(
        outcome
            .text
            .contains("package.json is not readable as JSON"),
        "{}",
        outcome.text
    );
}

#[test]
fn an_app_that_nobody_knows_is_told_what_was_looked_for_and_how_to_name_a_buildpack() {
    let outcome = Yard::with(&[("readme.txt", "x")]).build(&request());
    outcome.failed(Step::Detect, "nodejs: no package.json");
    outcome.failed(Step::Detect, "-b NAME");
    let mut given = request();
    given.start_command_given = true;
    let outcome = Yard::with(&[("readme.txt", "x")]).build(&given);
    assert_eq!(
        (
            outcome.status,
            outcome.result.lifecycle_metadata.buildpack_key.as_str()
        ),
        (0, "binary"),
        "{}",
        outcome.text
    );
}

#[test]
fn no_start_command_is_a_failure_of_its_own() {
    let mut named = request();
    named.buildpacks = vec!["binary".into()];
    Yard::with(&[("readme.txt", "x")])
        .build(&named)
        .failed(Step::Pack, "Start command not specified");
    Yard::with(&[("Procfile", "gibberish")])
        .build(&request())
        .failed(Step::Pack, "line 1 of the Procfile");
}

#[test]
fn each_failing_script_is_named_with_its_status_and_its_last_lines() {
    let check = |scripts: &[(&str, &str)], buildpacks: &[&str], step: Step, part: &str| {
        let yard = Yard::with(&[("Procfile", "web: run")]);
        yard.buildpacks(scripts);
        let request = BuildRequest {
            buildpacks: buildpacks.iter().map(|name| name.to_string()).collect(),
            timeout_seconds: 5,
            ..request()
        };
        let begun = Instant::now();
        let outcome = yard.build(&request);
        outcome.failed(step, part);
        assert!(!yard.layout.cache_out().exists() && !yard.layout.droplet_out().exists());
        assert!(begun.elapsed() < Duration::from_secs(9));
        outcome.result.yard_failure.expect("failed")
    };
    let failure = check(
        &[("a/bin/compile", "echo trying; echo broken >&2; exit 7")],
        &["a"],
        Step::Compile,
        "bin/compile of the buildpack a failed with exit status 7",
    );
    // Two pipes have no order between them.
    let mut lines = failure.last_lines;
    lines.sort();
    assert_eq!(lines, ["broken", "trying"]);
    check(
        &[("a/bin/supply", "exit 2"), ("a/bin/finalize", "")],
        &["a"],
        Step::Supply,
        "bin/supply",
    );
    check(
        &[("a/bin/finalize", "kill -SEGV $$")],
        &["a"],
        Step::Finalize,
        "signal SIGSEGV",
    );
    check(
        &[("a/bin/compile", ""), ("a/bin/release", "exit 1")],
        &["a"],
        Step::Release,
        "bin/release",
    );
    check(
        &[("a/bin/compile", ""), ("a/bin/release", "echo '[oops'")],
        &["a"],
        Step::Release,
        "not understood",
    );
    check(
        &[("a/bin/detect", "")],
        &["a"],
        Step::Finalize,
        "neither bin/finalize nor bin/compile",
    );
    check(
        &[("a/bin/compile", ""), ("b/bin/compile", "")],
        &["a", "b"],
        Step::Supply,
        "can only be the last one",
    );
    check(&[], &["a"], Step::Prepare, "not installed");
    let failure = check(
        &[("a/bin/compile", "echo begun; sleep 60")],
        &["a"],
        Step::Compile,
        "did not end in time",
    );
    assert!(failure.timed_out);
    assert_eq!(failure.last_lines, ["begun"]);
}

#[test]
fn several_buildpacks_supply_in_order_and_the_last_one_finalizes() {
    let yard = Yard::with(&[("Procfile", "worker: tool")]);
    yard.buildpacks(&[
        ("first/bin/supply", "mkdir -p $3/$4/bin $3/$4/env $3/$4/profile.d; printf '#!/bin/bash\\necho tool of first' > $3/$4/bin/tool; chmod 755 $3/$4/bin/tool; echo -n yes > $3/$4/env/FIRST; echo 'export PROFILED=1' > $3/$4/profile.d/x.sh; echo x > $2/kept"),
        ("last/bin/supply", "echo \"last sees FIRST=$FIRST and $(tool)\""),
        ("last/bin/finalize", "test -d $5 && echo finalized $4 && test -z \"$(ls $2)\""),
        ("last/bin/release", "echo 'default_process_types: {web: ./from-release, worker: overruled}'"),
    ]);
    let outcome = yard.build(&BuildRequest {
        buildpacks: vec!["first".into(), "last".into()],
        ..request()
    });
    assert_eq!(outcome.status, 0, "{}", outcome.text);
    assert!(
        outcome
            .text
            .contains("last sees FIRST=yes and tool of first"),
        "{}",
        outcome.text
    );
    assert!(outcome.text.contains("finalized 1"), "{}", outcome.text);
    assert_eq!(outcome.web(), "./from-release");
    assert_eq!(outcome.result.process_types["worker"], "tool");
    assert_eq!(outcome.result.lifecycle_metadata.buildpacks.len(), 2);
    let mut app = yard.start("tool; echo profiled $PROFILED");
    let _ = app.child.wait();
    assert_eq!(app.log(), "tool of first\nprofiled 1\n");
}

#[test]
fn a_bad_package_or_cache_is_met_with_words() {
    let yard = Yard::with(&[("index.html", "x")]);
    fs::write(yard.layout.cache_in(), "garbage").expect("written");
    let outcome = yard.build(&request());
    assert_eq!(
        outcome.status, 0,
        "a cache never fails a build: {}",
        outcome.text
    );
    assert!(
        outcome.text.contains("unusable and left out"),
        "{}",
        outcome.text
    );

    let yard = Yard::with(&[("index.html", "x")]);
    fs::write(yard.layout.package(), "garbage").expect("written");
    yard.build(&request())
        .failed(Step::Prepare, "no readable zip archive");
    Yard::with(&[("a", &"x".repeat(2000))])
        .build(&BuildRequest {
            max_unpacked_bytes: 100,
            ..request()
        })
        .failed(Step::Prepare, "more than 100 bytes");
}
