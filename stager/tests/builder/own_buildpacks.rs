//! Buildpacks that do not come with the agent: archives that somebody uploaded.

use crate::{Yard, request};
use stager::domain::build::{BuildRequest, OwnBuildpacks, Step};
use std::fs::File;
use std::path::PathBuf;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A build that may use these archives, tried in this order after what comes with the agent.
fn with_archives(archives: &[(&str, PathBuf)], order: &[&str]) -> BuildRequest {
    BuildRequest {
        order: order.iter().map(|name| name.to_string()).collect(),
        own_buildpacks: Some(OwnBuildpacks {
            archives: archives
                .iter()
                .map(|(name, archive)| (name.to_string(), archive.clone()))
                .collect(),
            schemes: vec![],
            fetch_seconds: 10,
            max_bytes: 1 << 20,
        }),
        ..request()
    }
}

#[test]
fn an_uploaded_buildpack_is_tried_in_its_place_and_used_by_its_name() {
    let yard = Yard::with(&[("notes.txt", "not an app by itself")]);
    let scripts = [
        ("pack-1.0/bin/detect", "test -f $1/notes.txt && echo Notes"),
        ("pack-1.0/bin/compile", "echo made > $1/made.txt"),
        (
            "pack-1.0/bin/release",
            "echo 'default_process_types: {web: ./notes}'",
        ),
    ];
    let notes = yard.archive("notes", &scripts);
    let plain = yard.archive("plain", &scripts[1..]);
    let archives = [("plain", plain), ("notes", notes)];
    let order = ["staticfile", "plain", "notes", "binary"];
    let request = with_archives(&archives, &order);
    let outcome = yard.build(&request);
    assert_eq!(outcome.web(), "./notes");
    let told = &outcome.result.lifecycle_metadata;
    assert_eq!(
        (
            told.detected_buildpack.as_str(),
            told.buildpack_key.as_str()
        ),
        ("Notes", "notes")
    );
    assert!(
        outcome.text.contains("plain: it has no bin/detect"),
        "{}",
        outcome.text
    );
    let yard_of = |files: &[(&str, &str)]| {
        let other = Yard::with(files);
        (other, request.clone())
    };
    let (other, named) = yard_of(&[("README", "x")]);
    let outcome = other.build(&BuildRequest {
        buildpacks: vec!["plain".into()],
        ..named
    });
    assert_eq!(outcome.web(), "./notes");
    let (other, asked) = yard_of(&[("README", "x")]);
    other
        .build(&asked)
        .failed(Step::Detect, "not successfully detected");
    assert_eq!(Step::Detect.error_kind(), "NoAppDetectedError");
}

#[test]
fn an_archive_that_is_no_buildpack_ends_the_build_with_the_reason() {
    let check = |scripts: &[(&str, &str)], max_bytes: u64, step: Step, part: &str| {
        let yard = Yard::with(&[("index.html", "x")]);
        let archive = yard.archive("mine", scripts);
        let mut request = with_archives(&[("mine", archive)], &["mine"]);
        request.buildpacks = vec!["mine".into()];
        let own = request.own_buildpacks.as_mut().expect("archives");
        own.max_bytes = max_bytes;
        yard.build(&request).failed(step, part);
    };
    let long = "x".repeat(5000);
    let readme = [("README", "x")];
    check(&readme, 1 << 20, Step::Finalize, "neither bin/finalize");
    let large = [("bin/compile", long.as_str())];
    check(&large, 1000, Step::Prepare, "more than 1000 bytes");
    let yard = Yard::with(&[("index.html", "x")]);
    let archive = yard.layout.yard.join("evil.zip");
    let mut zip = ZipWriter::new(File::create(&archive).expect("file"));
    zip.start_file("../bin/compile", SimpleFileOptions::default())
        .expect("entry");
    zip.finish().expect("finished");
    let mut request = with_archives(&[("evil", archive)], &["evil"]);
    request.buildpacks = vec!["evil".into()];
    yard.build(&request)
        .failed(Step::Prepare, "a path that leads out of it");
}
