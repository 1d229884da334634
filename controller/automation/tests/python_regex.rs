//! Regular expressions are bounded in time. It stands here because the crate itself reads no clock.

use std::time::{Duration, Instant};

use automation::python_regex::PythonRegex;

#[test]
fn hostile_patterns_end_in_time() {
    let long = "a".repeat(8_000);
    for source in [
        r"(a+)+$",
        r"^(a|a)*\1b$",
        r"(?=(a+)+)b\1",
        r"(x+x+)+y",
        r"(a|b)*a(a|b){5000}",
        r"((a{0,100}){0,100}){0,100}",
        r"(?:(?=a*)a)*b",
        r"(\w{1000}){1000}",
    ] {
        let begun = Instant::now();
        if let Ok(pattern) = PythonRegex::search(source) {
            let _ = pattern.is_match(&format!("{long}c"));
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{source}");
    }
}
