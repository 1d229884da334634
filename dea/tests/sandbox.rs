//! The container engine against the real runtime, as root.
//!
//! Each test has an engine of its own (subnet, table, interface names, folders), so that they run
//! side by side, and checks at its end that nothing is left.

#![allow(clippy::unwrap_used)]

mod yard;

use std::io::Read;
use std::time::{Duration, Instant};

use dea::sandbox::{ExitStatus, SandboxEvent, Signal, Source};
use yard::{Yard, collect, shell, text};

#[tokio::test]
async fn a_sandbox_says_hello_and_its_exit_status() {
    let Some(yard) = Yard::start("hello").await else { return };
    let begin = Instant::now();
    let sandbox = yard.prepare("one").await;
    let prepared = begin.elapsed();
    let mut events = sandbox.events().await.unwrap();
    let begin = Instant::now();
    sandbox
        .order(shell("echo hello; echo trouble >&2; id -u; printf unfinished; exit 7"))
        .await
        .unwrap();
    let seen = collect(&mut events).await;
    eprintln!("prepare {prepared:?}, orders to exit {:?}", begin.elapsed());
    assert_eq!(text(&seen, false), ["hello", "2000", "unfinished"]);
    assert_eq!(text(&seen, true), ["trouble"]);
    let Some(SandboxEvent::Exited { status, out_of_memory, .. }) = seen.last() else {
        panic!("{seen:?}")
    };
    assert_eq!(*status, ExitStatus::Code(7));
    assert!(!out_of_memory);
    yard.finish().await;
}
