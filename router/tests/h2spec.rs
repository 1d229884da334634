//! The conformance suite h2spec against the router's entrance, where that program is there (see docs/router.md).

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;
use support::*;

/// Sections in which the router does other than the suite wants, and why.
const OTHERWISE: &[(&str, &str)] = &[(
    "http2/3.5: Sends invalid connection preface",
    "what does not begin as HTTP/2 is HTTP/1 at this entrance: it is answered 400 and closed",
)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_entrance_conforms_to_http2() {
    let router = TestRouter::with(|policy| policy.http2.plain = true).await;
    let (backend, _) = hyper_backend().await;
    router.route("127.0.0.1", backend);
    let report = router.folder.path().join("report.xml");
    let run = tokio::process::Command::new("h2spec")
        .args(["-h", "127.0.0.1", "-o", "10", "-p"])
        .arg(router.address.port().to_string())
        .arg("-j")
        .arg(&report)
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(Duration::from_secs(300), run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED: the_entrance_conforms_to_http2: h2spec is not there\n"),
            );
            return;
        }
        other => panic!("h2spec did not run: {other:?}"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(&report).unwrap();
    let cases = text.matches("<testcase ").count();
    assert!(cases > 130, "{cases} cases: {said}");
    let failed: BTreeSet<String> = text
        .split("<testcase ")
        .skip(1)
        .filter(|case| case.contains("<failure") || case.contains("<error"))
        .map(|case| {
            let attribute = |name: &str| {
                let value = case.split(&format!("{name}=\"")).nth(1)?;
                value.split('"').next().map(str::to_string)
            };
            let section = attribute("package").unwrap_or_default();
            format!("{section}: {}", attribute("classname").unwrap_or_default())
        })
        .filter(|case| !OTHERWISE.iter().any(|(known, _)| case.starts_with(known)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}\n{said}");
}
