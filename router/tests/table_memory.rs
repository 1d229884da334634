//! What an endpoint costs in memory. (A program of its own: what it grows by is the table's.)

use proto::bus::router::Registration;
use router::domain::announcement::Announcement;
use router::domain::table::Registry;

const ROUTES: u32 = 30_000;
const INSTANCES: u32 = 3;
/// With its part of the route and of the indexes: 100,000 routes of three instances are to need less than 150 MB.
const MOST: u64 = 500;

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.expect("its memory is told") * 1024
}

/// As an agent registers an instance of an app.
fn instance(route: u32, place: u32) -> Registration {
    let guid = |kind: u32| format!("{kind:08x}-5eed-4b1d-8a7e-{route:012x}");
    let [_, a, b, c] = route.to_be_bytes();
    Registration {
        uris: vec![format!("h{route}.apps.test")],
        host: format!("10.{a}.{b}.{c}"),
        port: Some(61_001 + place as u16),
        app: Some(guid(1)),
        private_instance_id: Some(guid(2 + place)),
        private_instance_index: Some(place.to_string()),
        tags: [("component", "dea-1".to_string()), ("process_id", guid(1))]
            .map(|(name, value)| (name.to_string(), value))
            .into(),
        ..Registration::default()
    }
}

#[test]
fn an_endpoint_takes_little_memory() {
    let mut registry = Registry::default();
    let before = resident();
    for route in 0..ROUTES {
        for place in 0..INSTANCES {
            let message = instance(route, place);
            let read = Announcement::read(&message, false).expect("a registration");
            assert_eq!(registry.register(&read, 0).added, 1);
        }
    }
    let each = (resident() - before) / u64::from(ROUTES * INSTANCES);
    assert!(each <= MOST, "{each} bytes for each endpoint");
    assert_eq!(registry.table().count(), ROUTES as usize);
}
