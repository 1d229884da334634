//! haproxy with one thread that finds the name of each app in a map.

use crate::router::process::Process;
use crate::router::routes::{self, BACKENDS};
use std::fmt::Write;
use std::path::Path;

pub fn proxy(folder: &Path, first_backend: u16, port: u16, core: usize) -> anyhow::Result<Process> {
    let mut names = String::new();
    for number in 0..routes::HOSTS {
        // Writing to a String cannot fail.
        let _ = writeln!(
            names,
            "{} app{}",
            routes::host(number),
            routes::group(number)
        );
    }
    let map = folder.join("names.map");
    std::fs::write(&map, names)?;
    let mut text = format!(
        "global\n nbthread 1\n maxconn 9000\n\
         defaults\n mode http\n timeout connect 5s\n timeout client 300s\n timeout server 300s\n\
         \x20timeout http-keep-alive 300s\n option http-keep-alive\n http-reuse always\n\
         frontend clients\n bind 127.0.0.1:{port} backlog 8192\n option forwardfor\n\
         \x20use_backend %[req.hdr(host),lower,map({})]\n",
        map.display()
    );
    for group in 0..BACKENDS {
        let _ = writeln!(text, "backend app{group}");
        for (place, port) in routes::instances(first_backend, group).enumerate() {
            let _ = writeln!(
                text,
                " server s{place} 127.0.0.1:{port} pool-max-conn 512 pool-purge-delay 300s"
            );
        }
    }
    let configuration = folder.join("haproxy.cfg");
    std::fs::write(&configuration, text)?;
    Process::start(
        "haproxy",
        core,
        "haproxy",
        &["-f", &configuration.display().to_string()],
    )
}
