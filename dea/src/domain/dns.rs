//! Questions from the sandboxes: names of this cluster are answered here, all others passed on.
//!
//! A sandbox cannot use the machine's resolver (it may be one on the loopback, dead in another
//! network namespace), and the cluster's names are in no real zone. So the agent answers
//! `<domain>` and `*.<domain>` with its gateway, where the router is, and hands every other packet,
//! as it is, to the machine's own resolvers.
//!
//! Only as much of RFC 1035 as that needs: one question, no compression (a question's name is
//! never compressed), answers built by copying the question. Whatever cannot be read is dropped:
//! answering garbage helps only those who forge senders.

use std::net::Ipv4Addr;

/// Seconds an answer may be remembered: short, because a cluster's names come and go.
const TTL: u32 = 10;
const HEADER: usize = 12;
/// Largest datagram taken.
pub const LARGEST: usize = 4096;

const TYPE_A: u16 = 1;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Answer(Vec<u8>),
    /// Not ours: ask the machine's resolvers.
    Forward,
    /// No question.
    Drop,
}

/// The zone this agent answers for.
#[derive(Debug, Clone)]
pub struct Zone {
    /// Lower case, without dots at the ends.
    domain: String,
    gateway: Ipv4Addr,
}

struct Question {
    name: String,
    kind: u16,
    class: u16,
    /// Where the question section ends.
    end: usize,
}

impl Zone {
    pub fn new(domain: &str, gateway: Ipv4Addr) -> Zone {
        Zone {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            gateway,
        }
    }

    pub fn decide(&self, packet: &[u8]) -> Decision {
        let Some(question) = question(packet) else {
            return Decision::Drop;
        };
        if !self.holds(&question.name) {
            return Decision::Forward;
        }
        let address = question.class == CLASS_IN && matches!(question.kind, TYPE_A | TYPE_ANY);
        Decision::Answer(self.answer(packet, question.end, address))
    }

    fn holds(&self, name: &str) -> bool {
        match name.strip_suffix(self.domain.as_str()) {
            Some("") => true,
            Some(rest) => rest.ends_with('.'),
            None => false,
        }
    }

    /// The question with our address, or with no answer where another type was asked: the name
    /// exists, it has no such record (an error here would make resolvers give up on the name).
    fn answer(&self, packet: &[u8], end: usize, address: bool) -> Vec<u8> {
        let mut reply = packet[..end].to_vec();
        // Response, authoritative, recursion as desired and available, no error.
        reply[2] = 0b1000_0100 | (packet[2] & 0b0000_0001);
        reply[3] = 0b1000_0000;
        reply[6..8].copy_from_slice(&u16::from(address).to_be_bytes());
        reply[8..12].fill(0);
        if address {
            // A pointer to the question's name.
            reply.extend([0xc0, HEADER as u8]);
            reply.extend(TYPE_A.to_be_bytes());
            reply.extend(CLASS_IN.to_be_bytes());
            reply.extend(TTL.to_be_bytes());
            reply.extend(4u16.to_be_bytes());
            reply.extend(self.gateway.octets());
        }
        reply
    }
}

/// "Nobody answered": so that a program fails at once instead of waiting.
pub fn failure(packet: &[u8]) -> Option<Vec<u8>> {
    let question = question(packet)?;
    let mut reply = packet[..question.end].to_vec();
    reply[2] = 0b1000_0000 | (packet[2] & 0b0000_0001);
    reply[3] = 0b1000_0010;
    reply[6..12].fill(0);
    Some(reply)
}

/// Whether `reply` can be the answer to `packet`.
pub fn belongs(packet: &[u8], reply: &[u8]) -> bool {
    reply.len() >= HEADER && packet.len() >= 2 && reply[..2] == packet[..2] && reply[2] & 0x80 != 0
}

/// The one question of a standard query.
fn question(packet: &[u8]) -> Option<Question> {
    if packet.len() < HEADER || packet.len() > LARGEST {
        return None;
    }
    let is_query = packet[2] & 0b1111_1000 == 0;
    let one_question = packet[4..6] == [0, 1];
    if !is_query || !one_question {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // 64 and more would be a pointer or a reserved kind.
        if length > 63 || name.len() + length > 254 {
            return None;
        }
        let label = packet.get(at..at + length)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        // A dot or a strange byte within a label can be in no name of ours: it must not look like one.
        name.extend(label.iter().map(|byte| match byte {
            byte if byte.is_ascii_graphic() && *byte != b'.' => {
                char::from(byte.to_ascii_lowercase())
            }
            _ => '\u{fffd}',
        }));
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    let class = u16::from_be_bytes(packet.get(at + 2..at + 4)?.try_into().ok()?);
    Some(Question {
        name,
        kind,
        class,
        end: at + 4,
    })
}

/// The resolvers named in a `resolv.conf`, at most three; IPv4 and IPv6.
pub fn resolvers(resolv_conf: &str) -> Vec<std::net::IpAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .take(3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            packet.push(label.len() as u8);
            packet.extend(label.as_bytes());
        }
        packet.push(0);
        packet.extend(kind.to_be_bytes());
        packet.extend(CLASS_IN.to_be_bytes());
        packet
    }

    fn zone() -> Zone {
        Zone::new("Yard.Internal.", Ipv4Addr::new(10, 1, 2, 3))
    }

    #[test]
    fn names_of_the_cluster_are_the_gateway() {
        for name in ["yard.internal", "api.yard.internal", "A.B.YARD.internal"] {
            let packet = query(name, TYPE_A);
            let Decision::Answer(reply) = zone().decide(&packet) else {
                panic!("{name} is ours")
            };
            assert_eq!(reply[..2], packet[..2]);
            assert_eq!(reply[2] & 0x80, 0x80);
            assert_eq!(reply[3] & 0x0f, 0);
            assert_eq!(reply[6..8], [0, 1]);
            assert_eq!(reply[reply.len() - 4..], [10, 1, 2, 3]);
            assert!(belongs(&packet, &reply));
        }
    }

    #[test]
    fn another_type_of_our_names_is_empty_not_an_error() {
        let packet = query("api.yard.internal", 28);
        let Decision::Answer(reply) = zone().decide(&packet) else {
            panic!("it is ours")
        };
        assert_eq!((reply[3] & 0x0f, &reply[6..8]), (0, &[0, 0][..]));
        assert_eq!(reply.len(), packet.len());
    }

    #[test]
    fn an_extension_record_is_not_copied_into_the_answer() {
        let mut packet = query("api.yard.internal", TYPE_A);
        packet[11] = 1;
        let end = packet.len();
        packet.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        let Decision::Answer(reply) = zone().decide(&packet) else {
            panic!("it is ours")
        };
        assert_eq!(reply.len(), end + 16);
        assert_eq!(reply[10..12], [0, 0]);
    }

    #[test]
    fn other_names_are_passed_on() {
        for name in [
            "example.org",
            "notyard.internal",
            "internal",
            "yard.internal.example.org",
        ] {
            assert_eq!(
                zone().decide(&query(name, TYPE_A)),
                Decision::Forward,
                "{name}"
            );
        }
        assert_eq!(
            zone().decide(&query("x\u{1}yard.internal", TYPE_A)),
            Decision::Forward
        );
    }

    #[test]
    fn a_dot_within_a_label_does_not_make_a_name_ours() {
        let mut packet = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 15];
        packet.extend(b"a.yard.internal");
        packet.extend([0, 0, 1, 0, 1]);
        assert_eq!(zone().decide(&packet), Decision::Forward);
    }

    #[test]
    fn what_is_no_question_is_dropped() {
        let mut answer = query("api.yard.internal", TYPE_A);
        answer[2] |= 0x80;
        let mut two = query("api.yard.internal", TYPE_A);
        two[5] = 2;
        let mut pointer = query("api.yard.internal", TYPE_A);
        pointer[12] = 0xc0;
        let whole = query("api.yard.internal", TYPE_A);
        for packet in [
            &answer[..],
            &two,
            &pointer,
            &whole[..whole.len() - 1],
            &[],
            &[0; 11],
        ] {
            assert_eq!(zone().decide(packet), Decision::Drop, "{packet:?}");
            assert_eq!(failure(packet), None);
        }
        let failed = failure(&whole).expect("a question");
        assert_eq!(failed[3] & 0x0f, 2);
    }

    #[test]
    fn resolvers_are_read_as_the_system_does() {
        let text = "# x\nsearch a\nnameserver 10.0.0.2\n nameserver\t::1 # y\nnameserver nonsense\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n";
        let found: Vec<String> = resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.2", "::1", "1.1.1.1"]);
    }

    proptest! {
        #[test]
        fn no_packet_breaks_it(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = zone().decide(&packet);
            let _ = failure(&packet);
        }

        #[test]
        fn a_broken_question_breaks_nothing(position in 0usize..34, byte in any::<u8>()) {
            let mut packet = query("api.yard.internal", TYPE_A);
            let length = packet.len();
            packet[position % length] = byte;
            let _ = zone().decide(&packet);
        }
    }
}
