//! The container engine against the real runtime, as root: what a sandbox must not be able to do.

#![allow(clippy::unwrap_used)]

mod yard;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use dea::sandbox::{ExitStatus, SandboxEvent};
use yard::{Yard, collect, next_line, shell, text};

/// Answers every connection with a word until the test program ends.
fn answer(word: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(word.as_bytes());
        }
    });
    address
}

/// A script that says what a TCP connection gives: the other side's word, or `no`.
fn probe(targets: &[String]) -> String {
    let mut script = String::from(
        "try() { timeout 3 bash -c \"exec 3<>/dev/tcp/$1/$2 && cat <&3\" 2>/dev/null || echo no; echo; }\n",
    );
    for target in targets {
        let (host, port) = target.rsplit_once(':').unwrap();
        script += &format!("try {host} {port}\n");
    }
    script
}

fn words(seen: &[SandboxEvent]) -> Vec<String> {
    let mut words = text(seen, false);
    words.retain(|word| !word.is_empty());
    words
}

#[tokio::test]
async fn the_router_is_reached_and_nothing_else_of_the_host() {
    let router = answer("router");
    let Some(yard) = Yard::with_router("host-closed", router).await else {
        return;
    };
    let secret = answer("secret");
    let gateway = yard.config.gateway;
    // Also on every address, as a careless daemon would.
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let open_port = open.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in open.incoming() {
            let _ = stream.unwrap().write_all(b"open");
        }
    });
    let sandbox = yard.prepare("probe").await;
    let mut events = sandbox.events().await.unwrap();
    let script = probe(&[
        format!("{gateway}:8080"),
        format!("127.0.0.1:{}", secret.port()),
        format!("{gateway}:{}", secret.port()),
        format!("{gateway}:{open_port}"),
        format!("{gateway}:{}", router.port()),
        "169.254.169.254:80".to_owned(),
    ]);
    sandbox.order(shell(&script)).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(words(&seen), ["router", "no", "no", "no", "no", "no"]);
    yard.finish().await;
}

#[tokio::test]
async fn the_name_server_of_the_agent_is_reached() {
    let Some(yard) = Yard::start("names").await else {
        return;
    };
    let server = UdpSocket::bind((yard.config.gateway, 53)).unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 64];
        while let Ok((_, from)) = server.recv_from(&mut question) {
            let _ = server.send_to(b"answer", from);
        }
    });
    let sandbox = yard.prepare("asker").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "grep nameserver /etc/resolv.conf; exec 3<>/dev/udp/$(awk '/nameserver/{print $2}' /etc/resolv.conf)/53; \
        echo -n question >&3; timeout 3 head -c 6 <&3";
    sandbox.order(shell(script)).await.unwrap();
    let expected = [
        format!("nameserver {}", yard.config.gateway),
        "answer".to_owned(),
    ];
    assert_eq!(words(&collect(&mut events).await), expected);
    yard.finish().await;
}

#[tokio::test]
async fn loopback_is_closed_even_to_a_route_of_its_own() {
    // With route_localnet on its interface the host would accept packets for 127.0.0.0/8; a
    // sandbox cannot even send them, having no right to change its routes.
    let router = answer("router");
    let Some(yard) = Yard::with_router("loopback-closed", router).await else {
        return;
    };
    let sandbox = yard.prepare("probe").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "ip addr add 10.0.0.9/32 dev eth0 2>/dev/null || echo closed; \
        /usr/bin/python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)' 2>/dev/null || echo closed";
    sandbox.order(shell(script)).await.unwrap();
    assert_eq!(words(&collect(&mut events).await), ["closed", "closed"]);
    yard.finish().await;
}

#[tokio::test]
async fn sandboxes_cannot_reach_each_other_but_the_host_reaches_both() {
    let Some(yard) = Yard::start("apart").await else {
        return;
    };
    let server = yard.prepare("server").await;
    let mut served = server.events().await.unwrap();
    let script = "mkdir /tmp/www; cd /tmp/www; echo served > index.html; exec /usr/bin/python3 -u -m http.server 8080";
    server.order(shell(script)).await.unwrap();
    next_line(&mut served).await;

    let fetch = |target: SocketAddr| {
        let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(3)).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let port = server.host_port().unwrap();
    let direct = SocketAddr::from((server.address(), 8080));
    let mapped = SocketAddr::from((yard.config.gateway, port));
    for target in [direct, mapped] {
        assert!(fetch(target).ends_with("served\n"), "{target}");
    }

    let client = yard.prepare("client").await;
    let mut events = client.events().await.unwrap();
    let script = probe(&[direct.to_string(), mapped.to_string()]);
    client.order(shell(&script)).await.unwrap();
    assert_eq!(words(&collect(&mut events).await), ["no", "no"]);

    server.destroy().await.unwrap();
    assert!(TcpStream::connect_timeout(&mapped, Duration::from_millis(500)).is_err());
    yard.finish().await;
}

#[tokio::test]
async fn a_sandbox_without_network_has_only_itself() {
    let router = answer("router");
    let Some(yard) = Yard::with_router("no-network", router).await else {
        return;
    };
    let mut request = yard.request("alone");
    request.network = false;
    let sandbox = yard.engine.prepare(request).await.unwrap();
    assert_eq!(sandbox.host_port(), None);
    let mut events = sandbox.events().await.unwrap();
    let script = probe(&[format!("{}:8080", yard.config.gateway)])
        + "cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '\n";
    sandbox.order(shell(&script)).await.unwrap();
    let words = words(&collect(&mut events).await);
    assert_eq!(words[0], "no");
    assert!(words[1..].contains(&"lo".to_owned()), "{words:?}");
    assert!(!words[1..].contains(&"eth0".to_owned()), "{words:?}");
    yard.finish().await;
}

#[tokio::test]
async fn the_kernel_is_kept_out_of_reach() {
    let Some(yard) = Yard::start("kernel").await else {
        return;
    };
    let sandbox = yard.prepare("probe").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "
        no() { \"$@\" >/dev/null 2>&1 && echo \"could: $*\"; }
        no unshare -U true; no unshare -m true; no mount -t tmpfs none /tmp; no chroot / true
        no touch /etc/x; no touch /usr/x; no touch /.yard/x; no head -c1 /proc/kcore
        no sh -c 'echo 1 > /proc/sys/kernel/sysrq'; no sh -c 'echo b > /proc/sysrq-trigger'
        no mknod /tmp/disk b 7 0; no dmesg; no kill -9 1; no cat /proc/1/environ; no date -s 2000-01-01
        no ls /root/.ssh; no ls /srv; no cat /etc/shadow; no sudo true; no su -c true
        for path in kcore keys timer_list; do
            [ -e /proc/$path ] && [ \"$(stat -c %t:%T /proc/$path)\" != 1:3 ] && echo \"not masked: $path\"
        done
        [ -z \"$(ls -A /sys/firmware 2>/dev/null)\" ] || echo 'not masked: firmware'
        for path in /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger; do
            [ -e $path ] && ! awk -v path=$path '$5 == path && $6 ~ /^ro/ { found = 1 } END { exit !found }' \
                /proc/self/mountinfo && echo \"writable: $path\"
        done
        echo uid $(awk '/^Uid/{print $2}' /proc/self/status) caps $(awk '/^CapEff/{print $2}' /proc/self/status) \
            nnp $(awk '/^NoNewPrivs/{print $2}' /proc/self/status) seccomp $(awk '/^Seccomp:/{print $2}' /proc/self/status)
        ls /proc/self/fd | tr '\\n' ' '; echo; ulimit -n; ulimit -c; ps ax -o comm= | sort -u | head -5 | tr '\\n' ' '
        ";
    sandbox.order(shell(script)).await.unwrap();
    let seen = collect(&mut events).await;
    let lines = text(&seen, false);
    assert_eq!(
        lines[0], "uid 2000 caps 0000000000000000 nnp 1 seccomp 2",
        "{lines:#?}"
    );
    // Standard streams and the folder being listed.
    assert_eq!(lines[1].trim(), "0 1 2 3");
    assert_eq!(&lines[2..4], ["1024", "0"]);
    yard.finish().await;
}

/// The image of a root file system that sandboxes of this engine are made from.
fn template(yard: &Yard) -> std::path::PathBuf {
    let mut folders = vec![yard.config.folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "img")
                && path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("host-")
            {
                return path;
            }
        }
    }
    panic!("no template below {}", yard.config.folder.display());
}

#[tokio::test]
async fn a_root_file_system_with_links_in_the_wrong_places_is_refused() {
    let Some(yard) = Yard::start("links").await else {
        return;
    };
    yard.prepare("first").await.destroy().await.unwrap();
    let template = template(&yard);
    let clean = std::fs::read(&template).unwrap();
    // What is there is moved aside, and a link put in its place.
    for (place, target) in [
        ("proc", "/tmp"),
        ("dev/null", "/proc/sys/kernel/core_pattern"),
        ("dev/console", "/proc/sysrq-trigger"),
        ("etc/hosts", "/var/tmp/stackyard-was-written"),
        ("home/vcap", "/root"),
    ] {
        std::fs::write(&template, &clean).unwrap();
        for request in [
            format!("link root/{place} root/aside"),
            format!("unlink root/{place}"),
            format!("symlink root/{place} {target}"),
        ] {
            // The first two do nothing where nothing is.
            Command::new("debugfs")
                .args(["-w", "-R", &request])
                .arg(&template)
                .output()
                .unwrap();
        }
        let refused = yard.engine.prepare(yard.request("linked")).await;
        let error = refused.err().map(|error| dea::sandbox::chain(&error));
        let said = format!("/{place} is a link in it");
        assert!(
            error.as_deref().is_some_and(|error| error.contains(&said)),
            "{place}: {error:?}"
        );
    }
    assert!(!std::path::Path::new("/var/tmp/stackyard-was-written").exists());
    std::fs::write(&template, &clean).unwrap();
    yard.prepare("last").await.destroy().await.unwrap();
    yard.finish().await;
}

#[tokio::test]
async fn devices_programs_and_settings_of_the_host_are_not_there() {
    let Some(yard) = Yard::start("devices").await else {
        return;
    };
    let sandbox = yard.prepare("probe").await;
    let mut events = sandbox.events().await.unwrap();
    let script = "
        ls /dev | grep -vxE 'core|fd|full|mqueue|null|ptmx|pts|random|shm|std(in|out|err)|tty|urandom|zero' | sed 's/^/device: /'
        for device in /dev/*; do [ -b $device ] && echo \"block device: $device\"; done
        [ $(ls /proc | grep -cxE '[0-9]+') -le 12 ] || echo 'programs of others'
        find /proc/sys /sys -type f -writable 2>/dev/null | head -5 | sed 's/^/writable: /'
        find / -xdev -type s 2>/dev/null | sed 's/^/socket: /'
        echo done";
    sandbox.order(shell(script)).await.unwrap();
    let seen = collect(&mut events).await;
    assert_eq!(words(&seen), ["done"]);
    yard.finish().await;
}

#[tokio::test]
async fn one_application_cannot_take_all_inotify_instances() {
    let Some(yard) = Yard::start("inotify").await else {
        return;
    };
    let script = "exec /usr/bin/python3 -c '
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
count = 0
while count < 500 and libc.inotify_init1(0) >= 0:
    count += 1
print(count, flush=True)
import time
time.sleep(30)
'";
    for id in ["first", "second"] {
        let sandbox = yard.prepare(id).await;
        let mut events = sandbox.events().await.unwrap();
        sandbox.order(shell(script)).await.unwrap();
        let count: u32 = next_line(&mut events).await.parse().unwrap();
        assert_eq!(count, 32, "{id}");
    }
    yard.finish().await;
}

#[tokio::test]
async fn uids_differ_from_sandbox_to_sandbox() {
    let Some(yard) = Yard::start("uids").await else {
        return;
    };
    let mut maps = Vec::new();
    for id in ["one", "two"] {
        let sandbox = yard.prepare(id).await;
        let mut events = sandbox.events().await.unwrap();
        sandbox
            .order(shell("cat /proc/self/uid_map"))
            .await
            .unwrap();
        let seen = collect(&mut events).await;
        assert!(matches!(
            seen.last(),
            Some(SandboxEvent::Exited {
                status: ExitStatus::Code(0),
                ..
            })
        ));
        // Inside from 0 on, outside from there, so many.
        let map = text(&seen, false)[0].clone();
        let numbers: Vec<u32> = map
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        assert_eq!((numbers[0], numbers[2]), (0, 65_536), "{map}");
        assert!(numbers[1] >= yard.config.uid_base, "{map}");
        maps.push(numbers[1]);
    }
    assert!(maps[0].abs_diff(maps[1]) >= 65_536, "{maps:?}");
    yard.finish().await;
}

/// A host beyond this machine: a network namespace with a link to it and no other route.
struct Outside {
    name: String,
    link: String,
    near: String,
    far: String,
}

impl Outside {
    fn make(yard: &Yard) -> Outside {
        let stem = &yard.config.interface_prefix;
        let [_, second, third, _] = yard.config.gateway.octets();
        let outside = Outside {
            name: format!("{stem}out"),
            // Not of the engine's own names.
            link: format!("o{stem}"),
            near: format!("198.18.{}.{}", second, third & 0xfc | 1),
            far: format!("198.18.{}.{}", second, third & 0xfc | 2),
        };
        let (name, link) = (&outside.name, &outside.link);
        let (near, far) = (&outside.near, &outside.far);
        ip(&format!("netns add {name}"));
        ip(&format!(
            "link add {link} type veth peer name eth0 netns {name}"
        ));
        ip(&format!("addr add {near}/30 dev {link}"));
        ip(&format!("link set {link} up"));
        ip(&format!("-n {name} addr add {far}/30 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        outside
    }

    fn run(&self, script: &str) -> Command {
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &self.name,
            "/usr/bin/python3",
            "-uc",
            script,
        ]);
        command
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["link", "del", &self.link])
            .status();
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// Forwarding on one interface; the machine's own switch is not a test's to touch.
fn forward(interface: &str) {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
    std::fs::write(path, "1").unwrap();
}

#[tokio::test]
async fn the_outside_is_reached_masqueraded_and_does_not_reach_in() {
    let Some(yard) = Yard::start("outside").await else {
        return;
    };
    if Command::new("ip").arg("-V").output().is_err() {
        // Not by the macro, whose output the test harness hides.
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("SKIPPED outside: ip is not installed\n"),
        );
        return;
    }
    let outside = Outside::make(&yard);
    let script = "import socket
server = socket.create_server((\"0.0.0.0\", 7000))
print(\"listening\")
while True:
    stream, peer = server.accept()
    stream.sendall(peer[0].encode())
    stream.close()";
    let mut server = outside.run(script).stdout(Stdio::piped()).spawn().unwrap();
    let mut listening = [0; 10];
    server
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut listening)
        .unwrap();

    let sandbox = yard.prepare("traveller").await;
    let stem = format!("{}v", yard.config.interface_prefix);
    for entry in std::fs::read_dir("/sys/class/net").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with(&stem) || name == outside.link {
            forward(&name);
        }
    }
    let mut events = sandbox.events().await.unwrap();
    let script = probe(&[format!("{}:7000", outside.far)])
        + "echo arrived; exec /usr/bin/python3 -u -m http.server 8080";
    sandbox.order(shell(&script)).await.unwrap();
    // Without a route back, the answer shows that the packets had the host's address.
    assert_eq!(next_line(&mut events).await, outside.near);
    while next_line(&mut events).await != "arrived" {}
    next_line(&mut events).await;

    let (subnet, near) = (yard.config.subnet, &outside.near);
    ip(&format!(
        "-n {} route add {subnet} via {near}",
        outside.name
    ));
    for (address, port) in [
        (sandbox.address(), 8080),
        (yard.config.gateway, sandbox.host_port().unwrap()),
    ] {
        let script = format!("import socket; socket.create_connection((\"{address}\", {port}), 2)");
        let reached = outside.run(&script).stderr(Stdio::null()).status().unwrap();
        assert!(
            !reached.success(),
            "{address}:{port} was reached from outside"
        );
    }
    let _ = server.kill();
    let _ = server.wait();
    drop(outside);
    yard.finish().await;
}
