//! `login`, `logout`, `target`.

use crate::client::{self, Client, domain_of_api};
use crate::cluster::home;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Output, table};
use crate::prompt;
use crate::targets::{Named, Store, Target};
use clap::Args;
use proto::api::{Organization, Space};
use serde::Serialize;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(
    after_help = "The password is asked for; without a terminal it is read from standard input.
On the machine of a cluster, `sudo yard up` logs in the user who calls it."
)]
pub struct LoginArgs {
    /// Address of the API, for instance http://api.yard.internal:8080 (default: the last one)
    api: Option<String>,
    /// User name
    #[arg(short = 'u', long)]
    username: Option<String>,
    /// File that holds the password
    #[arg(long, value_name = "FILE")]
    password_file: Option<std::path::PathBuf>,
    /// Address of the cluster's router, where its names cannot be looked up
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    connect: Option<String>,
    /// Organization
    #[arg(short = 'o', long)]
    org: Option<String>,
    /// Space
    #[arg(short = 's', long)]
    space: Option<String>,
}

#[derive(Debug, Args)]
pub struct TargetArgs {
    /// Organization
    #[arg(short = 'o', long)]
    org: Option<String>,
    /// Space
    #[arg(short = 's', long)]
    space: Option<String>,
}

/// The document of `login` and `target`.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    api: &'a str,
    user: Option<&'a str>,
    org: Option<&'a Named>,
    space: Option<&'a Named>,
}

fn show(out: &Output, target: &Target) -> Outcome {
    let shown = Shown {
        api: &target.api,
        user: target.user.as_deref(),
        org: target.org.as_ref(),
        space: target.space.as_ref(),
    };
    out.show(&shown, |shown| {
        let name = |named: Option<&Named>, how: &str| {
            named.map_or(
                format!("none; choose one with `yard target {how}`"),
                |named| named.name.clone(),
            )
        };
        table::fields(&[
            ("api", shown.api.to_string()),
            (
                "user",
                shown.user.unwrap_or("nobody; `yard login`").to_string(),
            ),
            ("org", name(shown.org, "-o ORG")),
            ("space", name(shown.space, "-s SPACE")),
        ])
    })
}

pub async fn login(args: LoginArgs, out: &Output, store: Store) -> Outcome {
    let targets = store.read()?;
    let last = targets.in_use().cloned();
    let (api, connect) = match &args.api {
        Some(text) => {
            let api = client::normalize_api(text).map_err(Failure::usage)?;
            let known = targets
                .targets
                .get(&api)
                .and_then(|target| target.connect.clone());
            let connect = args
                .connect
                .clone()
                .or(known)
                .or_else(|| address_of_local_cluster(&api));
            (api, connect)
        }
        None => {
            let last = last.as_ref().ok_or_else(|| {
                Failure::usage("which cluster?").fix("`yard login http://api.DOMAIN:PORT`")
            })?;
            (
                last.api.clone(),
                args.connect.clone().or(last.connect.clone()),
            )
        }
    };
    if let Some(connect) = &connect
        && client::address_of(connect).is_none()
    {
        return Err(Failure::usage(format!(
            "{connect:?} is no address: write for instance 10.0.0.7:8080"
        )));
    }
    let target = client::discover(&api, connect.as_deref(), Duration::from_secs(2)).await?;
    let user = match &args.username {
        Some(user) => user.clone(),
        None => prompt::ask("User name: ")?,
    };
    let password = match &args.password_file {
        Some(file) => std::fs::read_to_string(file)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_string())
            .map_err(|error| {
                Failure::usage(format!(
                    "read the password from {}: {error}",
                    file.display()
                ))
            })?,
        None => prompt::secret("Password: ")?,
    };
    let before = targets
        .targets
        .get(&api)
        .filter(|before| before.user.as_deref() == Some(&user));
    let wanted = |given: &Option<String>, before: Option<&Named>| {
        given.clone().or(before.map(|named| named.name.clone()))
    };
    let org = wanted(&args.org, before.and_then(|before| before.org.as_ref()));
    let space = wanted(&args.space, before.and_then(|before| before.space.as_ref()));
    let strict = args.org.is_some() || args.space.is_some();
    let target = log_in(
        &store,
        target,
        &user,
        &password,
        org.as_deref(),
        space.as_deref(),
        strict,
    )
    .await?;
    show(out, &target)
}

/// Logs in, chooses org and space, stores the result and makes it the one in use. `strict`: an
/// org or space that is not there is an error.
pub async fn log_in(
    store: &Store,
    mut target: Target,
    user: &str,
    password: &str,
    org: Option<&str>,
    space: Option<&str>,
    strict: bool,
) -> Outcome<Target> {
    let tokens = client::log_in(&target, user, password).await?;
    target.user = Some(user.to_string());
    target.access_token = Some(tokens.access_token);
    target.refresh_token = tokens.refresh_token;
    store.update(|targets| {
        targets.current = Some(target.api.clone());
        targets.targets.insert(target.api.clone(), target.clone());
    })?;
    let client = Client::of(store.clone(), target.clone())?;
    let chosen = match choose(&client, org, space).await {
        Err(failure) if !strict && failure.code == Code::NotFound => {
            choose(&client, None, None).await?
        }
        other => other?,
    };
    keep(store, &target.api, chosen.clone())?;
    (target.org, target.space) = chosen;
    Ok(target)
}

type Chosen = (Option<Named>, Option<Named>);

fn keep(store: &Store, api: &str, chosen: Chosen) -> Outcome {
    store.update(|targets| {
        if let Some(target) = targets.targets.get_mut(api) {
            (target.org, target.space) = chosen;
        }
    })
}

/// The org and space of these names; without a name the only one there is.
async fn choose(client: &Client, org: Option<&str>, space: Option<&str>) -> Outcome<Chosen> {
    let orgs: Vec<Organization> = client
        .list(
            "/v3/organizations",
            &[("order_by", "name"), ("per_page", "5000")],
        )
        .await?;
    let orgs = orgs
        .into_iter()
        .map(|org| Named {
            guid: org.guid,
            name: org.name,
        })
        .collect();
    let Some(org) = pick("organization", orgs, org)? else {
        return Ok((None, None));
    };
    let spaces: Vec<Space> = client
        .list(
            "/v3/spaces",
            &[
                ("organization_guids", &org.guid),
                ("order_by", "name"),
                ("per_page", "5000"),
            ],
        )
        .await?;
    let spaces = spaces
        .into_iter()
        .map(|space| Named {
            guid: space.guid,
            name: space.name,
        })
        .collect();
    let space = pick("space", spaces, space)?;
    Ok((Some(org), space))
}

fn pick(kind: &str, mut there: Vec<Named>, wanted: Option<&str>) -> Outcome<Option<Named>> {
    match wanted {
        Some(name) => match there.iter().position(|named| named.name == name) {
            Some(index) => Ok(Some(there.swap_remove(index))),
            None => {
                let names: Vec<&str> = there.iter().map(|named| named.name.as_str()).collect();
                let fix = if names.is_empty() {
                    format!("you see no {kind} at all")
                } else {
                    format!("you see: {}", names.join(", "))
                };
                Err(Failure::new(
                    Code::NotFound,
                    format!("there is no {kind} {name}, or you may not see it"),
                )
                .fix(fix))
            }
        },
        None if there.len() == 1 => Ok(there.pop()),
        None => Ok(None),
    }
}

pub async fn target(args: TargetArgs, out: &Output, store: Store) -> Outcome {
    let mut target = store.target()?;
    if args.org.is_some() || args.space.is_some() {
        let client = Client::of(store.clone(), target.clone())?;
        // A new organization without a space leaves the old one's space behind.
        let org = args
            .org
            .clone()
            .or(target.org.as_ref().map(|org| org.name.clone()));
        let chosen = choose(&client, org.as_deref(), args.space.as_deref()).await?;
        keep(&store, &target.api, chosen.clone())?;
        (target.org, target.space) = chosen;
    }
    show(out, &target)
}

pub async fn logout(out: &Output, store: Store) -> Outcome {
    let Some(target) = store.read()?.in_use().cloned() else {
        return out.show(&serde_json::json!({ "logged_out": false }), |_| {
            "not logged in".to_string()
        });
    };
    store.update(|targets| {
        if let Some(target) = targets.targets.get_mut(&target.api) {
            target.access_token = None;
            target.refresh_token = None;
            target.user = None;
        }
    })?;
    client::spend(&target).await;
    out.show(
        &serde_json::json!({ "logged_out": true, "api": target.api }),
        |_| format!("logged out of {}", target.api),
    )
}

/// Where a cluster of this machine listens, if it is the one meant.
fn address_of_local_cluster(api: &str) -> Option<String> {
    let cluster = home::read_cluster(&home::default_home()).ok().flatten()?;
    (domain_of_api(api)? == cluster.domain).then(|| home::connect_address(&cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_one_is_chosen_and_a_missing_one_is_told() {
        let named = |name: &str| Named {
            guid: format!("guid-{name}"),
            name: name.into(),
        };
        assert_eq!(
            pick("space", vec![named("a")], None).expect("no error"),
            Some(named("a"))
        );
        assert_eq!(
            pick("space", vec![named("a"), named("b")], None).expect("no error"),
            None
        );
        assert_eq!(
            pick("space", vec![named("a"), named("b")], Some("b")).expect("no error"),
            Some(named("b"))
        );
        let failure = pick("space", vec![named("a")], Some("c")).expect_err("none such");
        assert_eq!(
            (failure.code, failure.fix.as_deref()),
            (Code::NotFound, Some("you see: a"))
        );
    }
}
