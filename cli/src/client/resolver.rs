//! Names of the cluster lead to the address stored with the login; others are looked up.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Clone)]
pub(super) struct ClusterResolver {
    pub domain: String,
    pub address: IpAddr,
}

impl ClusterResolver {
    fn owns(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        host == self.domain
            || host
                .strip_suffix(&self.domain)
                .is_some_and(|rest| rest.ends_with('.'))
    }
}

impl Resolve for ClusterResolver {
    fn resolve(&self, name: Name) -> Resolving {
        if self.owns(name.as_str()) {
            let address = SocketAddr::new(self.address, 0);
            return Box::pin(async move { Ok(Box::new(std::iter::once(address)) as Addrs) });
        }
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether the machine itself finds `address` under this name.
pub async fn resolves_to(host: &str, address: Option<IpAddr>) -> bool {
    match tokio::net::lookup_host((host, 0)).await {
        Ok(mut found) => found.any(|found| address.is_none_or(|address| found.ip() == address)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_under_the_domain_are_ours() {
        let resolver = ClusterResolver {
            domain: "yard.internal".into(),
            address: [127, 0, 0, 1].into(),
        };
        for (host, ours) in [
            ("api.yard.internal", true),
            ("yard.internal", true),
            ("a.b.yard.internal.", true),
            ("myyard.internal", false),
            ("example.org", false),
        ] {
            assert_eq!(resolver.owns(host), ours, "{host}");
        }
    }
}
