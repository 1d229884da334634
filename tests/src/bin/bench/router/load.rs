//! Requests as fast as they are answered, by `wrk` or `h2load`, which share a core with the backends.

use super::routes::{HOSTS, host};
use crate::cores;
use crate::yardsticks::nginx::LARGE;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Names of a script that keeps what it sends for each: of uploads, a few.
const UPLOAD_HOSTS: usize = 100;
/// Connections of HTTP/2, and requests at once on each.
const CLIENTS: &str = "16";
const STREAMS: &str = "4";

/// What clients do.
pub enum Load {
    /// Keep-alive connections of HTTP/1, with what each of them asks for as a script.
    Http1 {
        scheme: &'static str,
        connections: usize,
        script: PathBuf,
    },
    /// Over TLS, all for one name: `h2load` knows one only.
    Http2,
}

/// What was seen of it.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub requests: f64,
    pub per_second: f64,
    /// In milliseconds, where the program tells it.
    pub p99: Option<f64>,
}

/// The scripts of `wrk`.
pub struct Scripts {
    pub small: PathBuf,
    pub one_name: PathBuf,
    pub large: PathBuf,
    pub upload: PathBuf,
}

impl Scripts {
    pub fn write(folder: &Path) -> anyhow::Result<Scripts> {
        let script = |name: &str, text: String| -> anyhow::Result<PathBuf> {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            Ok(path)
        };
        // Names in an order that no table is likely to have.
        let asking = |hosts: usize, method: &str, path: &str, body: &str| {
            format!(
                "local requests, at, count = {{}}, 0, {hosts}\n\
                 init = function()\n local body = {body}\n for place = 0, count - 1 do\n\
                 \x20 local host = 'h' .. (place * 7919) % count .. '.apps.test'\n\
                 \x20 requests[place] = wrk.format('{method}', '{path}', {{['Host'] = host}}, body)\n end\nend\n\
                 request = function()\n at = (at + 1) % count\n return requests[at]\nend\n"
            )
        };
        Ok(Scripts {
            small: script("small.lua", asking(HOSTS, "GET", "/", "nil"))?,
            one_name: script("one_name.lua", asking(1, "GET", "/", "nil"))?,
            large: script("large.lua", asking(HOSTS, "GET", "/large", "nil"))?,
            upload: script(
                "upload.lua",
                asking(
                    UPLOAD_HOSTS,
                    "POST",
                    "/upload",
                    &format!("string.rep('x', {LARGE})"),
                ),
            )?,
        })
    }
}

impl Load {
    pub fn http1(scheme: &'static str, connections: usize, script: &Path) -> Load {
        Load::Http1 {
            scheme,
            connections,
            script: script.to_path_buf(),
        }
    }

    /// Puts it on a port. Every answer must be a good one.
    pub async fn run(&self, port: u16, seconds: u32) -> anyhow::Result<Seen> {
        match self {
            Load::Http1 {
                scheme,
                connections,
                script,
            } => {
                let (connections, script) = (connections.to_string(), script.display().to_string());
                let (time, url) = (
                    format!("{seconds}s"),
                    format!("{scheme}://127.0.0.1:{port}/"),
                );
                let arguments = [
                    "-t",
                    "1",
                    "-c",
                    &connections,
                    "-d",
                    &time,
                    "--latency",
                    "-s",
                    &script,
                    &url,
                ];
                let text = say("wrk", &arguments).await?;
                ensure!(
                    !text.contains("Non-2xx") && !text.contains("Socket errors"),
                    "wrk: {text}"
                );
                Seen::of_wrk(&text).with_context(|| format!("wrk does not say what it saw: {text}"))
            }
            Load::Http2 => {
                let (time, to) = (
                    format!("{seconds}"),
                    format!("--connect-to=127.0.0.1:{port}"),
                );
                let url = format!("https://{}/", host(1));
                let arguments = [
                    "-t", "1", "-c", CLIENTS, "-m", STREAMS, "-D", &time, &to, &url,
                ];
                let text = say("h2load", &arguments).await?;
                let seen = Seen::of_h2load(&text);
                seen.with_context(|| format!("h2load does not say that all was well: {text}"))
            }
        }
    }
}

async fn say(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("taskset")
        .args(["-c", &cores::OTHERS.to_string(), program])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("starting {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{program}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

impl Seen {
    fn of_wrk(text: &str) -> Option<Seen> {
        let lines = || text.lines().map(str::trim);
        let requests = lines().find_map(|line| line.split_once(" requests in ")?.0.parse().ok())?;
        let per_second =
            lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok())?;
        let p99 = lines()
            .find_map(|line| line.strip_prefix("99%"))
            .map(str::trim);
        Some(Seen {
            requests,
            per_second,
            p99: p99.and_then(milliseconds),
        })
    }

    /// Only if no request failed.
    fn of_h2load(text: &str) -> Option<Seen> {
        let requests = text
            .lines()
            .find_map(|line| line.strip_prefix("requests: "))?;
        let count = |what: &str| -> Option<f64> {
            let mut parts = requests.split(", ");
            parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
        };
        let bad = count(" failed")? + count(" errored")? + count(" timeout")?;
        let finished = text
            .lines()
            .find_map(|line| line.strip_prefix("finished in "))?;
        let per_second = finished
            .split(", ")
            .find_map(|part| part.strip_suffix(" req/s")?.parse().ok())?;
        let good = text
            .lines()
            .find_map(|line| line.strip_prefix("status codes: "))?;
        let good: f64 = good.split_once(" 2xx")?.0.parse().ok()?;
        let requests = count(" succeeded")?;
        (bad == 0.0 && good >= requests && requests > 0.0).then_some(Seen {
            requests,
            per_second,
            p99: None,
        })
    }
}

/// `850.00us`, `1.31ms`, `2.00s`.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic)?);
    let unit = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_read() {
        let text = "Running 2s test @ http://127.0.0.1:1/\n  Latency Distribution\n     50%    1.50ms\n     99%  850.00us\n  \
                    41234 requests in 2.00s, 50.00MB read\nRequests/sec:  20600.50\nTransfer/sec:     25.00MB\n";
        let seen = Seen::of_wrk(text).expect("figures");
        assert_eq!(
            (seen.requests, seen.per_second, seen.p99),
            (41234.0, 20600.5, Some(0.85))
        );
        assert!(Seen::of_wrk("unable to connect").is_none());
    }

    #[test]
    fn what_h2load_says_counts_if_nothing_failed() {
        let said = |failed: u32, good: u32| {
            format!(
                "finished in 2.00s, 100.50 req/s, 1.00MB/s\n\
                 requests: 201 total, 217 started, 201 done, 201 succeeded, {failed} failed, 0 errored, 0 timeout\n\
                 status codes: {good} 2xx, 0 3xx, 0 4xx, 0 5xx\n"
            )
        };
        let seen = Seen::of_h2load(&said(0, 201)).expect("figures");
        assert_eq!((seen.requests, seen.per_second), (201.0, 100.5));
        assert!(Seen::of_h2load(&said(1, 201)).is_none());
        assert!(Seen::of_h2load(&said(0, 200)).is_none());
    }
}
