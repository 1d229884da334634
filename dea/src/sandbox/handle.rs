//! A prepared sandbox in the hands of the agent.

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dea_shim::cgroup::Group;
use dea_shim::protocol::{Assignment, Reply, Request};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat, stat};
use nix::sys::statvfs::statvfs;
use nix::unistd::{Gid, Uid, fchown, mkfifoat};
use sys::path::{open_in_root, open_regular_file};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use super::control::Control;
use super::engine::{Inner, Unfinished};
use super::host::most_open_files;
use super::oci::FEWEST_PIDS;
use super::record::{self, Places, Record, places, write_whole};
use super::stack::own_files;
use super::{
    Events, ExecOutcome, Orders, SandboxError, SandboxLimits, Signal, Source, Usage, VCAP, exec,
};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Copying a large droplet on a kernel without shared ones takes its time.
const MOUNT_WITHIN: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<Inner>,
    record: Record,
    places: Places,
    /// Pid on the host of the sandbox's process 1; stays ours while the supervisor lives.
    init: i32,
    /// A connection to the supervisor that was made ahead, until the orders.
    kept: Mutex<Option<Control>>,
    destroyed: AtomicBool,
    /// One destroyer at a time.
    destroying: tokio::sync::Mutex<()>,
}

impl Sandbox {
    pub(super) fn new(engine: Arc<Inner>, record: Record, init: i32) -> Sandbox {
        let places = places(engine.config(), &record.id);
        Sandbox {
            shared: Arc::new(Shared {
                engine,
                record,
                places,
                init,
                kept: Mutex::default(),
                destroyed: AtomicBool::new(false),
                destroying: tokio::sync::Mutex::new(()),
            }),
        }
    }

    pub fn id(&self) -> &str {
        &self.shared.record.id
    }

    /// Its own address, which this machine can reach directly.
    pub fn address(&self) -> Ipv4Addr {
        self.shared.record.address
    }

    /// The port of the gateway's address that leads to the sandbox's port 8080.
    pub fn host_port(&self) -> Option<u16> {
        self.shared.record.host_port
    }

    pub fn limits(&self) -> SandboxLimits {
        self.shared.record.limits
    }

    async fn control(&self) -> Result<Control, SandboxError> {
        Control::connect(self.id(), &self.shared.places.socket).await
    }

    fn kept(&self) -> MutexGuard<'_, Option<Control>> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Connects to its supervisor ahead, so that what is asked until its orders does not wait for that.
    pub async fn keep_connected(&self) -> Result<(), SandboxError> {
        let control = self.control().await?;
        *self.kept() = Some(control);
        Ok(())
    }

    async fn ask(
        &self,
        request: &Request,
        operation: &'static str,
        within: Duration,
    ) -> Result<Reply, SandboxError> {
        let kept = self.kept().take();
        let Some(mut control) = kept else {
            return self.control().await?.ask(request, operation, within).await;
        };
        let reply = control.ask(request, operation, within).await?;
        *self.kept() = Some(control);
        Ok(reply)
    }

    /// Makes a sandbox that was prepared for anybody somebody's: its name inside and its limits. The
    /// disk has the size it was made with, and there are no more open files than it was prepared for.
    /// Not after the orders, unless they left it unsealed.
    pub async fn assign(
        self,
        hostname: &str,
        limits: SandboxLimits,
    ) -> Result<Sandbox, SandboxError> {
        self.begin_assign(hostname, limits).await?.finish().await
    }

    /// The same, as far as telling its supervisor.
    pub async fn begin_assign(
        self,
        hostname: &str,
        limits: SandboxLimits,
    ) -> Result<Assigning, SandboxError> {
        let mut record = self.shared.record.clone();
        let engine = self.shared.engine.clone();
        let limits = SandboxLimits {
            fds: limits.fds.min(most_open_files()),
            ..limits
        };
        if limits.disk_mb != record.limits.disk_mb || limits.fds > record.limits.fds {
            return Err(SandboxError::Refused {
                id: record.id,
                problem: "assign: it was prepared with another disk or fewer open files".to_owned(),
            });
        }
        record.limits = limits;
        let address = record.network.then_some(record.address);
        let files = own_files(hostname, address, engine.config().gateway, &[]);
        let assignment = Assignment {
            hostname: hostname.to_owned(),
            files,
            memory_bytes: limits.memory_mb << 20,
            cpu_shares: limits.cpu_shares,
            pids: limits.pids.max(FEWEST_PIDS),
        };
        let kept = self.kept().take();
        let mut control = match kept {
            Some(control) => control,
            None => self.control().await?,
        };
        control
            .tell(&Request::Assign(assignment), "assign", ANSWER_WITHIN)
            .await?;
        Ok(Assigning {
            sandbox: Sandbox::new(engine, record, self.shared.init),
            former: self,
            control,
        })
    }

    /// Shows `folder` of the host at `at` with a private writable layer on the sandbox's disk.
    /// Owner 2000 there is vcap inside; any number of sandboxes may share one folder, which must
    /// not change while they do. Before the orders only.
    pub async fn mount_droplet(&self, folder: &Path, at: &str) -> Result<(), SandboxError> {
        let request = mount_request(folder, at)?;
        let reply = self.ask(&request, "mount droplet", MOUNT_WITHIN).await?;
        self.droplet_mounted(reply);
        Ok(())
    }

    fn droplet_mounted(&self, reply: Reply) {
        if reply == Reply::Copied {
            self.shared.engine.say_droplets_are_copied();
        }
    }

    /// Puts content at an absolute path of the sandbox, owned by vcap; missing parents are made,
    /// vcap's as well. Binds are possible before the orders only.
    pub async fn put(&self, path: &str, source: Source, mode: u32) -> Result<(), SandboxError> {
        let target = inside(path)?.to_owned();
        let source = match source {
            Source::ReadOnlyBind(source) => {
                let request = Request::Bind { source, target };
                return self.ask(&request, "bind", ANSWER_WITHIN).await.map(drop);
            }
            copied => copied,
        };
        let owner = self.shared.record.uid_base(self.shared.engine.config()) + VCAP;
        let (init, disk) = (self.shared.init, self.shared.places.disk.clone());
        let shown = target.clone();
        let written = blocking(move || {
            let root = sandbox_root(init, &disk)?;
            write_inside(&root, Path::new(&target), source, mode, owner)
        });
        written.await.map_err(SandboxError::file("put", shown))
    }

    /// Makes a folder at an absolute path of the sandbox, owned by this user of it. Its parents are
    /// made as by [`Sandbox::put`]; what is there already is an error.
    pub async fn make_folder(&self, path: &str, owner: u32, mode: u32) -> Result<(), SandboxError> {
        let target = inside(path)?.to_owned();
        let base = self.shared.record.uid_base(self.shared.engine.config());
        let (init, disk) = (self.shared.init, self.shared.places.disk.clone());
        let shown = target.clone();
        let made = blocking(move || {
            let (parent, name) = parent_inside(init, &disk, &target, base + VCAP)?;
            mkdirat(&parent, name.as_str(), Mode::S_IRWXU)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let folder = open_in_root(&parent, Path::new(&name), flags, 0)?;
            give(&folder, base + owner, mode)
        });
        made.await
            .map_err(SandboxError::file("make the folder", shown))
    }

    /// Makes a named pipe of vcap's at an absolute path of the sandbox, and opens it for writing.
    /// It takes what is written also while nobody reads.
    pub async fn make_pipe(&self, path: &str) -> Result<pipe::Sender, SandboxError> {
        let target = inside(path)?.to_owned();
        let base = self.shared.record.uid_base(self.shared.engine.config());
        let (init, disk) = (self.shared.init, self.shared.places.disk.clone());
        let shown = target.clone();
        let made = blocking(move || {
            let (parent, name) = parent_inside(init, &disk, &target, base + VCAP)?;
            mkfifoat(&parent, name.as_str(), Mode::S_IRUSR | Mode::S_IWUSR)?;
            give(&open_pipe(&parent, Path::new(&name))?, base + VCAP, 0o600)
        });
        made.await
            .map_err(SandboxError::file("make the pipe", shown))?;
        self.open_pipe(path).await
    }

    /// Opens a named pipe of the sandbox for writing; symbolic links cannot lead outside.
    pub async fn open_pipe(&self, path: &str) -> Result<pipe::Sender, SandboxError> {
        let target = inside(path)?.to_owned();
        let (init, disk) = (self.shared.init, self.shared.places.disk.clone());
        let shown = target.clone();
        let opened = blocking(move || {
            let root = sandbox_root(init, &disk)?;
            open_pipe(&root, Path::new(&target))
        });
        let sender = match opened.await {
            // Refuses what is no pipe.
            Ok(file) => pipe::Sender::from_file(file),
            Err(error) => Err(error),
        };
        sender.map_err(SandboxError::file("open the pipe", shown))
    }

    /// Connects to a socket of the sandbox; symbolic links cannot lead outside.
    pub async fn connect(&self, path: &str) -> Result<UnixStream, SandboxError> {
        let target = inside(path)?.to_owned();
        let (init, disk) = (self.shared.init, self.shared.places.disk.clone());
        let shown = target.clone();
        let opened = blocking(move || {
            let root = sandbox_root(init, &disk)?;
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
            open_in_root(&root, Path::new(&target), flags, 0)
        });
        let connected = match opened.await {
            // The name of the descriptor is that of the very socket that was found.
            Ok(found) => UnixStream::connect(format!("/proc/self/fd/{}", found.as_raw_fd())).await,
            Err(error) => Err(error),
        };
        connected.map_err(SandboxError::file("connect to", shown))
    }

    /// Its control group.
    pub fn group(&self) -> Group {
        Group::new(&self.shared.places.cgroup)
    }

    /// Opens a regular file of the sandbox for reading; symbolic links cannot lead outside.
    pub async fn open_output(&self, path: &str) -> Result<fs::File, SandboxError> {
        let target = inside(path)?.to_owned();
        let (init, disk) = (self.shared.init, self.shared.places.disk.clone());
        let shown = target.clone();
        let opened = blocking(move || {
            let root = sandbox_root(init, &disk)?;
            open_regular_file(root, Path::new(&target))
        });
        opened.await.map_err(SandboxError::file("open", shown))
    }

    /// Starts the program. Once per sandbox.
    pub async fn order(&self, orders: Orders) -> Result<(), SandboxError> {
        let request = Request::Order(orders);
        let ordered = self.ask(&request, "order", ANSWER_WITHIN).await.map(drop);
        self.kept().take();
        ordered
    }

    /// Starts a program of ours that runs nothing of anybody else until [`Sandbox::seal`]: mounts stay
    /// possible until then. Once per sandbox.
    pub async fn order_unsealed(&self, orders: Orders) -> Result<(), SandboxError> {
        let request = Request::OrderUnsealed(orders);
        self.ask(&request, "order", ANSWER_WITHIN).await.map(drop)
    }

    /// From now on somebody else's code may run inside.
    pub async fn seal(&self) -> Result<(), SandboxError> {
        self.ask(&Request::Seal, "seal", ANSWER_WITHIN)
            .await
            .map(drop)
    }

    /// Starts listening, from the first event nobody has taken yet.
    pub async fn events(&self) -> Result<Events, SandboxError> {
        let mut control = self.control().await?;
        control
            .ask(&Request::Listen, "listen", ANSWER_WITHIN)
            .await?;
        Ok(Events::new(control.into_parts()))
    }

    /// Opens a session beside the application, also after its end ([`dea_shim::session`]). What becomes of
    /// it, it says itself; closing the stream ends it with everything it started.
    pub async fn enter(&self) -> Result<UnixStream, SandboxError> {
        let pair = || -> io::Result<_> {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            Ok((UnixStream::from_std(ours)?, theirs))
        };
        let (ours, theirs) = pair().map_err(|source| SandboxError::System {
            operation: "make a pair of sockets".to_owned(),
            source,
        })?;
        let mut control = self.control().await?;
        control
            .ask_with(&Request::Enter, Some(theirs.into()), "enter", ANSWER_WITHIN)
            .await?;
        Ok(ours)
    }

    pub async fn signal(&self, signal: Signal) -> Result<(), SandboxError> {
        let request = Request::Signal {
            number: signal.number(),
            everyone: signal == Signal::Kill,
        };
        self.ask(&request, "signal", ANSWER_WITHIN).await.map(drop)
    }

    pub async fn usage(&self) -> Result<Usage, SandboxError> {
        let group = self.group();
        let disk = self.shared.places.disk.clone();
        let base = self.shared.record.disk_base;
        let measured = blocking(move || {
            Ok(Usage {
                cpu_seconds: group.cpu_seconds()?,
                memory_bytes: group.memory()?,
                disk_bytes: disk_in_use(&disk)?.saturating_sub(base),
                pids: group.processes()?.saturating_sub(1),
            })
        });
        measured
            .await
            .map_err(SandboxError::file("measure", &self.shared.places.run))
    }

    /// Sets another limit of processes and threads. Who is over it already keeps what it has and
    /// gets no more.
    pub async fn limit_processes(&self, most: u64) -> Result<(), SandboxError> {
        self.group()
            .limit_processes(most.max(FEWEST_PIDS))
            .map_err(SandboxError::file(
                "limit the processes of",
                &self.shared.places.run,
            ))
    }

    /// Runs a command beside the application (as long as the sandbox's init lives, also after the
    /// application's end) and collects its output, at most 1 MiB of each stream.
    pub async fn exec(
        &self,
        orders: Orders,
        within: Duration,
    ) -> Result<ExecOutcome, SandboxError> {
        let runtime = &self.shared.engine.config().runtime;
        exec::run(runtime, self.id(), &self.shared.places, orders, within).await
    }

    /// Kills, unmounts, frees address, uids and port. Repeating it is fine; what fails or is dropped
    /// half-way is left to [`super::Engine::sweep`].
    pub async fn destroy(&self) -> Result<(), SandboxError> {
        let _one = self.shared.destroying.lock().await;
        if self.shared.destroyed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (engine, record) = (&self.shared.engine, &self.shared.record);
        let unfinished = Unfinished::new(engine, record);
        engine.remove(self.id(), Some(record)).await?;
        unfinished.done();
        self.shared.destroyed.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// The caller's own note about this sandbox, kept on disk over restarts of the agent.
    pub async fn set_label(&self, label: &str) -> Result<(), SandboxError> {
        write_whole(&self.shared.places.label, label.as_bytes())
    }

    pub fn label(&self) -> Option<String> {
        fs::read_to_string(&self.shared.places.label).ok()
    }
}

/// A sandbox whose supervisor was told whose it becomes, and has not answered yet.
pub struct Assigning {
    sandbox: Sandbox,
    /// As it was prepared.
    former: Sandbox,
    control: Control,
}

impl Assigning {
    pub async fn finish(mut self) -> Result<Sandbox, SandboxError> {
        self.control.reply("assign", ANSWER_WITHIN).await?;
        self.save(&self.sandbox)?;
        Ok(self.assigned())
    }

    /// Shows a droplet as [`Sandbox::mount_droplet`] does, asked for before the answer about whose the sandbox is.
    /// An error: it is nobody's, and of no use.
    pub async fn finish_with_droplet(
        mut self,
        folder: &Path,
        at: &str,
    ) -> Result<(Sandbox, Result<(), SandboxError>), SandboxError> {
        let request = mount_request(folder, at)?;
        self.control
            .tell(&request, "mount droplet", MOUNT_WITHIN)
            .await?;
        // The supervisor is at work meanwhile. Replacing a file takes as long as a mount.
        self.save(&self.sandbox)?;
        if let Err(error) = self.control.reply("assign", ANSWER_WITHIN).await {
            self.save(&self.former)?;
            return Err(error);
        }
        let mounted = self.control.reply("mount droplet", MOUNT_WITHIN).await;
        let mounted = mounted.map(|reply| self.sandbox.droplet_mounted(reply));
        Ok((self.assigned(), mounted))
    }

    fn save(&self, sandbox: &Sandbox) -> Result<(), SandboxError> {
        record::save(&sandbox.shared.places, &sandbox.shared.record)
    }

    fn assigned(self) -> Sandbox {
        *self.sandbox.kept() = Some(self.control);
        self.sandbox
    }
}

fn mount_request(folder: &Path, at: &str) -> Result<Request, SandboxError> {
    Ok(Request::MountDroplet {
        lower: folder.to_owned(),
        target: inside(at)?.to_owned(),
    })
}

/// Bytes in use on the file system mounted at `path`.
pub(super) fn disk_in_use(path: &Path) -> io::Result<u64> {
    let numbers = statvfs(path)?;
    let blocks = numbers.blocks().saturating_sub(numbers.blocks_free());
    Ok(blocks * numbers.fragment_size())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the work was abandoned")))
}

/// Checks that a path is absolute and plain.
fn inside(path: &str) -> Result<&str, SandboxError> {
    let plain = Path::new(path)
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.starts_with('/') || !plain || path.contains('\0') || path.len() > 4096 {
        return Err(SandboxError::BadPath(path.to_owned()));
    }
    Ok(path)
}

/// The root folder as the sandbox sees it, all its mounts included.
///
/// If the supervisor has died the pid may be somebody else's by now, and that root the host's:
/// only the folder that we mounted ourselves will do.
fn sandbox_root(init: i32, disk: &Path) -> io::Result<OwnedFd> {
    let path = format!("/proc/{init}/root");
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(path.as_str(), flags, Mode::empty())?;
    let (seen, ours) = (fstat(&root)?, stat(&disk.join("root"))?);
    if (seen.st_dev, seen.st_ino) != (ours.st_dev, ours.st_ino) {
        return Err(io::Error::other("the sandbox has ended"));
    }
    Ok(root)
}

fn write_inside(
    root: &OwnedFd,
    path: &Path,
    source: Source,
    mode: u32,
    owner: u32,
) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
    if let Some(parent) = path.parent() {
        make_parents(root, parent, uid, gid)?;
    }
    // A pipe in the place would make the writer wait for a reader, for ever.
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut file = fs::File::from(open_in_root(root, path, flags, 0o600)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    match source {
        Source::Bytes(bytes) => file.write_all(&bytes)?,
        Source::File(source) => {
            io::copy(&mut fs::File::open(source)?, &mut file)?;
        }
        Source::ReadOnlyBind(_) => return Err(io::Error::other("a bind is not a copy")),
    }
    fchown(file.as_fd(), Some(uid), Some(gid))?;
    fchmod(file.as_fd(), Mode::from_bits_truncate(mode & 0o777))?;
    Ok(())
}

/// The folder that holds `path`, made with its parents if it is not there, and the last name of the
/// path.
fn parent_inside(init: i32, disk: &Path, path: &str, owner: u32) -> io::Result<(OwnedFd, String)> {
    let root = sandbox_root(init, disk)?;
    let nameless = || io::Error::other("a path without a name");
    let (parent, name) = path.rsplit_once('/').ok_or_else(nameless)?;
    let parent = Path::new(if parent.is_empty() { "/" } else { parent });
    if name.is_empty() {
        return Err(nameless());
    }
    make_parents(&root, parent, Uid::from_raw(owner), Gid::from_raw(owner))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    Ok((open_in_root(&root, parent, flags, 0)?, name.to_owned()))
}

/// For reading and writing: that neither waits for a reader nor fails without one.
fn open_pipe(root: &OwnedFd, path: &Path) -> io::Result<fs::File> {
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    open_in_root(root, path, flags, 0).map(fs::File::from)
}

fn give(made: impl AsFd, owner: u32, mode: u32) -> io::Result<()> {
    fchown(
        made.as_fd(),
        Some(Uid::from_raw(owner)),
        Some(Gid::from_raw(owner)),
    )?;
    fchmod(made.as_fd(), Mode::from_bits_truncate(mode & 0o777))?;
    Ok(())
}

fn make_parents(root: &OwnedFd, path: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let mut folder = open_in_root(root, Path::new("/"), flags, 0)?;
    let mut walked = Path::new("/").to_owned();
    for part in path.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        walked.push(name);
        folder = match open_in_root(root, &walked, flags, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(&folder, name, Mode::from_bits_truncate(0o755))?;
                let made = open_in_root(root, &walked, flags, 0)?;
                fchown(made.as_fd(), Some(uid), Some(gid))?;
                made
            }
            opened => opened?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_paths_are_inside() {
        for path in ["/a", "/home/vcap/app/x.txt", "/"] {
            assert!(inside(path).is_ok(), "{path}");
        }
        for path in ["", "a", "../a", "/a/../b", "/a\0b"] {
            assert!(inside(path).is_err(), "{path}");
        }
    }

    #[test]
    fn content_is_put_with_its_parents() {
        let folder = tempfile::tempdir().unwrap();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let root = nix::fcntl::open(folder.path(), flags, Mode::empty()).unwrap();
        let me = Uid::current().as_raw();
        let put = |text: &str| {
            let source = Source::Bytes(text.into());
            write_inside(&root, Path::new("/yard/in/x.txt"), source, 0o640, me)
        };
        put("longer at first").unwrap();
        put("then short").unwrap();
        let path = folder.path().join("yard/in/x.txt");
        assert_eq!(fs::read_to_string(&path).unwrap(), "then short");
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert!(
            put("into a pipe").is_err(),
            "and does not wait for a reader"
        );
    }
}
