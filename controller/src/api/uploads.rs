//! Uploads in parts: what those of packages and of buildpacks have in common.

use super::Api;
use crate::blobs::{ReceiveError, receive};
use crate::ops::Refusal;
use axum::extract::Multipart;
use axum::extract::multipart::Field;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Longest wait for the next part of an upload, or of a part.
pub const PART: Duration = Duration::from_secs(60);

/// The guid of what is to be copied in place of an upload.
pub fn copied_from(query: Option<&str>) -> Result<Option<&str>, Refusal> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(None);
    };
    query
        .strip_prefix("source_guid=")
        .filter(|guid| !guid.contains(['&', '%', '+']))
        .map(Some)
        .ok_or_else(|| {
            Refusal::BadQuery(
                "Unknown query parameter(s). Valid parameters are: 'source_guid', what to copy"
                    .into(),
            )
        })
}

/// An archive that was sent as the only field, `bits`, and the name its sender gave it. The folder is removed with
/// it.
pub struct Received {
    pub folder: TempDir,
    pub path: PathBuf,
    pub name: String,
}

/// What may be sent, for [`only_bits`].
pub struct Bits {
    pub noun: &'static str,
    /// What bounds it.
    pub setting: &'static str,
    pub operation: &'static str,
    /// Looks at the name its sender gave it, before it is read.
    pub fits: fn(&str) -> Result<(), Refusal>,
}

/// Receives an archive that comes alone.
pub async fn only_bits(
    api: &Api,
    mut multipart: Multipart,
    bits: &Bits,
) -> Result<Received, Refusal> {
    let folder = api.ops.upload_folder()?;
    let path = folder.path().join("archive");
    let mut received = None;
    while let Some(field) = next_part(&mut multipart).await? {
        let field_name = field.name().unwrap_or_default().to_string();
        if field_name != "bits" {
            let has = format!("the upload of a {} has 'bits'", bits.noun);
            return Err(unknown_field(&field_name, &has));
        }
        if received.is_some() {
            return Err(sent_twice(&field_name));
        }
        let name = field.file_name().unwrap_or_default().to_string();
        (bits.fits)(&name)?;
        let limit = api.ops.settings().size(bits.setting);
        let taken = receive(&path, field, limit).await;
        taken.map_err(refused(bits.noun, bits.setting, bits.operation))?;
        received = Some(name);
    }
    let name =
        received.ok_or_else(|| Refusal::Unprocessable("The upload has no field 'bits'".into()))?;
    Ok(Received { folder, path, name })
}

/// The next part of an upload; None after the last.
pub async fn next_part(multipart: &mut Multipart) -> Result<Option<Field<'_>>, Refusal> {
    tokio::time::timeout(PART, multipart.next_field())
        .await
        .map_err(|_| broken_off())?
        .map_err(|error| Refusal::BadRequest(error.body_text()))
}

pub fn broken_off() -> Refusal {
    Refusal::BadRequest("the upload broke off".into())
}

/// Why a file was not taken: `noun` is what it is, `setting` what bounds it, `operation` for the log.
pub fn refused(
    noun: &'static str,
    setting: &'static str,
    operation: &'static str,
) -> impl Fn(ReceiveError) -> Refusal {
    move |error| match error {
        ReceiveError::TooLarge { limit } => Refusal::TooLarge(format!(
            "The {noun} is larger than {limit} bytes (see the setting {setting})"
        )),
        ReceiveError::BrokenOff => broken_off(),
        ReceiveError::Disk(source) => Refusal::internal(operation)(source),
    }
}

/// A field of a name that means nothing here; `has` says which there are.
pub fn unknown_field(name: &str, has: &str) -> Refusal {
    let name: String = name.chars().take(80).collect();
    Refusal::Unprocessable(format!("Unknown field '{name}': {has}"))
}

pub fn sent_twice(name: &str) -> Refusal {
    Refusal::BadRequest(format!("the field '{name}' was sent twice"))
}

/// Work of its own: a client that goes away must not leave it half done. `stopping` is told if the controller does.
pub async fn finish<T: Send + 'static>(
    api: &Api,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    stopping: &str,
) -> Result<T, Refusal> {
    let (answer, answered) = oneshot::channel();
    api.ops.tasks.spawn_once("finish-upload", async move {
        // Nobody waits any more when the client went away; the row tells how it ended.
        let _ = answer.send(work.await);
    });
    answered
        .await
        .map_err(|_| Refusal::Unavailable(format!("The controller is stopping: {stopping}")))?
}
