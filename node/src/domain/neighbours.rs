//! What keeps this machine's sandboxes from instances on other machines.
//!
//! An agent's own packet filter keeps its sandboxes apart. To a joined machine a sandbox's packets would come from this
//! machine's address, as its routers' do, and be let in: so they are refused here, before they leave.

use std::net::Ipv4Addr;

use super::network::{MAX_DEAS, outside_ports};

/// The name of the table; with it, it is found among the leftovers of a cluster.
pub fn name(cluster: &str) -> String {
    format!("stackyard_{cluster}_machines")
}

/// The text that makes the table as it is to be, in one transaction; without machines there is none.
pub fn table(cluster: &str, interfaces: &str, machines: &[Ipv4Addr]) -> String {
    let name = name(cluster);
    // Deleting needs the table to exist; adding first makes it so.
    let fresh = format!("add table inet {name}\ndelete table inet {name}\n");
    if machines.is_empty() {
        return fresh;
    }
    let machines: Vec<String> = machines.iter().map(Ipv4Addr::to_string).collect();
    let machines = machines.join(", ");
    let (first, last) = (outside_ports(1).start, outside_ports(MAX_DEAS).end - 1);
    let rules = ["tcp", "udp"].map(|protocol| {
        format!(
            "add rule inet {name} forward iifname \"{interfaces}*\" ip daddr {{ {machines} }} {protocol} dport {first}-{last} reject\n"
        )
    });
    format!(
        "{fresh}add table inet {name}\n\
         add chain inet {name} forward {{ type filter hook forward priority -5 ; policy accept ; }}\n\
         {}",
        rules.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_are_kept_from_instances_of_every_joined_machine() {
        let machines = ["192.0.2.2", "192.0.2.3"].map(|text| text.parse().expect("an address"));
        let text = table("c0ffee12", "syc0", &machines);
        for protocol in ["tcp", "udp"] {
            let rule = format!(
                "stackyard_c0ffee12_machines forward iifname \"syc0*\" ip daddr {{ 192.0.2.2, 192.0.2.3 }} {protocol} dport 20000-31999 reject"
            );
            assert!(text.contains(&rule), "{text}");
        }
        assert!(!table("c0ffee12", "syc0", &[]).contains("chain"));
    }
}
