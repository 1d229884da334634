//! `stackyard-supervisor SPEC`: makes a sandbox and stays with it; see
//! [`dea_shim::supervisor`].

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use dea_shim::supervisor::{Outcome, run};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(spec), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: stackyard-supervisor SPEC");
        return ExitCode::from(2);
    };
    let outcome = run(&PathBuf::from(spec)).unwrap_or_else(|error| Outcome::Failed {
        problem: error.to_string(),
    });
    let text = serde_json::to_string(&outcome).unwrap_or_default();
    // The outcome is the answer, also when it is a failure.
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
