//! `/v3/packages`, the upload of their bits, and the packages of an app.

use super::apps::no_metadata;
use super::downloads;
use super::extract::{Asked, Body, Caller};
use super::organizations::MetadataChange;
use super::spaces::One;
use super::uploads::{self, PART, broken_off, copied_from, next_part};
use super::{Answer, Api, created, ok};
use crate::blobs::receive;
use crate::domain::times::rfc3339;
use crate::ops::Refusal;
use crate::ops::upload::Upload;
use crate::store::packages::{AWAITING_UPLOAD, Package, READY};
use axum::Router;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{DefaultBodyLimit, Multipart, Path, RawQuery, State};
use axum::routing::{get, post};
use proto::api::{
    Checksum, Link, Metadata, PackageData, PackageFiles, PackageRelationships, Resource, ToOne,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest list of matched files, in bytes.
const LONGEST_LIST: u64 = 64 << 20;
/// What bounds the bits.
const LARGEST: &str = "controller/packages/max_size";

pub fn routes() -> Router<Api> {
    // The bits go to disk and are bounded by a setting while they are received.
    let upload = post(upload).layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/v3/packages", get(list).post(create))
        .route("/v3/packages/{guid}", get(show))
        .route("/v3/packages/{guid}/upload", upload)
        .route("/v3/packages/{guid}/download", get(download))
        .route("/v3/apps/{guid}/packages", get(list_of_app))
        .route("/yard/v1/packages/{guid}/files", get(files))
}

pub(super) fn present(api: &Api, row: Package) -> proto::api::Package {
    let base = format!("{}/v3", api.ops.public_url);
    let own = format!("{base}/packages/{}", row.guid);
    let mut links = BTreeMap::from([
        ("self".to_string(), Link::to(own.clone())),
        (
            "app".to_string(),
            Link::to(format!("{base}/apps/{}", row.app_guid)),
        ),
        ("droplets".to_string(), Link::to(format!("{own}/droplets"))),
    ]);
    if row.state == READY {
        links.insert("download".to_string(), Link::to(format!("{own}/download")));
    }
    if row.state == AWAITING_UPLOAD {
        links.insert("upload".to_string(), Link::post(format!("{own}/upload")));
    }
    proto::api::Package {
        guid: row.guid,
        kind: row.kind,
        state: row.state,
        data: PackageData {
            error: row.error,
            checksum: Checksum {
                kind: "sha256".into(),
                value: row.sha256,
            },
        },
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
        metadata: Metadata::default(),
        relationships: PackageRelationships {
            app: ToOne::new(row.app_guid),
        },
        links,
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    #[serde(rename = "type")]
    kind: Option<String>,
    relationships: Relationships,
    data: Option<Value>,
    metadata: Option<MetadataChange>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Relationships {
    app: One,
}

async fn create(
    State(api): State<Api>,
    Caller(actor): Caller,
    RawQuery(query): RawQuery,
    Body(wanted): Body<New>,
) -> Answer {
    no_metadata("packages", wanted.metadata.as_ref())?;
    let app = &wanted.relationships.app.data.guid;
    if let Some(source) = copied_from(query.as_deref())? {
        if wanted.kind.is_some() || wanted.data.is_some() {
            return Refusal::unprocessable(
                "Type and data are those of the source package: leave them out",
            );
        }
        let row = api.ops.copy_package(&actor, app, source).await?;
        return Ok(created(present(&api, row)));
    }
    let kind = wanted
        .kind
        .as_deref()
        .ok_or_else(|| Refusal::Unprocessable("Type must be 'bits'".into()))?;
    let is_empty = wanted
        .data
        .as_ref()
        .is_none_or(|data| data.as_object().is_some_and(|data| data.is_empty()));
    if kind == "bits" && !is_empty {
        return Refusal::unprocessable("Data is not supported for packages of type 'bits'");
    }
    let row = api.ops.create_package(&actor, app, kind).await?;
    Ok(created(present(&api, row)))
}

async fn list(State(api): State<Api>, Caller(actor): Caller, asked: Asked) -> Answer {
    let listing = api.ops.list_packages(&actor, None, &asked.query).await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn list_of_app(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(app): Path<String>,
    asked: Asked,
) -> Answer {
    let listing = api
        .ops
        .list_packages(&actor, Some(&app), &asked.query)
        .await?;
    Ok(asked.page(listing, |row| present(&api, row)))
}

async fn files(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    let files = api.ops.package_files(&actor, &guid).await?;
    Ok(ok(PackageFiles { files }))
}

async fn show(State(api): State<Api>, Caller(actor): Caller, Path(guid): Path<String>) -> Answer {
    Ok(ok(present(&api, api.ops.package(&actor, &guid).await?)))
}

async fn download(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
) -> Answer {
    let key = api.ops.download_package(&actor, &guid).await?;
    downloads::send(&api, &key, &format!("{guid}.zip"), "Package bits").await
}

async fn upload(
    State(api): State<Api>,
    Caller(actor): Caller,
    Path(guid): Path<String>,
    multipart: Result<Multipart, MultipartRejection>,
) -> Answer {
    api.ops.may_upload(&actor, &guid).await?;
    let multipart = multipart.map_err(|rejection| Refusal::BadRequest(rejection.body_text()))?;
    let received = receive_parts(&api, multipart).await?;
    let ops = api.ops.clone();
    let work = async move { ops.finish_upload(&actor, &guid, received).await };
    let row = uploads::finish(&api, work, "create a new package and upload again").await?;
    Ok(ok(present(&api, row)))
}

async fn receive_parts(api: &Api, mut multipart: Multipart) -> Result<Upload, Refusal> {
    let mut upload = Upload {
        folder: api.ops.upload_folder()?,
        zip: None,
        resources: Vec::new(),
    };
    let mut listed = false;
    while let Some(field) = next_part(&mut multipart).await? {
        let name = field.name().unwrap_or_default().to_string();
        match name.as_str() {
            "bits" if upload.zip.is_none() => {
                let path = upload.folder.path().join("package.zip");
                let limit = api.ops.settings().size(LARGEST);
                let received = receive(&path, field, limit).await;
                received.map_err(uploads::refused("package", LARGEST, "receiving a package"))?;
                upload.zip = Some(path);
            }
            "resources" if !listed => {
                listed = true;
                upload.resources = resources(field).await?;
            }
            "bits" | "resources" => return Err(uploads::sent_twice(&name)),
            _ => {
                let has = "an upload has 'bits' and 'resources'";
                return Err(uploads::unknown_field(&name, has));
            }
        }
    }
    Ok(upload)
}

/// Reads the list of matched files, piece by piece, so that it is bounded.
async fn resources(mut field: Field<'_>) -> Result<Vec<Resource>, Refusal> {
    let mut text = Vec::new();
    loop {
        let piece = tokio::time::timeout(PART, field.chunk())
            .await
            .map_err(|_| broken_off())?;
        let Some(piece) = piece.map_err(|error| Refusal::BadRequest(error.body_text()))? else {
            break;
        };
        if (text.len() + piece.len()) as u64 > LONGEST_LIST {
            return Err(Refusal::TooLarge(format!(
                "The list of resources is larger than {LONGEST_LIST} bytes"
            )));
        }
        text.extend_from_slice(&piece);
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(|error| {
        Refusal::Unprocessable(format!(
            "The field 'resources' is no list of resources: {error}"
        ))
    })
}
