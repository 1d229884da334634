//! Where packs come from: a folder that the operator allows, a git repository, the index, an upload.
//!
//! ```text
//!   file:///srv/packs/hello      only beneath the folders of the setting automation/pack/folders
//!   https://host/hello.git=1.2   git, with a branch, tag or commit; also ssh://, git@host:path
//!   org/hello                    git, at GitHub
//!   hello                        by name, from the index
//!   upload:SHA256                what POST /packs/upload has put into the blob store
//! ```
//!
//! git runs with the network's data as its input: no hooks, no configuration of the machine, no transports
//! but the plain ones, no questions; its time and the room it takes are limited.

use super::fault::Fault;
use super::pack_content::PackContent;
use crate::automation::Automation;
use crate::automation::engine::dispatch::content_key;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// Longest run of git.
const GIT_TIME: Duration = Duration::from_secs(180);
/// Most bytes a clone may take on disk.
const GIT_ROOM: u64 = 512 << 20;
/// How often the room is looked at.
const GIT_LOOK: Duration = Duration::from_millis(500);
/// Bytes of what git says that are shown.
const GIT_WORDS: u64 = 4096;

/// A place, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Folder(PathBuf),
    Git(String),
    Index(String),
    Upload(String),
}

/// A place and, after `=`, a branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub place: Place,
    pub version: Option<String>,
}

impl Source {
    pub fn parse(text: &str) -> Result<Source, Fault> {
        let text = text.trim();
        let wrong = |why: &str| Err(Fault::Invalid(format!("Pack \"{text}\": {why}.")));
        if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
            return wrong("this is no name, URL or folder");
        }
        let (place, version) = match text.rsplit_once('=') {
            Some((place, version)) => (place, Some(version.to_string())),
            None => (text, None),
        };
        if let Some(version) = &version
            && !is_version(version)
        {
            return wrong("what follows the = is no branch, tag or commit");
        }
        let is_word = |word: &str| {
            !word.is_empty()
                && !word.starts_with(['-', '.'])
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        let place = if let Some(path) = place.strip_prefix("file://") {
            if !path.starts_with('/') {
                return wrong("write the whole path, as in file:///srv/packs/hello");
            }
            Place::Folder(PathBuf::from(path))
        } else if let Some(sum) = place.strip_prefix("upload:") {
            if sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return wrong("this is no upload");
            }
            Place::Upload(sum.to_string())
        } else if let Some((scheme, rest)) = place.split_once("://") {
            if !matches!(scheme, "https" | "http" | "ssh" | "git+ssh") {
                return wrong("packs come over https, http, ssh or file");
            }
            if rest.is_empty() || rest.starts_with('-') {
                return wrong("the URL names no host");
            }
            Place::Git(place.to_string())
        } else if let Some((user_and_host, path)) = place.split_once(':')
            && user_and_host.contains('@')
        {
            let is_fine = user_and_host.split('@').all(is_word) && !path.is_empty();
            if !is_fine {
                return wrong("write it as git@host:path");
            }
            Place::Git(place.to_string())
        } else if let Some((organization, repository)) = place.split_once('/') {
            if !is_word(organization) || !is_word(repository) {
                return wrong("this is no name, URL or folder");
            }
            Place::Git(format!("https://github.com/{organization}/{repository}"))
        } else if is_word(place) {
            Place::Index(place.to_string())
        } else {
            return wrong("this is no name, URL or folder");
        };
        Ok(Source { place, version })
    }

    /// The name a pack from there most likely has: of the folder or repository.
    pub fn likely_name(&self) -> Option<String> {
        let last = |text: &str| {
            let name = text
                .trim_end_matches('/')
                .rsplit(['/', ':'])
                .next()
                .unwrap_or_default();
            let name = name.strip_suffix(".git").unwrap_or(name);
            name.strip_prefix("stackstorm-").unwrap_or(name).to_string()
        };
        match &self.place {
            Place::Folder(path) => Some(last(&path.to_string_lossy())),
            Place::Git(url) => Some(last(url)),
            Place::Index(name) => Some(name.clone()),
            Place::Upload(_) => None,
        }
    }
}

fn is_version(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && !text.starts_with('-')
        && !text.contains("..")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+'))
}

impl Automation {
    /// Fetches a pack's files.
    pub(super) async fn fetch_pack(&self, source: &Source) -> Result<PackContent, Fault> {
        match &source.place {
            Place::Folder(path) => {
                let folder = self.allowed_folder(path).await?;
                match &source.version {
                    None => content_of(folder).await,
                    Some(version) => {
                        self.clone_git(&folder.display().to_string(), Some(version), "file")
                            .await
                    }
                }
            }
            Place::Git(url) => {
                self.clone_git(url, source.version.as_deref(), "https:http:ssh")
                    .await
            }
            Place::Index(name) => {
                let entry = self.look_up(name).await?;
                let url = entry["repo_url"].as_str().unwrap_or_default();
                let there = Source::parse(url)?;
                if !matches!(there.place, Place::Git(_) | Place::Folder(_)) {
                    return Err(Fault::Invalid(format!(
                        "The index names no repository for the pack \"{name}\"."
                    )));
                }
                let there = Source {
                    version: source.version.clone(),
                    ..there
                };
                Box::pin(self.fetch_pack(&there)).await
            }
            Place::Upload(sum) => {
                let folder = self.ops.upload_folder()?;
                let path = folder.path().join("pack.tgz");
                if !self.ops.blobs.fetch(&content_key(sum), &path).await? {
                    return Err(Fault::Invalid(
                        "The uploaded pack is not here any more: upload it again.".into(),
                    ));
                }
                let content = blocking(move || Ok(PackContent::of_archive(&path)?)).await;
                drop(folder);
                content
            }
        }
    }

    /// The real path of a folder from which packs may be installed.
    async fn allowed_folder(&self, path: &Path) -> Result<PathBuf, Fault> {
        let setting = self.ops.settings().text("automation/pack/folders");
        let allowed: Vec<PathBuf> = setting
            .split(':')
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from)
            .chain(self.pack_folders.iter().cloned())
            .collect();
        let refused = || {
            let named: Vec<String> = allowed
                .iter()
                .map(|one| one.display().to_string())
                .collect();
            Fault::Invalid(format!(
                "Packs are not installed from {}: {}.",
                path.display(),
                if named.is_empty() {
                    "the setting automation/pack/folders names no folder; upload the pack or name a git URL".to_string()
                } else {
                    format!("only from folders beneath {}", named.join(", "))
                }
            ))
        };
        // What is not there and what may not be read look alike: nobody learns what the machine holds.
        let real = tokio::fs::canonicalize(path).await.map_err(|_| refused())?;
        for folder in &allowed {
            let inside = tokio::fs::canonicalize(folder)
                .await
                .is_ok_and(|folder| real.starts_with(folder));
            if inside {
                return Ok(real);
            }
        }
        Err(refused())
    }

    /// The content of a repository, at a version or the tip of its default branch.
    pub(super) async fn clone_git(
        &self,
        url: &str,
        version: Option<&str>,
        protocols: &str,
    ) -> Result<PackContent, Fault> {
        let folder = self.ops.upload_folder()?;
        let tree = folder.path().join("tree");
        let environment = self.ops.settings().environment("staging/environment");
        let git = Git {
            folder: folder.path(),
            protocols,
            environment: &environment,
        };
        let shown = tree.display().to_string();
        let arguments = ["clone", "--quiet", "--no-checkout", "--", url, &shown];
        if let Err(words) = git.run(&arguments).await? {
            return Err(Fault::Invalid(format!(
                "The repository {url} cannot be fetched: {words}"
            )));
        }
        let commit = git.commit(&shown, version).await?.ok_or_else(|| {
            Fault::Invalid(match version {
                Some(version) => {
                    format!("The repository {url} has no branch, tag or commit \"{version}\".")
                }
                None => format!("The repository {url} is empty."),
            })
        })?;
        let arguments = ["-C", &shown, "checkout", "--quiet", "--detach", &commit];
        if let Err(words) = git.run(&arguments).await? {
            return Err(Fault::Invalid(format!(
                "The repository {url} cannot be checked out: {words}"
            )));
        }
        let content = content_of(tree).await;
        drop(folder);
        content
    }
}

async fn content_of(folder: PathBuf) -> Result<PackContent, Fault> {
    blocking(move || Ok(PackContent::of_folder(&folder)?)).await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Fault::internal("reading the files of a pack"))?
}

/// git in a folder of its own.
struct Git<'a> {
    folder: &'a Path,
    /// Transports, separated by colons.
    protocols: &'a str,
    /// The operator's: proxies.
    environment: &'a BTreeMap<String, String>,
}

impl Git<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        for (name, value) in self.environment {
            if name.to_ascii_lowercase().ends_with("_proxy") {
                command.env(name, value);
            }
        }
        // Keys of SSH are in the home folder.
        for name in ["PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .envs([
                ("LC_ALL", "C.UTF-8"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_ASKPASS", "/bin/false"),
                ("GIT_ALLOW_PROTOCOL", self.protocols),
                (
                    "GIT_SSH_COMMAND",
                    "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new",
                ),
            ])
            .args([
                "-c",
                "protocol.ext.allow=never",
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "submodule.recurse=false",
                "-c",
                "safe.directory=*",
                "-c",
                "gc.auto=0",
            ])
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// The inner error: what git said.
    async fn run(&self, arguments: &[&str]) -> Result<Result<String, String>, Fault> {
        let mut child = self
            .command()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Fault::Unavailable(
                    "git is not installed on the controller's machine: packs cannot be fetched from repositories.".into(),
                ),
                _ => Fault::internal("running git")(error),
            })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let words = async {
            let mut out = Vec::new();
            let mut err = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(GIT_WORDS).read_to_end(&mut out).await?;
            }
            if let Some(mut stderr) = stderr {
                (&mut stderr).take(GIT_WORDS).read_to_end(&mut err).await?;
                // It must not wait for a reader.
                tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
            }
            Ok::<_, std::io::Error>((out, err, child.wait().await?))
        };
        let within = async {
            tokio::pin!(words);
            loop {
                tokio::select! {
                    done = &mut words => return done.map(Ok),
                    () = tokio::time::sleep(GIT_LOOK) => {
                        let folder = self.folder.to_path_buf();
                        let size = tokio::task::spawn_blocking(move || size_of(&folder)).await;
                        if size.is_ok_and(|size| size > GIT_ROOM) {
                            return Ok(Err(()));
                        }
                    }
                }
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_string();
        Ok(match tokio::time::timeout(GIT_TIME, within).await {
            Err(_) => Err(format!("it takes longer than {} s", GIT_TIME.as_secs())),
            Ok(done) => match done.map_err(Fault::internal("running git"))? {
                Err(()) => Err(format!("it is larger than {} MiB", GIT_ROOM >> 20)),
                Ok((out, _, status)) if status.success() => Ok(text(out)),
                Ok((_, err, _)) => Err(text(err)),
            },
        })
    }

    /// The commit that a version names: a branch, a tag, a tag with a `v`, a commit.
    async fn commit(&self, tree: &str, version: Option<&str>) -> Result<Option<String>, Fault> {
        let names = match version {
            None => vec!["refs/remotes/origin/HEAD".to_string()],
            Some(version) => vec![
                format!("refs/remotes/origin/{version}"),
                format!("refs/tags/{version}"),
                format!("refs/tags/v{version}"),
                version.to_string(),
            ],
        };
        for name in names {
            let wanted = format!("{name}^{{commit}}");
            let arguments = ["-C", tree, "rev-parse", "--verify", "--quiet", &wanted];
            if let Ok(commit) = self.run(&arguments).await? {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }
}

fn size_of(folder: &Path) -> u64 {
    let mut total = 0_u64;
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        // Files come and go while git works.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => total = total.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let check = |text: &str, place: Place, version: Option<&str>, name: Option<&str>| {
            let source = Source::parse(text).unwrap();
            assert_eq!(source.place, place, "{text}");
            assert_eq!(source.version.as_deref(), version, "{text}");
            assert_eq!(source.likely_name().as_deref(), name, "{text}");
        };
        let git = |url: &str| Place::Git(url.into());
        check("hello", Place::Index("hello".into()), None, Some("hello"));
        check(
            "hello=1.2.0",
            Place::Index("hello".into()),
            Some("1.2.0"),
            Some("hello"),
        );
        check(
            "org/stackstorm-hello=main",
            git("https://github.com/org/stackstorm-hello"),
            Some("main"),
            Some("hello"),
        );
        check(
            "https://h/x/hello.git",
            git("https://h/x/hello.git"),
            None,
            Some("hello"),
        );
        check(
            "git@h:x/hello.git=v1",
            git("git@h:x/hello.git"),
            Some("v1"),
            Some("hello"),
        );
        check(
            "file:///srv/hello/",
            Place::Folder("/srv/hello/".into()),
            None,
            Some("hello"),
        );
        let sum = "0".repeat(64);
        check(
            &format!("upload:{sum}"),
            Place::Upload(sum.clone()),
            None,
            None,
        );
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_refused() {
        for text in [
            "",
            "-x",
            "--upload-pack=x",
            "ext::sh -c x",
            "ext://x",
            "file://x",
            "https://-oProxyCommand",
            "hello=-x",
            "hello=a..b",
            "hello=",
            "a b",
            "../x",
            "git://h/x",
            "-o@h:x",
            "upload:../x",
            "a/b/c",
        ] {
            assert!(Source::parse(text).is_err(), "{text:?}");
        }
    }
}
