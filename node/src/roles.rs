//! Every role of the executable, and how it is started.

use daemon::{Bootstrap, Role, Sockets, StopCause};

/// Runs the daemon of that bootstrap file until it is told to stop.
pub async fn run(bootstrap: Bootstrap, sockets: Sockets) -> anyhow::Result<StopCause> {
    match bootstrap.role()? {
        Role::Router => daemon::run(bootstrap, sockets, router::start).await,
        Role::Stager => daemon::run(bootstrap, sockets, stager::start).await,
        Role::Collector => daemon::run(bootstrap, sockets, collector::start).await,
        Role::Dea => daemon::run(bootstrap, sockets, dea::start).await,
        Role::HealthManager => daemon::run(bootstrap, sockets, health_manager::start).await,
        Role::Controller => daemon::run(bootstrap, sockets, controller::start).await,
        Role::SshProxy => daemon::run(bootstrap, sockets, ssh_proxy::start).await,
        role @ (Role::Registrar | Role::Tool) => {
            anyhow::bail!(
                "a {} is a foreign component, this executable has none",
                role.name()
            )
        }
    }
}
