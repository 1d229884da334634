//! `yard domain`: the domains that routes are made of.

use crate::apps::find;
use crate::client::{Client, item};
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::output::table::table;
use crate::prompt;
use crate::targets::Store;
use clap::{Args, Subcommand};
use proto::api::{CreateDomain, Domain, DomainOwner, GuidRef, Organization, RouterGroup, ToOne};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for a job.
const WITHIN: Duration = Duration::from_secs(60);
const ALL: &str = "/v3/domains";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  yard domain list
  yard domain create apps.example.com                            for all organizations
  yard domain create shop.example.com --private                  for the chosen one
  yard domain create tcp.example.com --router-group default-tcp  its routes have ports")]
pub struct DomainArgs {
    #[command(subcommand)]
    command: DomainCommand,
}

#[derive(Debug, Subcommand)]
enum DomainCommand {
    /// List the domains that can be used
    List,
    /// Make a domain
    Create {
        /// Name of the domain
        domain: String,
        /// Only for the chosen organization
        #[arg(long, conflicts_with = "router_group")]
        private: bool,
        /// Have its routes be ports instead of hosts and paths: default-tcp, default-udp
        #[arg(long, value_name = "GROUP")]
        router_group: Option<String>,
    },
    /// Delete a domain that has no routes
    Delete {
        /// Name of the domain
        domain: String,
        /// Delete without asking
        #[arg(short = 'f', long)]
        force: bool,
    },
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    guid: String,
    protocols: Vec<String>,
    router_group: Option<String>,
    /// None: all.
    organization: Option<String>,
}

impl Line {
    fn of(domain: Domain, organizations: &BTreeMap<String, String>) -> Line {
        let owner = domain.relationships.organization.data;
        Line {
            organization: owner.map(|owner| {
                organizations
                    .get(&owner.guid)
                    .cloned()
                    .unwrap_or(owner.guid)
            }),
            name: domain.name,
            guid: domain.guid,
            protocols: domain.supported_protocols,
            router_group: domain.router_group.map(|group| group.guid),
        }
    }
}

pub async fn run(args: DomainArgs, out: &Output, store: Store) -> Outcome {
    let client = Client::open(store)?;
    match args.command {
        DomainCommand::List => list(&client, out).await,
        DomainCommand::Create {
            domain,
            private,
            router_group,
        } => create(&client, out, domain, private, router_group).await,
        DomainCommand::Delete { domain, force } => delete(&client, out, &domain, force).await,
    }
}

async fn organizations(client: &Client) -> Outcome<BTreeMap<String, String>> {
    let all: Vec<Organization> = client
        .list("/v3/organizations", &[("per_page", "5000")])
        .await?;
    Ok(all.into_iter().map(|one| (one.guid, one.name)).collect())
}

async fn list(client: &Client, out: &Output) -> Outcome {
    let domains: Vec<Domain> = client
        .list(ALL, &[("order_by", "name"), ("per_page", "5000")])
        .await?;
    let organizations = organizations(client).await?;
    let lines: Vec<Line> = domains
        .into_iter()
        .map(|domain| Line::of(domain, &organizations))
        .collect();
    out.show(&lines, |lines| {
        let rows = lines.iter().map(|line| {
            [
                line.name.clone(),
                line.protocols.join(", "),
                line.organization.clone().unwrap_or("all".to_string()),
                line.router_group.clone().unwrap_or_default(),
            ]
        });
        let header = ["domain", "protocols", "organization", "router group"];
        table(header, rows, "no domains")
    })
}

async fn create(
    client: &Client,
    out: &Output,
    name: String,
    private: bool,
    router_group: Option<String>,
) -> Outcome {
    let router_group = match router_group {
        Some(name) => Some(group(client, &name).await?),
        None => None,
    };
    let relationships = match private {
        true => Some(DomainOwner {
            organization: ToOne::new(&client.org()?.guid),
        }),
        false => None,
    };
    let body = CreateDomain {
        name,
        router_group,
        relationships,
    };
    let made: Domain = client
        .post(ALL, &body)
        .await
        .map_err(|failure| failure.doing(format!("create the domain {}", body.name)))?;
    let line = Line::of(made, &organizations(client).await?);
    out.show(&line, |line| {
        let whose = line.organization.as_deref().unwrap_or("all organizations");
        format!("{} is a domain of {whose}\n", line.name)
    })
}

/// The router group of this name.
async fn group(client: &Client, name: &str) -> Outcome<GuidRef> {
    let known: Vec<RouterGroup> = client.get("/routing/v1/router_groups", &[]).await?;
    let names: Vec<&str> = known.iter().map(|group| group.name.as_str()).collect();
    let found = known.iter().find(|group| group.name == name);
    let found = found.ok_or_else(|| {
        Failure::usage(format!("there is no router group {name}"))
            .fix(format!("the router groups are: {}", names.join(", ")))
    })?;
    Ok(GuidRef {
        guid: found.guid.clone(),
    })
}

async fn delete(client: &Client, out: &Output, name: &str, force: bool) -> Outcome {
    let found = find::domain(client, name).await?;
    if !force && !prompt::confirm(&format!("Delete the domain {name} with all its routes?"))? {
        return Err(Failure::failed(format!(
            "the domain {name} was not deleted"
        )));
    }
    let doing = |failure: Failure| failure.doing(format!("delete the domain {name}"));
    let path = format!("{ALL}/{}", item(&found.guid));
    let reply = client.delete(&path, &[]).await.map_err(doing)?;
    client.finish(&reply, WITHIN).await.map_err(doing)?;
    out.show(&json!({"domain": name, "deleted": true}), |_| {
        format!("deleted the domain {name}\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_the_domain_is() {
        let organizations = BTreeMap::from([("o-1".to_string(), "shop".to_string())]);
        let own = |guid: &str| {
            let mut domain = Domain::default();
            domain.relationships.organization = ToOne::new(guid);
            Line::of(domain, &organizations).organization
        };
        assert_eq!(own("o-1").as_deref(), Some("shop"));
        assert_eq!(own("o-2").as_deref(), Some("o-2"), "it cannot be seen");
        let tcp = Domain {
            name: "tcp.example".into(),
            router_group: Some(GuidRef {
                guid: "default-tcp".into(),
            }),
            ..Domain::default()
        };
        let line = Line::of(tcp, &organizations);
        assert_eq!(
            (line.organization, line.router_group.as_deref()),
            (None, Some("default-tcp"))
        );
    }
}
