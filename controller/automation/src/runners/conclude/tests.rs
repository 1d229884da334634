use super::*;
use crate::documents::schema;
use crate::runners::document;

fn process(exit: Exit, stdout: &str) -> Process {
    Process {
        exit,
        timed_out: None,
        out_of_memory: false,
        stdout: Output {
            text: stdout.to_owned(),
            omitted: 0,
        },
        stderr: Output::default(),
        sudo_password: false,
    }
}

fn timed_out() -> Process {
    Process {
        timed_out: Some(60),
        ..process(Exit::Signal(9), "so far\n")
    }
}

#[test]
fn a_command_that_exits_with_zero_succeeded() {
    let conclusion = conclude(Raw::Shell(process(Exit::Code(0), "hello\n")));
    assert_eq!(conclusion.status, Status::Succeeded);
    assert_eq!(
        conclusion.result,
        json!({"failed": false, "succeeded": true, "return_code": 0, "stdout": "hello", "stderr": ""})
    );
}

#[test]
fn output_is_decoded_when_all_of_it_is_json() {
    for (printed, expected) in [
        ("5\n", json!(5)),
        ("true", json!(true)),
        ("null\r\n", json!(null)),
        ("{\"a\": [1]}\n", json!({"a": [1]})),
        ("\"quoted\"\n", json!("quoted")),
        ("5 6\n", json!("5 6")),
        ("two\n\n", json!("two\n")),
        ("True\n", json!("True")),
        ("NaN\n", json!("NaN")),
        ("", json!("")),
    ] {
        let conclusion = conclude(Raw::Shell(process(Exit::Code(0), printed)));
        assert_eq!(conclusion.result["stdout"], expected, "{printed:?}");
    }
}

#[test]
fn output_that_was_cut_off_is_not_decoded() {
    let mut process = process(Exit::Code(0), "12");
    process.stdout.omitted = 7;
    let conclusion = conclude(Raw::Shell(process));
    assert_eq!(
        conclusion.result["stdout"],
        "12\n[7 bytes of output omitted]"
    );
}

#[test]
fn the_exit_decides_the_status_of_a_command() {
    let status = |exit| conclude(Raw::Shell(process(exit, ""))).status;
    assert_eq!(status(Exit::Code(2)), Status::Failed);
    assert_eq!(status(Exit::Signal(9)), Status::Failed);
    assert_eq!(status(Exit::Signal(15)), Status::Abandoned);
}

#[test]
fn a_command_that_runs_too_long_times_out() {
    let conclusion = conclude(Raw::Shell(timed_out()));
    assert_eq!(conclusion.status, Status::Timeout);
    assert_eq!(
        conclusion.result,
        json!({"failed": true, "succeeded": false, "return_code": -9, "stdout": "so far", "stderr": "",
               "error": "Action failed to complete in 60 seconds"})
    );
}

#[test]
fn too_much_memory_is_named_as_the_cause() {
    let outcome = Process {
        out_of_memory: true,
        ..process(Exit::Signal(9), "")
    };
    let conclusion = conclude(Raw::Shell(outcome.clone()));
    assert_eq!(conclusion.status, Status::Failed);
    assert!(
        conclusion.result["error"]
            .as_str()
            .is_some_and(|error| error.contains("memory"))
    );
    // A child may have been killed while the shell itself went on to exit with 0.
    let survived = Process {
        exit: Exit::Code(0),
        ..outcome
    };
    let conclusion = conclude(Raw::Shell(survived));
    assert_eq!(conclusion.status, Status::Failed);
    assert_eq!(conclusion.result["succeeded"], false);
}

#[test]
fn a_wrong_sudo_password_is_recognized() {
    let mut outcome = process(Exit::Code(1), "");
    outcome.stderr.text =
        "[sudo] password for stanley: Sorry, try again.\nsudo: 3 incorrect password attempts\n"
            .to_owned();
    assert_eq!(
        conclude(Raw::Shell(outcome.clone())).result.get("error"),
        None
    );
    outcome.sudo_password = true;
    let conclusion = conclude(Raw::Shell(outcome));
    assert_eq!(conclusion.status, Status::Failed);
    assert_eq!(conclusion.result["return_code"], -1);
    assert_eq!(
        conclusion.result["error"],
        "Invalid sudo password provided or sudo is not configured for this user (stanley)"
    );
}

#[track_caller]
fn python_status(exit: Exit, status: Option<bool>) -> Status {
    let conclusion = conclude(Raw::Python {
        process: process(exit, "printed\n"),
        answer: Some(PythonAnswer {
            result: json!({"a": 1}),
            status,
        }),
    });
    assert_eq!(conclusion.result["result"], json!({"a": 1}));
    assert_eq!(conclusion.result["stdout"], "printed\n");
    conclusion.status
}

#[test]
fn a_python_action_says_itself_how_it_went() {
    assert_eq!(python_status(Exit::Code(0), Some(true)), Status::Succeeded);
    assert_eq!(python_status(Exit::Code(0), Some(false)), Status::Failed);
    assert_eq!(python_status(Exit::Code(0), None), Status::Succeeded);
    for said in [Some(true), Some(false), None] {
        assert_eq!(python_status(Exit::Code(1), said), Status::Failed);
    }
}

#[test]
fn a_python_action_without_an_answer_has_the_result_none() {
    let conclusion = conclude(Raw::Python {
        process: process(Exit::Signal(15), ""),
        answer: None,
    });
    assert_eq!(conclusion.status, Status::Failed);
    assert_eq!(
        conclusion.result,
        json!({"stdout": "", "stderr": "", "exit_code": -15, "result": "None"})
    );
}

#[test]
fn the_time_limit_overrides_what_a_python_action_says() {
    let conclusion = conclude(Raw::Python {
        process: timed_out(),
        answer: Some(PythonAnswer {
            result: json!(1),
            status: Some(true),
        }),
    });
    assert_eq!(conclusion.status, Status::Timeout);
    assert_eq!(conclusion.result["exit_code"], -9);
    assert_eq!(
        conclusion.result["error"],
        "Action failed to complete in 60 seconds"
    );
}

#[test]
fn a_status_that_is_none_fails_a_python_action() {
    let mut outcome = process(Exit::Code(220), "");
    outcome.stderr.text = "Status returned by the action must be a boolean\n".to_owned();
    let conclusion = conclude(Raw::Python {
        process: outcome,
        answer: None,
    });
    assert_eq!(conclusion.status, Status::Failed);
    assert_eq!(
        conclusion.result["error"],
        "Status returned by the action must be a boolean"
    );
}

fn hosts(outcomes: &[(&str, HostOutcome)]) -> BTreeMap<String, HostOutcome> {
    outcomes
        .iter()
        .map(|(host, outcome)| ((*host).to_owned(), outcome.clone()))
        .collect()
}

#[test]
fn every_host_has_its_own_result() {
    let good = HostOutcome::Ran(process(Exit::Code(0), "1\n"));
    let bad = HostOutcome::Failed {
        error: "no route to host".to_owned(),
    };
    let late = HostOutcome::Ran(timed_out());
    let status = |outcomes: &[(&str, HostOutcome)], allow_partial_failure| {
        conclude(Raw::Remote {
            hosts: hosts(outcomes),
            allow_partial_failure,
        })
        .status
    };
    let mixed = [("a", good.clone()), ("b", bad.clone())];
    assert_eq!(status(&mixed, false), Status::Failed);
    assert_eq!(status(&mixed, true), Status::Succeeded);
    assert_eq!(status(&[("a", good.clone())], false), Status::Succeeded);
    assert_eq!(
        status(&[("a", late.clone()), ("b", late.clone())], false),
        Status::Timeout
    );
    assert_eq!(
        status(&[("a", late.clone()), ("b", bad)], false),
        Status::Failed
    );
    assert_eq!(status(&[], true), Status::Failed);

    let conclusion = conclude(Raw::Remote {
        hosts: hosts(&[("a", good), ("b", late)]),
        allow_partial_failure: false,
    });
    assert_eq!(
        conclusion.result["a"],
        json!({"failed": false, "succeeded": true, "return_code": 0, "stdout": 1, "stderr": ""})
    );
    assert_eq!(conclusion.result["b"]["timeout"], true);
    assert_eq!(conclusion.result["b"]["return_code"], -9);
}

#[test]
fn noop_succeeds() {
    let conclusion = conclude(Raw::Noop);
    assert_eq!(conclusion.status, Status::Succeeded);
    assert_eq!(
        conclusion.result,
        json!({"failed": false, "succeeded": true, "return_code": 0})
    );
}

#[test]
fn results_obey_the_output_schemas_of_their_runners() {
    let python = conclude(Raw::Python {
        process: process(Exit::Code(0), ""),
        answer: None,
    });
    let http = conclude(Raw::Http(HttpOutcome::Response {
        status: 200,
        headers: BTreeMap::new(),
        body: String::new(),
    }));
    for (runner, result) in [
        (Runner::PythonScript, python.result),
        (Runner::HttpRequest, http.result),
        (Runner::Orquesta, without_outcome(Runner::Orquesta, "lost")),
    ] {
        let schema = &document(runner)["output_schema"];
        assert_eq!(schema::validate(schema, &result), Ok(()), "{runner:?}");
    }
}

#[test]
fn work_without_an_outcome_still_has_the_shape_of_its_runner() {
    for runner in Runner::ALL {
        let result = without_outcome(runner, "the agent was lost");
        assert!(result.to_string().contains("the agent was lost"));
    }
    assert_eq!(
        without_outcome(Runner::LocalShellCmd, "lost")["failed"],
        true
    );
}
