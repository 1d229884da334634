//! What goes into a task's sandbox and what comes out of it.

use super::agent::Agent;
use super::chain;
use super::transfer::{self, Digests, Expected, Fetched, TransferError};
use crate::domain::task::RESULT_BYTES;
use crate::sandbox::{Sandbox, Source};
use proto::bus::stream::{RunTask, TaskInput, TaskOutput, UploadedOutput, task_input};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Largest input.
const MOST_INPUT: u64 = 8 << 30;
/// Attempts to store an output, and the wait between them.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(800);
const DEFAULT_MODE: u32 = 0o644;

/// An input on its way: where it is now.
enum Here {
    Source(Source),
    /// Optional, and the server has none.
    Nothing,
}

/// Brings every input to this machine; `folder` is the task's own and goes with it. The error is
/// half a sentence.
pub async fn fetch_inputs(
    agent: &Agent,
    request: &RunTask,
    folder: &Path,
) -> Result<Vec<(TaskInput, Source)>, String> {
    let fetching = request
        .inputs
        .iter()
        .enumerate()
        .map(|(number, input)| async move {
            let here = bring(agent, input, &folder.join(number.to_string())).await?;
            Ok::<_, String>((input.clone(), here))
        });
    let brought = futures_util::future::try_join_all(fetching).await?;
    Ok(brought
        .into_iter()
        .filter_map(|(input, here)| match here {
            Here::Source(source) => Some((input, source)),
            Here::Nothing => None,
        })
        .collect())
}

async fn bring(agent: &Agent, input: &TaskInput, to: &Path) -> Result<Here, String> {
    match &input.source {
        Some(task_input::Source::Content(content)) => {
            Ok(Here::Source(Source::Bytes(content.clone())))
        }
        Some(task_input::Source::Builtin(name)) => match name.as_str() {
            "builder" => Ok(Here::Source(Source::ReadOnlyBind(
                agent.config.builder.clone(),
            ))),
            "buildpacks" => Ok(Here::Source(Source::ReadOnlyBind(
                agent.config.buildpacks.clone(),
            ))),
            other => Err(format!(
                "the agent has nothing built in that is called {other:?}"
            )),
        },
        Some(task_input::Source::Url(url)) => {
            let expected = Expected {
                sha1: None,
                sha256: Some(input.sha256.clone()).filter(|sha256| !sha256.is_empty()),
            };
            match transfer::fetch(&agent.web, &input.path, url, to, &expected, MOST_INPUT).await {
                Ok(Fetched::Stored) => Ok(Here::Source(Source::File(to.to_path_buf()))),
                Ok(Fetched::Absent) if input.optional => Ok(Here::Nothing),
                Ok(Fetched::Absent) => Err(format!("{} is not in the blob store", input.path)),
                Err(error) if input.optional => {
                    tracing::warn!(
                        input = input.path,
                        error = chain(&error),
                        "an optional input could not be fetched"
                    );
                    Ok(Here::Nothing)
                }
                Err(error) => Err(chain(&error)),
            }
        }
        None => Err(format!("the input {} has no source", input.path)),
    }
}

/// Puts the inputs into the sandbox, and makes the folders of the outputs.
pub async fn put_inputs(
    sandbox: &Sandbox,
    request: &RunTask,
    inputs: Vec<(TaskInput, Source)>,
) -> Result<(), String> {
    for (input, source) in inputs {
        let mode = if input.mode == 0 {
            DEFAULT_MODE
        } else {
            input.mode & 0o777
        };
        sandbox
            .put(&input.path, source, mode)
            .await
            .map_err(|error| chain(&error))?;
    }
    let results = request.outputs.iter().map(|output| output.path.as_str());
    let mut folders: Vec<&str> = results
        .chain([request.result_file.as_str()])
        .filter_map(|path| Some(path.rsplit_once('/')?.0))
        .collect();
    folders.retain(|folder| !folder.is_empty());
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        sandbox
            .put(
                &format!("{folder}/.keep"),
                Source::Bytes(vec![]),
                DEFAULT_MODE,
            )
            .await
            .map_err(|error| chain(&error))?;
    }
    Ok(())
}

/// The file that goes back with the result, as far as it is there.
pub async fn result(sandbox: &Sandbox, path: &str) -> Vec<u8> {
    if path.is_empty() {
        return vec![];
    }
    let Ok(file) = sandbox.open_output(path).await else {
        return vec![];
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut content = Vec::new();
        file.take(RESULT_BYTES)
            .read_to_end(&mut content)
            .map(|_| content)
    });
    match reading.await {
        Ok(Ok(content)) => content,
        Ok(Err(error)) => {
            tracing::warn!(path, %error, "the result file of a task could not be read");
            vec![]
        }
        Err(_) => vec![],
    }
}

/// Stores every output. The error is half a sentence.
pub async fn store_outputs(
    agent: &Agent,
    sandbox: &Sandbox,
    outputs: &[TaskOutput],
) -> Result<Vec<UploadedOutput>, String> {
    let mut uploaded = Vec::new();
    for output in outputs {
        let there = sandbox.open_output(&output.path).await;
        if let Err(error) = there {
            if output.required {
                return Err(format!("{} is not there: {}", output.path, chain(&error)));
            }
            continue;
        }
        match store(agent, sandbox, output).await {
            Ok(Digests { sha1, sha256, size }) => {
                uploaded.push(UploadedOutput {
                    path: output.path.clone(),
                    sha256,
                    sha1,
                    size_bytes: size,
                });
            }
            Err(why) if output.required => return Err(why),
            Err(why) => tracing::warn!(
                output = output.path,
                why,
                "an optional output was not stored"
            ),
        }
    }
    Ok(uploaded)
}

/// Reads the file twice at once: for its checksums and for the way out.
async fn store(agent: &Agent, sandbox: &Sandbox, output: &TaskOutput) -> Result<Digests, String> {
    let open = || async {
        sandbox
            .open_output(&output.path)
            .await
            .map_err(|error| chain(&error))
    };
    let digesting = async {
        let file = open().await?;
        transfer::digest(&output.path, file)
            .await
            .map_err(|error| chain(&error))
    };
    let uploading = async {
        let mut attempt = 1;
        loop {
            let file = open().await?;
            match transfer::upload(&agent.web, &output.path, file, &output.url).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_passing() && attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * attempt).await
                }
                Err(error) => return Err(upload_failed(&error)),
            }
            attempt += 1;
        }
    };
    let (digests, stored) = tokio::join!(digesting, uploading);
    stored?;
    digests
}

fn upload_failed(error: &TransferError) -> String {
    chain(error)
}
