//! The cluster as users of Cloud Foundry meet it: the unmodified client `cf`, command by command.
//!
//! The client is not among Debian's packages: without one (see [`client`]) all of this is skipped, by name.

mod apps;
mod client;
mod places;

use apps::*;
use client::Cf;
use places::*;
use tests::Cluster;
use tests::cluster::program_of_others;
use tests::runner::{run_and_clean, skipped, suite, with_cluster};
use tests::tests;

pub struct World {
    pub cluster: Cluster,
    pub cf: Cf,
}

impl World {
    /// A folder with an app whose page says this.
    pub fn page(&self, name: &str, text: &str) -> String {
        let files = [("index.html", text), ("Staticfile", "")];
        let folder = tests::apps::app(&self.cluster, name, &files);
        folder.display().to_string()
    }

    pub async fn answers(&self, app: &str, text: &str) -> anyhow::Result<()> {
        let host = self.cluster.host(app);
        let body = self.cluster.body(&host, "/").await?;
        anyhow::ensure!(body.contains(text), "{app} answers {body:?}, not {text:?}");
        Ok(())
    }
}

async fn log_in(cluster: &Cluster, cf: &Cf) -> anyhow::Result<()> {
    let password = std::fs::read_to_string(cluster.home.join("admin-password"))?;
    let api = format!("http://{}:{}", cluster.host("api"), cluster.port);
    cf.ok(&["api", &api]).await?.has(&["API version"])?;
    cf.ok(&["auth", "admin", password.trim()]).await?;
    cf.ok(&["target", "-o", "default", "-s", "default"]).await?;
    Ok(())
}

fn main() {
    let Some(program) = program_of_others("STACKYARD_TEST_CF", "cf") else {
        let why = "there is no cf (https://github.com/cloudfoundry/cli): put it on the PATH, or its path into STACKYARD_TEST_CF";
        skipped("every test that uses the client cf", why);
        return;
    };
    suite("the client cf", async |tally| {
        with_cluster(tally, async |cluster, tally| {
            let cf = match Cf::new(&cluster, program) {
                Ok(cf) => cf,
                Err(error) => {
                    tally.note("cf_is_prepared", Err(error));
                    return cluster;
                }
            };
            if !tally.note("cf_logs_in", log_in(&cluster, &cf).await) {
                return cluster;
            }
            let world = World { cluster, cf };
            let tests = tests![
                an_app_is_pushed_changed_and_deleted,
                a_push_of_more_instances_replaces_in_steps,
                a_canary_pauses_is_continued_and_taken_back,
                revisions_are_gone_back_to,
                droplets_and_sources_move_between_apps,
                a_manifest_is_made_of_an_app,
                tasks_logs_events_and_shells,
                environments_of_all_and_of_one,
                routes_and_domains,
                organizations_spaces_users_and_quotas,
                services_buildpacks_and_labels,
                what_is_not_there_is_refused_with_the_reason,
            ];
            run_and_clean(&world, tests, tally, async |world| {
                tests::apps::delete_apps(&world.cluster).await
            })
            .await;
            world.cluster
        })
        .await;
    });
}
