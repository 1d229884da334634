//! The steps of a push against the API.

use super::archive::{self, ArchiveFault, LocalFile};
use super::files::{self, Collected, FilesFault};
use super::manifest::{self, AppPlan};
use super::{plan, request::Request};
use crate::apps::lifecycle::{self, How, Replacement};
use crate::apps::watch::{self, Deployed, Look, Watch};
use crate::apps::{find, staging, summary};
use crate::client::{Bits, Client, Pace, item};
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Color, Output, human, progress};
use proto::api::{App, Deployment, Package, Resource, ResourceMatches};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files asked about in one request.
const ASK_AT_ONCE: usize = 5000;

/// Sources, read and checked.
pub(super) enum Source {
    Folder(Collected),
    Archive { path: PathBuf, size: u64 },
}

/// The document of `push --json`.
#[derive(Debug, Serialize)]
struct Pushed {
    name: String,
    guid: String,
    state: String,
    urls: Vec<String>,
    curl: Option<String>,
    droplet: String,
    /// `start`, `rolling`, `restart`, or null with --no-start.
    strategy: Option<&'static str>,
    instances: summary::Count,
    upload_ms: u128,
    staging_ms: u128,
    start_ms: u128,
}

pub async fn push(client: &Client, out: &Output, request: Request) -> Outcome {
    let default_domain = match request.overrides.needs_default_domain() {
        true => Some(find::default_domain(client).await?.name),
        false => None,
    };
    let plans = manifest::plan(
        request.manifest.as_ref(),
        &request.folder,
        request.name.as_deref(),
        &request.overrides,
        default_domain.as_deref(),
    )
    .map_err(|fault| Failure::usage(fault.to_string()))?;
    let sources = plans
        .iter()
        .map(|plan| read_source(plan, &request.folder))
        .collect::<Outcome<Vec<Source>>>()?;
    for source in &sources {
        if let Source::Folder(Collected { skipped, .. }) = source
            && !skipped.is_empty()
        {
            out.warn(format!(
                "left out, because they are no files: {}",
                skipped.join(", ")
            ));
        }
    }
    if request.plan {
        return plan::show(client, out, &request, &plans, &sources).await;
    }
    let apps = apply(client, out, &plans).await?;
    let mut pushed = Vec::new();
    for (app, source) in apps.iter().zip(&sources) {
        pushed.push(push_app(client, out, &request, app, source).await?);
    }
    if out.json {
        out.document(&json!({ "apps": pushed }))
    } else {
        Ok(())
    }
}

fn read_source(plan: &AppPlan, folder: &Path) -> Outcome<Source> {
    let path = plan.path.as_deref().unwrap_or(folder);
    if path.is_file() {
        let size =
            archive::check_archive(path).map_err(|fault| archive_failure(fault, Code::Usage))?;
        return Ok(Source::Archive {
            path: path.to_path_buf(),
            size,
        });
    }
    files::collect(path).map(Source::Folder).map_err(|fault| {
        let fix = match &fault {
            FilesFault::LinkOut { .. } => {
                Some("replace the link by a copy, or list it in .cfignore")
            }
            FilesFault::Missing(_) => Some("`yard push FOLDER` with the folder of your app"),
            _ => None,
        };
        let mut failure = Failure::usage(format!("push {}: {fault}", plan.name));
        if let FilesFault::Read { source, .. } = &fault {
            failure.what = format!("{}: {source}", failure.what);
        }
        match fix {
            Some(fix) => failure.fix(fix),
            None => failure,
        }
    })
}

fn archive_failure(fault: ArchiveFault, code: Code) -> Failure {
    let what = match std::error::Error::source(&fault) {
        Some(cause) => format!("{fault}: {cause}"),
        None => fault.to_string(),
    };
    Failure::new(code, what)
}

/// Sends the manifest; gives back its apps in its order.
async fn apply(client: &Client, out: &Output, plans: &[AppPlan]) -> Outcome<Vec<App>> {
    let space = client.space()?;
    let names = plans
        .iter()
        .map(|plan| plan.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let org = client
        .target()
        .org
        .as_ref()
        .map(|org| org.name.as_str())
        .unwrap_or_default();
    let user = client.target().user.as_deref().unwrap_or("you");
    out.say(format!(
        "Pushing {} to {org} / {} as {user}",
        out.paint(Color::Strong, &names),
        space.name
    ))?;
    let text = manifest::document(plans)
        .map_err(|error| Failure::failed("write the manifest").because(error))?;
    let doing = |failure: Failure| failure.doing(format!("apply the manifest of {names}"));
    let reply = client
        .post_yaml(
            &format!("/v3/spaces/{}/actions/apply_manifest", space.guid),
            text,
        )
        .await
        .map_err(doing)?;
    for warning in client
        .finish(&reply, Duration::from_secs(120))
        .await
        .map_err(doing)?
    {
        out.warn(warning);
    }
    let wanted = plans
        .iter()
        .map(|plan| item(&plan.name))
        .collect::<Vec<_>>()
        .join(",");
    let found: Vec<App> = client
        .list(
            "/v3/apps",
            &[("names", &wanted), ("space_guids", &space.guid)],
        )
        .await?;
    plans
        .iter()
        .map(|plan| {
            found
                .iter()
                .find(|app| app.name == plan.name)
                .cloned()
                .ok_or_else(|| {
                    Failure::failed(format!(
                        "the manifest was applied, but there is no app {}",
                        plan.name
                    ))
                })
        })
        .collect()
}

async fn push_app(
    client: &Client,
    out: &Output,
    request: &Request,
    app: &App,
    source: &Source,
) -> Outcome<Pushed> {
    let began = Instant::now();
    let package = upload(client, out, app, source)
        .await
        .map_err(|failure| failure.doing(format!("upload the app {}", app.name)))?;
    let upload_ms = began.elapsed().as_millis();
    let staged = staging::stage(client, out, app, &package.guid).await?;
    let began = Instant::now();
    let droplet = staged.droplet.guid.clone();
    let (strategy, looks) = start(client, out, request, app, &droplet).await?;
    let start_ms = began.elapsed().as_millis();
    let places = summary::places(client, app).await?;
    if strategy.is_some() {
        out.say(format!(
            "Started in {}, {}",
            human::took(began.elapsed()),
            watch::describe(out, &looks)
        ))?;
    }
    tell(out, app, &places, strategy.is_some(), &looks)?;
    Ok(Pushed {
        name: app.name.clone(),
        guid: app.guid.clone(),
        state: if strategy.is_some() {
            "STARTED"
        } else {
            "STOPPED"
        }
        .to_string(),
        urls: places.urls,
        curl: places.curl,
        droplet,
        strategy,
        instances: summary::Count::of(&looks),
        upload_ms,
        staging_ms: staged.took.as_millis(),
        start_ms,
    })
}

fn tell(
    out: &Output,
    app: &App,
    places: &summary::Places,
    started: bool,
    looks: &[Look],
) -> Outcome {
    let name = out.paint(Color::Strong, &app.name);
    if !started {
        return out.say(format!(
            "\n{name} is staged and not started: `yard start {}`",
            app.name
        ));
    }
    if looks.iter().all(|look| look.wanted == 0) {
        return out.say(format!(
            "\n{name} is started, and is to have no instance: `yard scale {} --instances 1`",
            app.name
        ));
    }
    let Some((url, others)) = places.urls.split_first() else {
        return out.say(format!("\n{name} is up, without a route"));
    };
    out.say(format!("\n{name} is up at {}", out.paint(Color::Good, url)))?;
    for more in others {
        out.say(format!("  also at {more}"))?;
    }
    match &places.curl {
        Some(curl) => out.say(format!("  {curl}")),
        None => Ok(()),
    }
}

async fn upload(client: &Client, out: &Output, app: &App, source: &Source) -> Outcome<Package> {
    let began = Instant::now();
    let prepared = prepare(client, source).await?;
    let (size, matched) = (prepared.size, &prepared.matched);
    let what = match source {
        Source::Archive { path, size } => format!("{} ({})", path.display(), human::bytes(*size)),
        Source::Folder(collected) => {
            let known = if matched.is_empty() {
                String::new()
            } else {
                format!(", {} of them known to the cluster", matched.len())
            };
            format!(
                "{} ({}{known}), {} to send",
                human::count(collected.files(), "file"),
                human::bytes(collected.bytes()),
                human::bytes(size)
            )
        }
    };
    out.say(format!("Uploading {what}"))?;
    let package: Package = client
        .post_same("/v3/packages", &json!({ "type": "bits", "relationships": { "app": { "data": { "guid": app.guid } } } }))
        .await?;
    let bar = progress::upload_bar(out, size);
    let (counted, restarted) = (bar.clone(), bar.clone());
    let bits = Some(Bits {
        archive: &prepared.path,
        name: "package.zip",
        size,
    });
    let sent: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |bytes| counted.inc(bytes));
    let send = async || {
        let (bits, restarted) = (bits.clone(), restarted.clone());
        let restart = move || restarted.set_position(0);
        client
            .upload(&package.guid, bits, matched, sent.clone(), restart)
            .await
    };
    let find = async || {
        let seen: Package = client
            .get(&format!("/v3/packages/{}", package.guid), &[])
            .await?;
        Ok((seen.state != "AWAITING_UPLOAD").then_some(seen))
    };
    let uploaded = client.sent_once(send, find).await;
    bar.finish_and_clear();
    let ready = until_ready(client, uploaded?).await?;
    out.say(format!("Uploaded in {}", human::took(began.elapsed())))?;
    Ok(ready)
}

/// What is sent of a source.
pub(super) struct Prepared {
    pub path: PathBuf,
    pub size: u64,
    /// Files that the cluster has.
    pub matched: Vec<Resource>,
    /// Removed with it.
    _packed: Option<tempfile::NamedTempFile>,
}

/// Packs what the cluster does not have.
pub(super) async fn prepare(client: &Client, source: &Source) -> Outcome<Prepared> {
    let collected = match source {
        Source::Archive { path, size } => {
            return Ok(Prepared {
                path: path.clone(),
                size: *size,
                matched: Vec::new(),
                _packed: None,
            });
        }
        Source::Folder(collected) => collected,
    };
    let candidates =
        archive::candidates(collected).map_err(|fault| archive_failure(fault, Code::Failed))?;
    let matched = ask(client, &candidates).await?;
    let file = archive::pack_to_file(collected, &matched)
        .map_err(|fault| archive_failure(fault, Code::Failed))?;
    let size = file
        .as_file()
        .metadata()
        .map(|metadata| metadata.len())
        .unwrap_or_default();
    Ok(Prepared {
        path: file.path().to_path_buf(),
        size,
        matched,
        _packed: Some(file),
    })
}

/// The files of a source, as a package's table of contents has them.
pub(super) fn listed(source: &Source) -> Outcome<Vec<LocalFile>> {
    let listed = match source {
        Source::Folder(collected) => archive::list_folder(collected),
        Source::Archive { path, .. } => archive::list_archive(path),
    };
    listed.map_err(|fault| archive_failure(fault, Code::Failed))
}

/// Whether instances would be replaced by a push.
pub(super) fn runs(app: &App) -> bool {
    app.state == "STARTED" && app.relationships.current_droplet.guid().is_some()
}

/// Which files the cluster has.
async fn ask(client: &Client, candidates: &[Resource]) -> Outcome<Vec<Resource>> {
    let mut answered = Vec::new();
    for part in candidates.chunks(ASK_AT_ONCE) {
        let answer: ResourceMatches = client
            .post_same(
                "/v3/resource_matches",
                &ResourceMatches {
                    resources: part.to_vec(),
                },
            )
            .await?;
        answered.extend(answer.resources);
    }
    Ok(archive::known(candidates, &answered))
}

async fn until_ready(client: &Client, mut package: Package) -> Outcome<Package> {
    let deadline = Instant::now() + Duration::from_secs(900);
    let mut pace = Pace::new();
    loop {
        match package.state.as_str() {
            "READY" => return Ok(package),
            "FAILED" | "EXPIRED" => {
                let why = package
                    .data
                    .error
                    .unwrap_or_else(|| "no reason was given".into());
                return Err(Failure::failed(format!(
                    "the cluster refused the package: {why}"
                )));
            }
            _ if Instant::now() >= deadline => {
                return Err(Failure::new(
                    Code::TimedOut,
                    format!(
                        "the package {} is still {}",
                        package.guid,
                        package.state.to_lowercase()
                    ),
                ));
            }
            _ => {
                tokio::time::sleep(pace.step()).await;
                package = client
                    .get(&format!("/v3/packages/{}", package.guid), &[])
                    .await?;
            }
        }
    }
}

/// Makes the droplet the one that runs.
async fn start(
    client: &Client,
    out: &Output,
    request: &Request,
    app: &App,
    droplet: &str,
) -> Outcome<(Option<&'static str>, Vec<Look>)> {
    let runs = runs(app);
    let doing = |failure: Failure| failure.doing(format!("start the app {}", app.name));
    if request.no_start {
        if app.state == "STARTED" {
            client
                .act_same(&format!("/v3/apps/{}/actions/stop", app.guid))
                .await?;
        }
        assign(client, app, droplet).await?;
        return Ok((None, Vec::new()));
    }
    let watch = Watch::begin(client, out, app).await;
    let strategy = request.strategy.unwrap_or(How::Rolling).strategy();
    if let Some(strategy) = strategy.filter(|_| runs) {
        out.say("Replacing the running instances in steps")?;
        let deployment = deploy(client, request, app, droplet, strategy)
            .await
            .map_err(doing)?;
        if watch.until_deployed(&deployment, request.timeout).await? == Deployed::Paused {
            out.say(lifecycle::paused(app))?;
        }
        return Ok((Some(strategy), watch::look(client, app).await?));
    }
    out.say("Starting")?;
    assign(client, app, droplet).await?;
    client
        .act_same(&format!("/v3/apps/{}/actions/restart", app.guid))
        .await
        .map_err(doing)?;
    let looks = watch.until_up(request.timeout).await?;
    Ok((Some(if runs { "restart" } else { "start" }), looks))
}

async fn deploy(
    client: &Client,
    request: &Request,
    app: &App,
    droplet: &str,
    strategy: &str,
) -> Outcome<Deployment> {
    let by = Replacement {
        droplet: Some(droplet),
        ..Replacement::default()
    };
    let body = lifecycle::deployment(app, strategy, &request.canary_steps, by);
    let send = async || client.post::<_, Deployment>("/v3/deployments", &body).await;
    // The droplet is of this push: a deployment of it is ours.
    let find = async || {
        let of_app: Vec<Deployment> = client
            .list("/v3/deployments", &[("app_guids", &app.guid)])
            .await?;
        let ours = |one: &Deployment| one.droplet.as_ref().is_some_and(|own| own.guid == droplet);
        Ok(of_app.into_iter().find(ours))
    };
    client.sent_once(send, find).await
}

async fn assign(client: &Client, app: &App, droplet: &str) -> Outcome {
    client
        .patch_same(
            &format!("/v3/apps/{}/relationships/current_droplet", app.guid),
            &json!({ "data": { "guid": droplet } }),
        )
        .await
        .map_err(|failure| failure.doing(format!("give the app {} its new droplet", app.name)))?;
    Ok(())
}
