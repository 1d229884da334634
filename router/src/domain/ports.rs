//! Which ports are to be open: those of the table that this router may open, and no others.

use super::table::Ports;
use proto::ports::Port;
use std::collections::BTreeSet;

/// What is to be done about ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub open: Vec<Port>,
    pub close: Vec<Port>,
    /// Routes have them, but operators did not give them to routers.
    pub outside: Vec<Port>,
}

/// A route keeps its port open while it is known, also without an instance: one that crashed comes back, and meanwhile
/// the port must not become somebody else's.
pub fn plan(routes: &Ports, open: &BTreeSet<Port>, allows: impl Fn(Port) -> bool) -> Plan {
    let (allowed, outside): (BTreeSet<Port>, BTreeSet<Port>) =
        routes.keys().copied().partition(|port| allows(*port));
    Plan {
        open: allowed.difference(open).copied().collect(),
        close: open.difference(&allowed).copied().collect(),
        outside: outside.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::announcement::Announcement;
    use crate::domain::table::Registry;
    use proto::bus::router::Registration;
    use proto::ports::Transport;

    fn announced(uri: &str) -> Announcement {
        let message = Registration {
            uris: vec![uri.into()],
            host: "10.0.0.1".into(),
            port: Some(8080),
            app: Some("app-1".into()),
            private_instance_id: Some("i-1".into()),
            ..Registration::default()
        };
        Announcement::read(&message, false).expect("a registration")
    }

    fn tcp(number: u16) -> Port {
        Port {
            transport: Transport::Tcp,
            number,
        }
    }

    #[test]
    fn ports_open_with_their_routes_and_close_after_them() {
        let mut registry = Registry::default();
        let first = announced("tcp://a.example:10001");
        registry.register(&first, 0);
        registry.register(&announced("tcp://a.example:22"), 0);
        registry.register(&announced("a.example"), 0);
        let allows = |port: Port| port.number > 1000;
        let planned = |registry: &Registry, open: &[Port]| {
            let open = open.iter().copied().collect();
            plan(registry.table().ports(), &open, allows)
        };
        let begun = planned(&registry, &[]);
        let expected = Plan {
            open: vec![tcp(10001)],
            close: vec![],
            outside: vec![tcp(22)],
        };
        assert_eq!(begun, expected);
        let steady = planned(&registry, &[tcp(10001)]);
        assert_eq!((steady.open, steady.close), (vec![], vec![]));
        // It crashed: its successor finds the port open.
        let crashed = Announcement {
            returns: true,
            ..first.clone()
        };
        registry.unregister(&crashed, 1000);
        assert!(planned(&registry, &[tcp(10001)]).close.is_empty());
        registry.unregister(&first, 2000);
        assert_eq!(planned(&registry, &[tcp(10001)]).close, [tcp(10001)]);
    }
}
