//! The pieces of a cold start alone: a copy of the disk, its mount, the droplet over it, a container made and let go
//! by the runtime with the configuration of a real instance, and its pair of network interfaces.
//!
//! Nobody watches this container, nobody reads what it prints, nothing is noted, and no message is sent.

use dea_shim::cgroup::{Group, Version, detect};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Whence, lseek64};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use sys::loop_device::LoopDevice;
use sys::netlink::{Netlink, Via};

/// What runs in an instance, and in a container of the pieces.
pub const COMMAND: &str = "exec sleep 1000";

/// Processor time of this process and of whatever it starts, as long as that stays where it was born.
pub struct Account {
    group: Group,
    folder: PathBuf,
    root: PathBuf,
}

impl Account {
    /// Moves this process into a control group of its own.
    pub fn open() -> Account {
        let root = PathBuf::from(match detect() {
            Version::One => "/sys/fs/cgroup/cpuacct",
            Version::Two => "/sys/fs/cgroup",
        });
        let name = format!("starts-bench-{}", std::process::id());
        let folder = root.join(&name);
        fs::create_dir(&folder).expect("a control group is made");
        fs::write(folder.join("cgroup.procs"), "0").expect("and entered");
        Account {
            group: Group::new(&name),
            folder,
            root,
        }
    }

    pub fn milliseconds(&self) -> f64 {
        self.group.cpu_seconds().expect("an account") * 1000.0
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::write(self.root.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Where things are, and what the containers are made of.
pub struct Pieces {
    folder: tempfile::TempDir,
    /// Of a real instance.
    configuration: Value,
    template: PathBuf,
    droplet: PathBuf,
    gateway: Ipv4Addr,
    /// All containers are in groups below this one.
    pub parent: String,
}

impl Pieces {
    /// `sandbox`: the folder of a running instance. `droplet`: what it shows.
    pub fn of(sandbox: &Path, droplet: &Path) -> Pieces {
        let read = |name: &str| -> Value {
            let text = fs::read(sandbox.join(name)).expect("a document of a sandbox");
            serde_json::from_slice(&text).expect("JSON")
        };
        let spec = read("spec.json");
        let folder = tempfile::tempdir().expect("a folder");
        // The container's users are nobody's on this machine, and have to get to their root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("opened");
        Pieces {
            folder,
            configuration: read("bundle/config.json"),
            template: spec["disk_template"].as_str().expect("a template").into(),
            droplet: droplet.to_owned(),
            gateway: spec["network"]["gateway"]
                .as_str()
                .and_then(|gateway| gateway.parse().ok())
                .expect("a gateway"),
            parent: format!("/bare-{}", std::process::id()),
        }
    }

    /// Until the runtime has let the program go.
    pub fn start(&self, number: usize) -> Bare {
        let id = format!("bare-{}-{number}", std::process::id());
        let folder = self.folder.path().join(&id);
        let (disk, bundle) = (folder.join("disk"), folder.join("bundle"));
        for made in [&disk, &bundle] {
            fs::create_dir_all(made).expect("made");
        }
        let bare = Bare {
            state: self.folder.path().join("state"),
            link: format!("b{:x}n{}", std::process::id() & 0xffff, number % 1000),
            group: format!("{}/{id}", self.parent),
            id,
            folder,
        };
        self.mount(&bare.folder, &disk);
        let configuration = self.configuration(&disk, &bare.group).to_string();
        fs::write(bundle.join("config.json"), configuration).expect("written");
        let pid = bundle.join("pid");
        let texts = [&bundle, &pid].map(|path| path.to_str().expect("UTF-8").to_owned());
        bare.runtime(&["create", "--bundle", &texts[0], "--pid-file", &texts[1]])
            .unwrap();
        let pid = fs::read_to_string(pid).expect("a pid");
        bare.connect(pid.trim(), self.gateway);
        bare.runtime(&["start"]).unwrap();
        bare
    }

    /// The disk, and the droplet with a writable layer at its place in it.
    fn mount(&self, folder: &Path, disk: &Path) {
        let path = folder.join("disk.img");
        let image = copy_data(&self.template, &path);
        let device = LoopDevice::attach(&image, &path).expect("a loop device");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        mount(
            Some(device.path()),
            disk,
            Some("ext4"),
            flags,
            Some("discard"),
        )
        .expect("the disk is mounted");
        let layers = ["upper", "work"].map(|name| disk.join("layer").join(name));
        for layer in &layers {
            fs::create_dir_all(layer).expect("a layer");
            chown(layer, self.user(), self.user()).expect("given away");
        }
        let [upper, work] = layers.map(|path| path.display().to_string());
        let options = format!(
            "lowerdir={},upperdir={upper},workdir={work},volatile",
            self.droplet.display()
        );
        let home = disk.join("root/home/vcap");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("overlay"),
            &home,
            Some("overlay"),
            flags,
            Some(options.as_str()),
        )
        .expect("the droplet is mounted");
    }

    fn user(&self) -> Option<u32> {
        let base = &self.configuration["linux"]["uidMappings"][0]["hostID"];
        base.as_u64().and_then(|base| u32::try_from(base).ok())
    }

    /// The instance's own, with another root, another group, and the program of an app right away.
    fn configuration(&self, disk: &Path, group: &str) -> Value {
        let mut configuration = self.configuration.clone();
        configuration["root"]["path"] = json!(disk.join("root"));
        configuration["linux"]["cgroupsPath"] = json!(group);
        configuration["process"]["args"] = json!(dea::domain::launcher::arguments(COMMAND));
        configuration
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let _ = Group::new(&self.parent).remove();
    }
}

/// A container that runs. Removed when it is dropped.
pub struct Bare {
    id: String,
    folder: PathBuf,
    state: PathBuf,
    link: String,
    group: String,
}

impl Bare {
    fn runtime(&self, arguments: &[&str]) -> Result<(), String> {
        let log = self.folder.join("log");
        let status = Command::new("runc")
            .arg("--root")
            .arg(&self.state)
            .arg("--log")
            .arg(&log)
            .args(arguments)
            .arg(&self.id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Ok(());
        }
        let words = fs::read_to_string(log).unwrap_or_default();
        Err(format!("runc {arguments:?}: {words}"))
    }

    fn connect(&self, pid: &str, gateway: Ipv4Addr) {
        // Nobody else's: the agents of tests have addresses above these.
        let address = Ipv4Addr::new(10, 191, 255, 2);
        let inside = File::open(format!("/proc/{pid}/ns/net")).expect("its network");
        let mut host = Netlink::open().expect("netlink");
        host.add_veth(&self.link, "eth0", inside.as_fd(), 1500)
            .expect("a pair");
        let index = host.set_up(&self.link).expect("up");
        let source = gateway;
        host.add_route(address, 32, Via::Link { index, source })
            .expect("a route to it");
        // In a thread of its own, which stays there and ends.
        let inner = std::thread::spawn(move || {
            nix::sched::setns(&inside, nix::sched::CloneFlags::CLONE_NEWNET).expect("inside");
            let mut guest = Netlink::open().expect("netlink inside");
            let index = guest.set_up("eth0").expect("up");
            guest.add_address(index, address).expect("an address");
            let source = address;
            guest
                .add_route(gateway, 32, Via::Link { index, source })
                .expect("a route to the gateway");
            guest
                .add_route(Ipv4Addr::UNSPECIFIED, 0, Via::Gateway { index, gateway })
                .expect("a default route");
        });
        inner.join().expect("connected");
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.runtime(&["delete", "--force"]);
        let _ = Group::new(&self.group).remove();
        for place in ["disk/root/home/vcap", "disk"] {
            let _ = umount2(&self.folder.join(place), MntFlags::MNT_DETACH);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A copy without what is not written.
fn copy_data(from: &Path, to: &Path) -> File {
    let source = File::open(from).expect("the template");
    let target = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(to)
        .expect("a new image");
    let length = source.metadata().expect("its length").len();
    target.set_len(length).expect("as long");
    let mut end = 0;
    while let Ok(start) = lseek64(source.as_fd(), end, Whence::SeekData) {
        end = lseek64(source.as_fd(), start, Whence::SeekHole).expect("a hole");
        let mut data = vec![0; usize::try_from(end - start).expect("it fits")];
        source.read_exact_at(&mut data, start as u64).expect("read");
        target.write_all_at(&data, start as u64).expect("written");
    }
    target
}
