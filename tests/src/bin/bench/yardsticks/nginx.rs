//! nginx with one worker: as the instances behind every proxy, and as a proxy that finds the name of each
//! app with `map`.

use crate::router::process::Process;
use crate::router::routes::{self, BACKENDS, Certificate};
use std::fmt::Write;
use std::path::Path;

/// What an upload carries and a large answer has.
pub const LARGE: usize = 100 * 1024;
const SMALL: usize = 1024;
/// Connections that it keeps to the instances of an app.
const KEPT: usize = 512;

/// A configuration up to and into its `http` block, which stays open.
fn head(folder: &Path) -> String {
    let folder = folder.display();
    let mut text = format!(
        "worker_processes 1; daemon off; master_process off; pid {folder}/pid; error_log stderr crit;\n\
         worker_rlimit_nofile 20000; events {{ worker_connections 18000; multi_accept on; }}\n\
         http {{ access_log off; tcp_nodelay on; sendfile on; keepalive_timeout 300s; keepalive_requests 1000000000;\n\
         client_max_body_size 10m; client_body_buffer_size 256k; open_file_cache max=100;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{kind}_temp_path {folder}/{kind};");
    }
    text
}

fn start(name: &'static str, folder: &Path, text: String, core: usize) -> anyhow::Result<Process> {
    let configuration = folder.join("nginx.conf");
    std::fs::write(&configuration, text)?;
    let configuration = configuration.display().to_string();
    let folder = folder.display().to_string();
    Process::start(
        name,
        core,
        "nginx",
        &["-e", "stderr", "-p", &folder, "-c", &configuration],
    )
}

/// Instances that answer with 1 KB, under `/large` with 100 KB, and under `/upload` once they have read a whole
/// body: `return` alone would answer before.
pub fn instances(folder: &Path, first_port: u16, core: usize) -> anyhow::Result<Process> {
    let files = folder.join("files");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("large"), vec![b'x'; LARGE])?;
    let mut text = head(folder);
    text.push_str("server {\n");
    for port in routes::ports(first_port) {
        let _ = writeln!(text, "listen 127.0.0.1:{port} backlog=4096;");
    }
    let body = "x".repeat(SMALL);
    let _ = write!(
        text,
        "default_type text/plain; root {};\n\
         location / {{ return 200 \"{body}\"; }}\n\
         location = /large {{ }}\n\
         location = /upload {{ mirror /copy; error_page 405 =200 @taken; try_files /large =404; }}\n\
         location = /copy {{ internal; return 204; }}\n\
         location @taken {{ return 200 \"taken\"; }}\n}}\n}}\n",
        files.display()
    );
    start("the instances", folder, text, core)
}

/// The proxy: each name leads to one of as many upstreams as there are backends, each with three servers.
pub fn proxy(
    folder: &Path,
    first_backend: u16,
    port: u16,
    tls_port: u16,
    certificate: &Certificate,
    core: usize,
) -> anyhow::Result<Process> {
    let mut text = head(folder);
    for group in 0..BACKENDS {
        let _ = write!(text, "upstream app{group} {{ ");
        for port in routes::instances(first_backend, group) {
            let _ = write!(text, "server 127.0.0.1:{port}; ");
        }
        let _ = writeln!(
            text,
            "keepalive {KEPT}; keepalive_requests 1000000000; keepalive_timeout 300s; }}"
        );
    }
    text.push_str(
        "map_hash_max_size 65536; map_hash_bucket_size 128;\nmap $host $app {\ndefault \"\";\n",
    );
    for number in 0..routes::HOSTS {
        let _ = writeln!(
            text,
            "{} app{};",
            routes::host(number),
            routes::group(number)
        );
    }
    let _ = write!(
        text,
        "}}\nserver {{ listen 127.0.0.1:{port} backlog=8192; listen 127.0.0.1:{tls_port} ssl http2 backlog=8192;\n\
         ssl_certificate {}; ssl_certificate_key {}; http2_max_requests 1000000000;\n\
         location / {{ proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $remote_addr; if ($app = \"\") {{ return 404; }} proxy_pass http://$app; }} }} }}\n",
        certificate.chain.display(),
        certificate.key.display()
    );
    start("nginx", folder, text, core)
}
