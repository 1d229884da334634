//! Routes that have a port of the routers to themselves, instead of a name in requests.
//!
//! TCP and UDP say no host: the port alone tells one route from another. So ports are given out, from ranges that
//! operators set, and a port is one route's in the whole cluster, whatever its domain. On the bus such a route is the
//! uri `tcp://domain:port` or `udp://domain:port`: the scheme is what tells it from a name of HTTP, whose port nobody
//! minds (`bus/router.rs`).

use std::fmt;
use std::ops::RangeInclusive;

/// What is carried to and from a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub const ALL: [Transport; 2] = [Transport::Tcp, Transport::Udp];

    /// As the API and the bus write it.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }

    pub fn parse(name: &str) -> Option<Transport> {
        Transport::ALL
            .into_iter()
            .find(|transport| transport.name() == name)
    }

    /// The name of the router group that has its ports; its guid too: there are no others.
    pub fn group(self) -> &'static str {
        match self {
            Transport::Tcp => "default-tcp",
            Transport::Udp => "default-udp",
        }
    }

    pub fn of_group(group: &str) -> Option<Transport> {
        Transport::ALL
            .into_iter()
            .find(|transport| transport.group() == group)
    }
}

/// A port of the routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    pub transport: Transport,
    pub number: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport.name(), self.number)
    }
}

/// The uri of a route with a port.
pub fn uri(transport: Transport, domain: &str, port: u16) -> String {
    format!("{}://{domain}:{port}", transport.name())
}

/// Takes such a uri apart: the port and the domain; `None` for any other uri.
pub fn parse_uri(uri: &str) -> Option<(Port, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let (domain, number) = rest.rsplit_once(':')?;
    let port = Port {
        transport: Transport::parse(scheme)?,
        number: number.parse().ok().filter(|number| *number != 0)?,
    };
    (!domain.is_empty() && !domain.contains(['/', '?', '#'])).then_some((port, domain))
}

/// What people and apps are shown of a uri on the bus: `domain:port` where there is a port.
pub fn shown(uri: &str) -> &str {
    match parse_uri(uri).and(uri.split_once("://")) {
        Some((_, rest)) => rest,
        None => uri,
    }
}

/// The ports that may be given out: `10000-10099` or `10000-10099,10500`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortRanges(Vec<RangeInclusive<u16>>);

impl PortRanges {
    /// Reads a list of ports and ranges of them. What is none is left out: the schema refuses it.
    pub fn read(text: &str) -> PortRanges {
        PortRanges(text.split(',').filter_map(range).collect())
    }

    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
    }

    /// One that is free. `random` decides which: ports are hard to guess from each other, and two that ask at once
    /// rarely want the same.
    pub fn choose(&self, is_taken: impl Fn(u16) -> bool, random: u64) -> Option<u16> {
        let mut free: Vec<u16> = self.0.iter().cloned().flatten().collect();
        free.sort_unstable();
        free.dedup();
        free.retain(|port| !is_taken(*port));
        let many = u64::try_from(free.len()).ok().filter(|many| *many > 0)?;
        usize::try_from(random % many)
            .ok()
            .and_then(|place| free.get(place).copied())
    }
}

/// A port, or `first-last`. Nothing below 1024: those are the machine's.
pub fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (1024 <= first && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_with_a_scheme_of_ours_is_a_port() {
        let tcp = Port {
            transport: Transport::Tcp,
            number: 10101,
        };
        assert_eq!(
            uri(Transport::Tcp, "a.example", 10101),
            "tcp://a.example:10101"
        );
        assert_eq!(parse_uri("tcp://a.example:10101"), Some((tcp, "a.example")));
        for other in [
            "a.example:10101",
            "http://a.example:80",
            "tcp://a.example",
            "tcp://:10101",
            "tcp://a.example:0",
            "tcp://a.example:70000",
            "tcp://a.example/x:1",
            "TCP://a.example:1",
            "",
        ] {
            assert_eq!(parse_uri(other), None, "{other}");
        }
        assert_eq!(shown("tcp://a.example:10101"), "a.example:10101");
        assert_eq!(shown("a.example/x"), "a.example/x");
        for transport in Transport::ALL {
            assert_eq!(Transport::parse(transport.name()), Some(transport));
            assert_eq!(Transport::of_group(transport.group()), Some(transport));
        }
    }

    #[test]
    fn a_port_is_chosen_among_the_free_ones_until_there_is_none() {
        let ranges = PortRanges::read("10000-10002, 10002-10003,20000");
        let mut taken = Vec::new();
        for random in [7, 11, 0, 3, u64::MAX] {
            let port = ranges
                .choose(|port| taken.contains(&port), random)
                .expect("one is free");
            assert!(ranges.contains(port) && !taken.contains(&port), "{port}");
            taken.push(port);
        }
        taken.sort_unstable();
        assert_eq!(taken, [10000, 10001, 10002, 10003, 20000]);
        assert_eq!(ranges.choose(|port| taken.contains(&port), 5), None);
        assert_eq!(PortRanges::read("").choose(|_| false, 5), None);
        assert!(!ranges.contains(10004));
    }

    #[test]
    fn ranges_have_an_order_and_leave_the_machines_ports_alone() {
        assert_eq!(range("1024-1024"), Some(1024..=1024));
        assert_eq!(range(" 2000 - 65535 "), Some(2000..=65535));
        for wrong in ["80", "1000-2000", "3000-2000", "1-", "x", "2000-70000", ""] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }
}
