//! Progress on standard error: redrawn on a terminal, absent elsewhere (plain lines are the
//! caller's business). It is gone when its owner lets go of it, also by way of an error.

use super::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::time::Duration;

/// A bar of bytes sent.
pub fn upload_bar(out: &Output, total: u64) -> ProgressBar {
    if !out.live || total < 64 * 1024 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
        .with_finish(ProgressFinish::AndClear);
    if let Ok(style) =
        ProgressStyle::with_template("  {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// One line that says what is waited for.
pub fn spinner(out: &Output, text: impl Into<String>) -> ProgressBar {
    if !out.live {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        .with_finish(ProgressFinish::AndClear);
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(text.into());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
