//! `api.`, `uaa.`, `login.` and `st2.<domain>`, kept known to the routers.

use daemon::Deps;
use daemon::registration::{self, Served};

/// Hosts that lead here.
const HOSTS: [&str; 4] = ["api", "uaa", "login", "st2"];

/// Registers `advertise` (`host:port`) under the public names for as long as the daemon runs.
pub fn start(deps: &Deps, domain: &str, advertise: &str) {
    let Some(served) = served(domain, advertise) else {
        tracing::error!(
            advertise,
            "the address to advertise has no port: no router will find the API"
        );
        return;
    };
    registration::start(deps, &served);
}

/// Where this controller serves, for those who make it known under other names.
pub(crate) fn served<'a>(domain: &'a str, advertise: &str) -> Option<Served<'a>> {
    let (host, port) = advertise.rsplit_once(':')?;
    Some(Served {
        names: &HOSTS,
        domain,
        component: "controller",
        host: host.trim_matches(['[', ']']).to_string(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_names_lead_to_the_advertised_address() {
        let at = |advertise| {
            let served = served("yard.internal", advertise)?;
            assert_eq!(served.names, ["api", "uaa", "login", "st2"]);
            Some((served.host, served.port))
        };
        assert_eq!(at("127.0.0.1:8081"), Some(("127.0.0.1".into(), 8081)));
        assert_eq!(at("[::1]:8081"), Some(("::1".into(), 8081)));
        assert_eq!(at("127.0.0.1"), None);
        assert_eq!(at("127.0.0.1:http"), None);
    }
}
