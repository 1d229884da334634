//! `yard quota`: how much organizations and spaces may have.

use crate::apps::scale::parse_megabytes;
use crate::client::{Client, item};
use crate::failure::{Code, Failure, Outcome};
use crate::output::Output;
use crate::output::human;
use crate::output::table::table;
use crate::prompt;
use crate::targets::{Named, Store};
use clap::{Args, Subcommand};
use proto::api::{
    Organization, OrganizationQuota, QuotaApps, QuotaRoutes, QuotaServices, Space, SpaceQuota,
};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for a deletion.
const DELETED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard quota create team --memory 8G --instance-memory 1G --routes 20
  yard quota set team --org shop
  yard quota create trial --of-spaces --memory 1G
  yard quota set trial --space dev
  yard quota unset --space dev")]
pub struct QuotaArgs {
    #[command(subcommand)]
    command: QuotaCommand,
}

#[derive(Debug, Subcommand)]
enum QuotaCommand {
    /// List quotas, what they allow and who has them
    List {
        #[command(flatten)]
        kind: Kind,
    },
    /// Make a quota; what is not named is unlimited
    Create {
        /// Name of the quota
        quota: String,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        limits: Limits,
    },
    /// Change a quota; what is not named stays
    Update {
        /// Name of the quota
        quota: String,
        /// Another name for it
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        #[command(flatten)]
        kind: Kind,
        #[command(flatten)]
        limits: Limits,
    },
    /// Delete a quota
    Delete {
        /// Name of the quota
        quota: String,
        #[command(flatten)]
        kind: Kind,
        /// Delete without asking
        #[arg(short = 'f', long)]
        force: bool,
    },
    /// Give a quota to an organization or to a space, instead of the one it has
    Set {
        /// Name of the quota
        quota: String,
        #[command(flatten)]
        place: Place,
    },
    /// Take the quota away from a space; an organization always has one
    Unset {
        /// A space of the chosen organization
        #[arg(short = 's', long)]
        space: String,
    },
}

#[derive(Debug, Args)]
struct Kind {
    /// Quotas of spaces of the chosen organization, not of organizations
    #[arg(long)]
    of_spaces: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// An organization
    #[arg(short = 'o', long)]
    org: Option<String>,
    /// A space of the chosen organization
    #[arg(short = 's', long)]
    space: Option<String>,
}

/// A number, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount(Option<u64>);

const UNLIMITED: &str = "unlimited";

fn count(text: &str) -> Result<Amount, String> {
    if text == UNLIMITED {
        return Ok(Amount(None));
    }
    let number = text
        .parse()
        .map_err(|_| format!("{text:?} is no number: write 10, or {UNLIMITED}"))?;
    Ok(Amount(Some(number)))
}

fn megabytes(text: &str) -> Result<Amount, String> {
    match text {
        UNLIMITED => Ok(Amount(None)),
        "0" => Ok(Amount(Some(0))),
        _ => parse_megabytes(text)
            .map(|number| Amount(Some(number)))
            .map_err(|fault| format!("{fault}, or {UNLIMITED}")),
    }
}

#[derive(Debug, Default, Args)]
struct Limits {
    /// Memory of all instances together, for instance 10G, or unlimited
    #[arg(short = 'm', long, value_parser = megabytes)]
    memory: Option<Amount>,
    /// Memory of one instance, for instance 1G, or unlimited
    #[arg(long, value_name = "MEMORY", value_parser = megabytes)]
    instance_memory: Option<Amount>,
    /// Number of instances, or unlimited
    #[arg(short = 'i', long, value_parser = count)]
    instances: Option<Amount>,
    /// Number of tasks that run at a time, or unlimited
    #[arg(long, value_parser = count)]
    tasks: Option<Amount>,
    /// Number of routes, or unlimited
    #[arg(long, value_parser = count)]
    routes: Option<Amount>,
    /// Number of routes that have ports, or unlimited
    #[arg(long, value_parser = count)]
    reserved_ports: Option<Amount>,
    /// Number of services, or unlimited
    #[arg(long, value_parser = count)]
    services: Option<Amount>,
    /// Number of private domains, or unlimited; not of spaces
    #[arg(long, value_parser = count, conflicts_with = "of_spaces")]
    domains: Option<Amount>,
}

impl Limits {
    /// The part of a request that sets them.
    fn document(&self) -> Map<String, Value> {
        let mut document = Map::new();
        let all = [
            ("apps", "total_memory_in_mb", self.memory),
            ("apps", "per_process_memory_in_mb", self.instance_memory),
            ("apps", "total_instances", self.instances),
            ("apps", "per_app_tasks", self.tasks),
            ("routes", "total_routes", self.routes),
            ("routes", "total_reserved_ports", self.reserved_ports),
            ("services", "total_service_instances", self.services),
            ("domains", "total_domains", self.domains),
        ];
        for (section, field, amount) in all {
            if let Some(Amount(limit)) = amount {
                document.entry(section).or_insert_with(|| json!({}))[field] = json!(limit);
            }
        }
        document
    }
}

const ORGANIZATIONS: &str = "/v3/organization_quotas";
const SPACES: &str = "/v3/space_quotas";

pub async fn run(args: QuotaArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    match args.command {
        QuotaCommand::List { kind } if kind.of_spaces => list_of_spaces(&client, out).await,
        QuotaCommand::List { .. } => list(&client, out).await,
        QuotaCommand::Create {
            quota,
            kind,
            limits,
        } => create(&client, out, &quota, &kind, &limits).await,
        QuotaCommand::Update {
            quota,
            rename,
            kind,
            limits,
        } => {
            let mut body = limits.document();
            if let Some(name) = rename {
                body.insert("name".into(), json!(name));
            }
            update(&client, out, &quota, &kind, &body).await
        }
        QuotaCommand::Delete { quota, kind, force } => {
            delete(&client, out, &quota, &kind, force).await
        }
        QuotaCommand::Set { quota, place } => set(&client, out, &quota, &place).await,
        QuotaCommand::Unset { space } => unset(&client, out, &space).await,
    }
}

/// One line of a list: what it allows, as people read it.
fn line(
    name: &str,
    (apps, routes, services): (&QuotaApps, &QuotaRoutes, &QuotaServices),
    domains: Option<u64>,
    holders: Vec<String>,
) -> [String; 10] {
    let number = |limit: Option<u64>| {
        limit.map_or_else(|| UNLIMITED.to_string(), |number| number.to_string())
    };
    let memory = |limit: Option<u64>| limit.map_or_else(|| UNLIMITED.to_string(), human::megabytes);
    [
        name.to_string(),
        memory(apps.total_memory_in_mb),
        memory(apps.per_process_memory_in_mb),
        number(apps.total_instances),
        number(apps.per_app_tasks),
        number(routes.total_routes),
        number(routes.total_reserved_ports),
        number(services.total_service_instances),
        number(domains),
        holders.join(", "),
    ]
}

const HEADER: [&str; 10] = [
    "quota",
    "memory",
    "of one instance",
    "instances",
    "tasks",
    "routes",
    "ports",
    "services",
    "domains",
    "given to",
];

/// The names of those that have a quota; the guid of one that cannot be seen.
fn names(holders: &proto::api::ToMany, known: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> = holders
        .data
        .iter()
        .map(|one| known.get(&one.guid).unwrap_or(&one.guid).clone())
        .collect();
    names.sort();
    names
}

async fn list(client: &Client, out: &Output) -> Outcome {
    let query = [("order_by", "name"), ("per_page", "5000")];
    let quotas: Vec<OrganizationQuota> = client.list(ORGANIZATIONS, &query).await?;
    let organizations: Vec<Organization> = client.list("/v3/organizations", &query).await?;
    let known = organizations
        .into_iter()
        .map(|one| (one.guid, one.name))
        .collect();
    out.show(&quotas, |quotas| {
        let lines = quotas.iter().map(|quota| {
            let holders = names(&quota.relationships.organizations, &known);
            let domains = quota.domains.total_domains;
            let limits = (&quota.apps, &quota.routes, &quota.services);
            line(&quota.name, limits, domains, holders)
        });
        table(HEADER, lines, "no quotas")
    })
}

/// A line without the column of domains: spaces have none.
fn of_space<T>(
    [
        name,
        memory,
        one,
        instances,
        tasks,
        routes,
        ports,
        services,
        _,
        holders,
    ]: [T; 10],
) -> [T; 9] {
    [
        name, memory, one, instances, tasks, routes, ports, services, holders,
    ]
}

async fn list_of_spaces(client: &Client, out: &Output) -> Outcome {
    let org = client.org()?;
    let query = [
        ("organization_guids", org.guid.as_str()),
        ("order_by", "name"),
        ("per_page", "5000"),
    ];
    let quotas: Vec<SpaceQuota> = client.list(SPACES, &query).await?;
    let spaces: Vec<Space> = client.list("/v3/spaces", &query).await?;
    let known = spaces.into_iter().map(|one| (one.guid, one.name)).collect();
    let empty = format!("no quotas of spaces in the organization {}", org.name);
    out.show(&quotas, |quotas| {
        let lines = quotas.iter().map(|quota| {
            let holders = names(&quota.relationships.spaces, &known);
            let limits = (&quota.apps, &quota.routes, &quota.services);
            of_space(line(&quota.name, limits, None, holders))
        });
        let header = of_space(HEADER);
        table(header, lines, &empty)
    })
}

/// The address of a quota that was named.
async fn find(client: &Client, name: &str, of_spaces: bool) -> Outcome<String> {
    let named = item(name);
    let found: Vec<Value> = if of_spaces {
        let org = client.org()?;
        let query = [("names", named.as_str()), ("organization_guids", &org.guid)];
        client.list(SPACES, &query).await?
    } else {
        client.list(ORGANIZATIONS, &[("names", &named)]).await?
    };
    let list = if of_spaces { SPACES } else { ORGANIZATIONS };
    let guid = found.first().and_then(|quota| quota["guid"].as_str());
    guid.map(|guid| format!("{list}/{guid}")).ok_or_else(|| {
        let flag = if of_spaces { " --of-spaces" } else { "" };
        Failure::new(
            Code::NotFound,
            format!("there is no quota {name}, or you may not see it"),
        )
        .fix(format!("`yard quota list{flag}` lists them"))
    })
}

async fn create(
    client: &Client,
    out: &Output,
    name: &str,
    kind: &Kind,
    limits: &Limits,
) -> Outcome {
    let mut body = limits.document();
    body.insert("name".into(), json!(name));
    let list = if kind.of_spaces {
        let org = client.org()?;
        body.insert(
            "relationships".into(),
            json!({"organization": {"data": {"guid": org.guid}}}),
        );
        SPACES
    } else {
        ORGANIZATIONS
    };
    let made: Value = client
        .post(list, &body)
        .await
        .map_err(|failure| failure.doing(format!("make the quota {name}")))?;
    out.show(&made, |_| format!("made the quota {name}"))
}

async fn update(
    client: &Client,
    out: &Output,
    name: &str,
    kind: &Kind,
    body: &Map<String, Value>,
) -> Outcome {
    if body.is_empty() {
        return Err(
            Failure::usage(format!("nothing of the quota {name} is to be changed"))
                .fix("`yard quota update --help` shows what can be"),
        );
    }
    let path = find(client, name, kind.of_spaces).await?;
    let changed: Value = client
        .patch(&path, body)
        .await
        .map_err(|failure| failure.doing(format!("change the quota {name}")))?
        .json(&path)?;
    out.show(&changed, |_| format!("changed the quota {name}"))
}

async fn delete(client: &Client, out: &Output, name: &str, kind: &Kind, force: bool) -> Outcome {
    let path = find(client, name, kind.of_spaces).await?;
    if !force && !prompt::confirm(&format!("Delete the quota {name}?"))? {
        return Err(Failure::failed(format!("the quota {name} was not deleted")));
    }
    let doing = |failure: Failure| failure.doing(format!("delete the quota {name}"));
    let reply = client.delete(&path, &[]).await.map_err(doing)?;
    client.finish(&reply, DELETED_WITHIN).await.map_err(doing)?;
    out.show(&json!({"quota": name, "deleted": true}), |_| {
        format!("deleted the quota {name}")
    })
}

/// A space of the chosen organization.
async fn space(client: &Client, name: &str) -> Outcome<Named> {
    let org = client.org()?;
    let query = [
        ("names", item(name)),
        ("organization_guids", org.guid.clone()),
    ];
    let query = query.each_ref().map(|(key, value)| (*key, value.as_str()));
    let found: Vec<Space> = client.list("/v3/spaces", &query).await?;
    let missing = || {
        Failure::new(
            Code::NotFound,
            format!("there is no space {name} in the organization {}", org.name),
        )
    };
    let space = found.into_iter().next().ok_or_else(missing)?;
    Ok(Named {
        guid: space.guid,
        name: space.name,
    })
}

async fn organization(client: &Client, name: &str) -> Outcome<Named> {
    let found: Vec<Organization> = client
        .list("/v3/organizations", &[("names", &item(name))])
        .await?;
    let missing = || Failure::new(Code::NotFound, format!("there is no organization {name}"));
    let organization = found.into_iter().next().ok_or_else(missing)?;
    Ok(Named {
        guid: organization.guid,
        name: organization.name,
    })
}

async fn set(client: &Client, out: &Output, quota: &str, place: &Place) -> Outcome {
    let (noun, relationship, holder) = match (&place.org, &place.space) {
        (Some(name), _) => {
            let holder = organization(client, name).await?;
            ("organization", "organizations", holder)
        }
        (None, Some(name)) => ("space", "spaces", space(client, name).await?),
        // The parser asks for one of them.
        (None, None) => {
            return Err(Failure::usage(
                "neither an organization nor a space is named",
            ));
        }
    };
    let path = find(client, quota, noun == "space").await?;
    client
        .send(
            Method::POST,
            &format!("{path}/relationships/{relationship}"),
            &json!({"data": [{"guid": holder.guid}]}),
        )
        .await
        .map_err(|failure| {
            failure.doing(format!("give the {noun} {} the quota {quota}", holder.name))
        })?;
    out.show(
        &json!({"quota": quota, noun: holder.name, "set": true}),
        |_| format!("the {noun} {} has the quota {quota}", holder.name),
    )
}

async fn unset(client: &Client, out: &Output, name: &str) -> Outcome {
    let holder = space(client, name).await?;
    let quotas: Vec<SpaceQuota> = client
        .list(SPACES, &[("space_guids", &holder.guid)])
        .await?;
    let quota = quotas.into_iter().next().ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("the space {name} has no quota, or you may not see it"),
        )
    })?;
    client
        .delete(
            &format!(
                "{SPACES}/{}/relationships/spaces/{}",
                quota.guid, holder.guid
            ),
            &[],
        )
        .await
        .map_err(|failure| {
            failure.doing(format!(
                "take the quota {} from the space {name}",
                quota.name
            ))
        })?;
    out.show(
        &json!({"quota": quota.name, "space": holder.name, "set": false}),
        |_| format!("the space {name} has no quota of its own"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: QuotaArgs,
    }

    fn parsed(line: &str) -> Result<QuotaCommand, clap::Error> {
        let words = std::iter::once("quota").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args.command)
    }

    #[test]
    fn limits_are_numbers_sizes_or_none() {
        let line = "create team -m 10G --instance-memory 512M -i unlimited --tasks 0 --routes 20 --services 5 --domains 3";
        let Ok(QuotaCommand::Create {
            quota,
            limits,
            kind,
        }) = parsed(line)
        else {
            panic!("{line} makes a quota");
        };
        assert_eq!((quota.as_str(), kind.of_spaces), ("team", false));
        assert_eq!(
            Value::Object(limits.document()),
            json!({
                "apps": {
                    "total_memory_in_mb": 10240, "per_process_memory_in_mb": 512,
                    "total_instances": null, "per_app_tasks": 0,
                },
                "routes": {"total_routes": 20}, "services": {"total_service_instances": 5},
                "domains": {"total_domains": 3},
            })
        );
        assert!(
            Limits::default().document().is_empty(),
            "what is not named stays"
        );
        assert_eq!(megabytes("0"), Ok(Amount(Some(0))));
    }

    #[test]
    fn what_makes_no_sense_is_no_command() {
        for line in [
            "",
            "create",
            "create team -m 512",
            "create team -i many",
            "create team -i -1",
            "create team --of-spaces --domains 1",
            "set team",
            "set team --org a --space b",
            "unset",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        for line in [
            "list",
            "list --of-spaces",
            "set team -s dev",
            "set team -o shop",
            "unset -s dev",
            "delete team -f",
        ] {
            assert!(parsed(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_line_of_the_list_says_what_is_not_limited() {
        let apps = QuotaApps {
            total_memory_in_mb: Some(2048),
            total_instances: Some(4),
            ..Default::default()
        };
        let routes = QuotaRoutes {
            total_reserved_ports: Some(0),
            ..QuotaRoutes::default()
        };
        let services = QuotaServices {
            total_service_instances: Some(7),
            ..QuotaServices::default()
        };
        let shown = line(
            "team",
            (&apps, &routes, &services),
            Some(1),
            vec!["a".into(), "b".into()],
        );
        assert_eq!(shown[1..4], ["2G", "unlimited", "4"]);
        assert_eq!(shown[5..], ["unlimited", "0", "7", "1", "a, b"]);
    }
}
