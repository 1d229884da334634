//! `yard report`: one archive that tells somebody else what is wrong with the cluster of this machine.
//!
//! It holds logs, states, versions, the configuration and what `yard doctor` finds. Everything is text,
//! and every text goes through the scrubber ([`scrub`]): there is one way into the archive.

mod collect;
mod scrub;
mod secrets;

use crate::caller::Caller;
use crate::cluster::home;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, human};
use crate::targets::Store;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use scrub::Scrubber;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::macros::format_description;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Where the cluster keeps its state (default: $YARD_HOME, else /var/lib/stackyard)
    #[arg(long)]
    home: Option<PathBuf>,
    /// The archive (default: stackyard-report-CLUSTER-TIME.tar.gz in this folder)
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    bytes: u64,
    /// Names of the files in it.
    contains: Vec<String>,
    /// What could not be had, and why.
    missing: Vec<String>,
}

pub async fn run(args: ReportArgs, out: &Output, caller: &Caller, store: Store) -> Outcome {
    let home = home::resolve(args.home.as_deref())?;
    let cluster = home::read_cluster(&home)?.ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no cluster in {}", home.display()),
        )
        .fix("name its folder with --home")
    })?;
    // Without them nothing could be taken out.
    if let Err(error) = std::fs::read(home.join("node/secrets.json"))
        && error.kind() == std::io::ErrorKind::PermissionDenied
    {
        return Err(Failure::failed(
            "a report takes the cluster's secrets out, and must be able to read them for that",
        )
        .because(error)
        .fix("sudo yard report"));
    }
    let now = OffsetDateTime::now_utc();
    let login = caller.login_folder().join("config.json");
    let before = secrets::of_cluster(&home, &login);
    let gathered = collect::gather(&home, &cluster, caller, store).await;
    // A token may have been renewed meanwhile.
    let after = secrets::of_cluster(&home, &login);
    let scrubber = Scrubber::new(before.into_iter().chain(after));
    let name = format!("stackyard-report-{}-{}", cluster.id, stamp(now));
    let file = args
        .output
        .unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let files = finished(gathered.files, &gathered.missing, &scrubber, now);
    let archive = pack(&name, &files, now)
        .map_err(|error| Failure::failed("put the report together").because(error))?;
    caller.acting(|| write(&file, &archive))?;
    let report = Report {
        bytes: archive.len() as u64,
        contains: files.into_iter().map(|(name, _)| name).collect(),
        missing: gathered.missing,
        file,
    };
    out.show(&report, |report| {
        let mut text = format!(
            "{} ({}) holds logs, states, versions, configuration and the findings of `yard doctor`.\nPasswords, keys and tokens of the cluster were removed; read it before you pass it on: apps may have logged secrets of their own.\n",
            report.file.display(),
            human::bytes(report.bytes)
        );
        for missing in &report.missing {
            text.push_str(&format!("missing: {missing}\n"));
        }
        text
    })
}

fn stamp(now: OffsetDateTime) -> String {
    let format = format_description!("[year][month][day]-[hour][minute][second]");
    now.format(&format).unwrap_or_default()
}

/// The files without secrets, and the one that says what they are.
fn finished(
    files: Vec<(String, String)>,
    missing: &[String],
    scrubber: &Scrubber,
    now: OffsetDateTime,
) -> Vec<(String, String)> {
    let files: Vec<(String, String)> = files
        .into_iter()
        .map(|(name, text)| (name, scrubber.scrub(&text)))
        .collect();
    let mut about = format!(
        "A report of a Stackyard cluster, made by yard {} at {now}.\n\n\
         Passwords, keys and tokens of the cluster are replaced by {}; so is what looks like one.\n\
         Logs hold at most their last 2 MiB.\n\n\
         versions.json        versions of the programs and of the system\n\
         machine.txt          load, memory, control groups, mounts\n\
         doctor.json          what `yard doctor` finds\n\
         node.json            the parts of the cluster as their node sees them\n\
         status.json          the cluster as its controller sees it\n\
         config.json          everything that is set in the configuration\n\
         config-history.json  who changed it\n\
         history.json         administrative commands\n\
         daemons/             readiness, metrics and counters of each daemon\n\
         files/               how the cluster is set up\n\
         files.txt            what lies in its folder\n\
         logs/                logs of each part, and of the requests to the router\n\n",
        env!("CARGO_PKG_VERSION"),
        scrub::REMOVED,
    );
    for (name, text) in &files {
        about.push_str(&format!("{:>10}  {name}\n", text.len()));
    }
    for missing in missing {
        about.push_str(&format!("missing: {missing}\n"));
    }
    let mut all = vec![("README.txt".to_string(), scrubber.scrub(&about))];
    all.extend(files);
    all
}

fn pack(folder: &str, files: &[(String, String)], now: OffsetDateTime) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.unix_timestamp()).unwrap_or(0));
        archive.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}

/// Only its owner may read it: what apps logged is in it.
fn write(file: &Path, archive: &[u8]) -> Outcome {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| opened.write_all(archive));
    written.map_err(|error| Failure::failed(format!("write {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn nothing_gets_into_the_archive_unscrubbed() {
        let scrubber = Scrubber::new(["very-secret".to_string()]);
        let files = vec![
            ("logs/a.log".to_string(), "user very-secret\n".to_string()),
            ("b.json".to_string(), "{\"x\":\"very-secret\"}".to_string()),
        ];
        let missing = ["c: very-secret is no file".to_string()];
        let now = OffsetDateTime::UNIX_EPOCH;
        let archive =
            pack("report", &finished(files, &missing, &scrubber, now), now).expect("an archive");
        let mut read = tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice()));
        let mut names = Vec::new();
        for entry in read.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("a text");
            assert!(!text.contains("very-secret"), "{text}");
            let path = entry.path().expect("a name");
            names.push(path.display().to_string());
        }
        assert_eq!(
            names,
            ["report/README.txt", "report/logs/a.log", "report/b.json"]
        );
    }
}
