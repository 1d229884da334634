//! What a load balancer says before the client's own bytes: the PROXY protocol, in both its versions.
//!
//! ```text
//!   PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n          (at most 107 bytes)
//!   0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A  21 11  00 0C  addresses, ports, more
//! ```
//!
//! Whoever can reach the entrance can say what he likes there: it is only believed where the operator says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const LINE: &[u8] = b"PROXY ";
const LONGEST_LINE: usize = 107;
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const HEAD: usize = 16;
/// More is no header, whatever its length field says.
const LONGEST: usize = 2048;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// No header: the client's own.
    Nothing,
    /// It can be either, or is a header that goes on. So many bytes more can be read without taking
    /// any of the client's.
    Incomplete { more: usize },
    /// A header of this length. Without a source it is the balancer's own connection, or of no use.
    Header {
        length: usize,
        source: Option<SocketAddr>,
    },
    /// A header that cannot be read.
    Malformed,
}

/// Reads what has come so far.
pub fn read(bytes: &[u8]) -> Said {
    if begins(bytes, LINE) {
        return read_line(bytes);
    }
    if begins(bytes, &SIGNATURE) {
        return read_binary(bytes);
    }
    Said::Nothing
}

/// Whether one begins with the other, as far as both go.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    bytes.iter().zip(with).all(|(one, other)| one == other)
}

fn read_line(bytes: &[u8]) -> Said {
    if bytes.len() < LINE.len() {
        return Said::Incomplete {
            more: LINE.len() - bytes.len(),
        };
    }
    let searched = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
        return match searched.len() {
            LONGEST_LINE => Said::Malformed,
            _ => Said::Incomplete { more: 1 },
        };
    };
    let text = bytes[..end]
        .strip_suffix(b"\r")
        .and_then(|line| std::str::from_utf8(line).ok());
    let Some(text) = text else {
        return Said::Malformed;
    };
    let length = end + 1;
    let fields: Vec<&str> = text.split(' ').collect();
    let source = match fields[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let address = |text: &str| {
                let address: IpAddr = text.parse().ok()?;
                (address.is_ipv4() == (family == "TCP4")).then_some(address)
            };
            let port = |text: &str| text.parse::<u16>().ok();
            let all = (
                address(source),
                address(destination),
                port(source_port),
                port(destination_port),
            );
            let (Some(source), Some(_), Some(port), Some(_)) = all else {
                return Said::Malformed;
            };
            Some(SocketAddr::new(source, port))
        }
        _ => return Said::Malformed,
    };
    Said::Header { length, source }
}

fn read_binary(bytes: &[u8]) -> Said {
    if bytes.len() < HEAD {
        return Said::Incomplete {
            more: HEAD - bytes.len(),
        };
    }
    let (command, family) = (bytes[12], bytes[13]);
    let length = HEAD + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if command >> 4 != 2 || length > LONGEST {
        return Said::Malformed;
    }
    if bytes.len() < length {
        return Said::Incomplete {
            more: length - bytes.len(),
        };
    }
    let addresses = &bytes[HEAD..length];
    let source = match (command & 0xf, family) {
        (0, _) => None,
        (1, 0x11) => match addresses {
            [a, b, c, d, _, _, _, _, high, low, _, _, ..] => {
                let address = Ipv4Addr::new(*a, *b, *c, *d);
                let port = u16::from_be_bytes([*high, *low]);
                Some(SocketAddr::new(address.into(), port))
            }
            _ => return Said::Malformed,
        },
        (1, 0x21) => match addresses.first_chunk::<36>() {
            Some(addresses) => {
                let mut address = [0; 16];
                address.copy_from_slice(&addresses[..16]);
                let port = u16::from_be_bytes([addresses[32], addresses[33]]);
                Some(SocketAddr::new(Ipv6Addr::from(address).into(), port))
            }
            None => return Said::Malformed,
        },
        // Not over TCP, or not told.
        (1, _) => None,
        _ => return Said::Malformed,
    };
    Said::Header { length, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str, source: Option<&str>) {
        let wanted = Said::Header {
            length: text.len(),
            source: source.map(|source| source.parse().unwrap()),
        };
        assert_eq!(read(text.as_bytes()), wanted, "{text:?}");
        // What follows is the client's, and as long as it is not whole it says how much it may take.
        assert_eq!(read(format!("{text}GET / ").as_bytes()), wanted);
        for end in 0..text.len() {
            let part = &text.as_bytes()[..end];
            let Said::Incomplete { more } = read(part) else {
                panic!("{part:?}: {:?}", read(part));
            };
            assert!(more > 0 && end + more <= text.len(), "{part:?}: {more}");
        }
    }

    #[test]
    fn a_line_says_who_the_client_is() {
        header(
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n",
            Some("192.0.2.1:56324"),
        );
        header(
            "PROXY TCP6 2001:db8::1 ::1 56324 443\r\n",
            Some("[2001:db8::1]:56324"),
        );
        header("PROXY UNKNOWN\r\n", None);
        header("PROXY UNKNOWN ::1 ::1 1 2\r\n", None);
    }

    #[test]
    fn what_is_no_header_is_the_clients() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "PROPFIND /",
            "PRI * ",
            "\r\nGET",
            "\u{16}\u{3}",
        ] {
            assert_eq!(read(text.as_bytes()), Said::Nothing, "{text:?}");
        }
        assert_eq!(read(b""), Said::Incomplete { more: 6 });
        assert_eq!(read(b"PR"), Said::Incomplete { more: 4 });
    }

    #[test]
    fn a_line_that_cannot_be_read_is_malformed() {
        for text in [
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 66324 443\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.1.1.1 1.1.1.1 1 2\r\n",
            "PROXY UDP4 1.1.1.1 1.1.1.1 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(read(text.as_bytes()), Said::Malformed, "{text:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read(long.as_bytes()), Said::Malformed);
    }

    #[test]
    fn the_binary_form_says_the_same() {
        let head = |command: u8, family: u8, addresses: &[u8]| {
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend([command, family]);
            bytes.extend((addresses.len() as u16).to_be_bytes());
            bytes.extend_from_slice(addresses);
            bytes
        };
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
        let bytes = head(0x21, 0x11, &four);
        let source = Some("192.0.2.1:56324".parse().unwrap());
        let length = bytes.len();
        assert_eq!(read(&bytes), Said::Header { length, source });
        assert_eq!(read(&bytes[..20]), Said::Incomplete { more: length - 20 });
        assert_eq!(read(&bytes[..4]), Said::Incomplete { more: 12 });
        let mut six = [0; 40];
        (six[15], six[32], six[33]) = (1, 1, 2);
        let bytes = head(0x21, 0x21, &six);
        let source = Some("[::1]:258".parse().unwrap());
        let length = bytes.len();
        assert_eq!(read(&bytes), Said::Header { length, source });
        // The balancer's own, and sockets of another kind.
        for (command, family) in [(0x20, 0), (0x21, 0x31)] {
            let length = HEAD;
            let source = None;
            assert_eq!(
                read(&head(command, family, &[])),
                Said::Header { length, source }
            );
        }
        for bytes in [
            head(0x11, 0x11, &four),
            head(0x22, 0x11, &four),
            head(0x21, 0x11, &four[..8]),
            head(0x21, 0x21, &four),
            head(0x21, 0x11, &[0; 3000]),
        ] {
            assert_eq!(read(&bytes), Said::Malformed);
        }
    }
}
