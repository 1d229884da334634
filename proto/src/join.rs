//! How a second machine joins a cluster: the token that an operator carries there, and what the joined
//! machine's node says to the first machine's gate.
//!
//! ```text
//! new machine                                  first machine's gate (TLS 1.3, its fingerprint in the token)
//!   Join      token, address, roles     ──►    a name, a key of its own, ports and logins
//!   Standing  name, key, what it runs   ──►    the logins of its daemons as the cluster's roles say
//!   Connect   name, key, a service      ──►    from then on the connection is the service's
//!   Leave     name, key                 ──►    its roles are taken away, its daemons end
//!   Farewell  name, key                 ──►    name and key are forgotten
//! ```
//!
//! Each connection carries one request, a JSON document in a line, and one answer.

use crate::ids::ComponentId;
use crate::roles::Roles;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

/// Where a gate listens unless another port is said.
pub const GATE_PORT: u16 = 7443;
/// Longest line of a request or an answer.
pub const LONGEST_LINE: u64 = 256 * 1024;
/// The router as the sandboxes of a joined machine reach it; other services have the names of their ports.
pub const ROUTER: &str = "router";
/// Where agents call the SSH proxy.
pub const SSH_CALLS: &str = "ssh-calls";

const FORM: &str = "yard-join-1";

/// The address at which other machines reach a cluster's first one, or that none do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertised(pub Option<SocketAddrV4>);

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Advertised, String> {
        if text == "off" {
            return Ok(Advertised(None));
        }
        let address = match text.parse::<Ipv4Addr>() {
            Ok(address) => SocketAddrV4::new(address, GATE_PORT),
            Err(_) => text.parse::<SocketAddrV4>().map_err(|_| {
                format!("{text:?} is no IPv4 address with or without a port, and not `off`")
            })?,
        };
        let reachable = !address.ip().is_unspecified() && !address.ip().is_multicast();
        if !reachable || address.port() == 0 {
            return Err(format!(
                "{text} is no address at which other machines reach this one"
            ));
        }
        Ok(Advertised(Some(address)))
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// What one machine needs to join, once. Whoever has it can join in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub gate: SocketAddrV4,
    /// Unix seconds.
    pub expires: u64,
    /// SHA-256 of the gate's certificate, in hex.
    pub fingerprint: String,
    /// What the gate knows it by.
    pub id: String,
    pub secret: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("gate", &self.gate)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token {
            gate,
            expires,
            fingerprint,
            id,
            secret,
        } = self;
        write!(f, "{FORM}/{gate}/{expires}/{fingerprint}/{id}/{secret}")
    }
}

/// Why a text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("this is no token: `yard node token` on the cluster's first machine prints one")]
    NoToken,
    #[error("a part of the token is missing or changed: copy the whole line")]
    Damaged,
}

const DIGEST_DIGITS: usize = 64;
const ID_DIGITS: usize = 16;

impl FromStr for Token {
    type Err = TokenError;

    /// The parts at the end have a fixed length, so that a line that was cut is seen.
    fn from_str(text: &str) -> Result<Token, TokenError> {
        let parts: Vec<&str> = text.trim().split('/').collect();
        if parts.first() != Some(&FORM) {
            return Err(TokenError::NoToken);
        }
        let [_, gate, expires, fingerprint, id, secret] = parts[..] else {
            return Err(TokenError::Damaged);
        };
        let hex = |text: &str, digits: usize| {
            let fine = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            fine.then(|| text.to_ascii_lowercase())
                .ok_or(TokenError::Damaged)
        };
        Ok(Token {
            gate: gate.parse().map_err(|_| TokenError::Damaged)?,
            expires: expires.parse().map_err(|_| TokenError::Damaged)?,
            fingerprint: hex(fingerprint, DIGEST_DIGITS)?,
            id: hex(id, ID_DIGITS)?,
            secret: hex(secret, DIGEST_DIGITS)?,
        })
    }
}

/// Who a joined machine is, and that it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub machine: ComponentId,
    pub key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// What a machine says to a gate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum GateRequest {
    Join(JoinRequest),
    /// Asks how the machine stands in the cluster. `holds`: the daemons it still has.
    Standing {
        identity: Identity,
        holds: Roles,
    },
    /// One of the services that [`Standing`] names.
    Connect {
        identity: Identity,
        service: String,
    },
    Leave {
        identity: Identity,
    },
    Farewell {
        identity: Identity,
    },
}

/// A new machine, with the proof that it may join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    pub token: String,
    pub secret: String,
    /// Where the cluster's routers reach its instances.
    pub address: Ipv4Addr,
    /// One daemon of each; none said: what the token allows.
    pub roles: Vec<String>,
}

/// The answer of a gate.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum GateAnswer {
    Joined {
        identity: Identity,
        cluster: JoinedCluster,
        standing: Standing,
    },
    Standing(Standing),
    /// What follows is the service's.
    Connected,
    /// It is done.
    Done,
    Refused(Refused),
}

/// Why a gate does not do it; a sentence for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    pub why: String,
    /// The cluster does not know this machine any more: asking again is of no use.
    #[serde(default)]
    pub withdrawn: bool,
}

/// What a joined machine knows of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedCluster {
    pub id: String,
    pub domain: String,
    /// Where apps answer.
    pub port: u16,
}

/// How a machine stands in its cluster now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The daemons it is to have.
    pub roles: Roles,
    /// What the gate connects it to, with the ports on the first machine.
    pub services: BTreeMap<String, u16>,
    /// Its node's password to the cluster store, as the user of the machine's name.
    pub store_password: String,
    /// Of the daemons of `roles`, and of those it still has.
    pub logins: BTreeMap<ComponentId, Login>,
    /// From where routers come to its instances.
    pub routers: Vec<Ipv4Addr>,
}

/// A daemon's passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    pub bus: String,
    pub store: String,
}

/// What `cluster.json` of a joined machine says of the cluster that it joined, and of its place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The cluster's id; the machine has one of its own for what it makes here.
    pub cluster: String,
    pub gate: SocketAddrV4,
    pub fingerprint: String,
    /// Where routers reach its instances.
    pub address: Ipv4Addr,
    pub zone: String,
    pub routers: Vec<Ipv4Addr>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Role;

    fn token() -> Token {
        Token {
            gate: "192.0.2.7:7443".parse().expect("an address"),
            expires: 1_800_000_000,
            fingerprint: "ab".repeat(32),
            id: "0123456789abcdef".into(),
            secret: "cd".repeat(32),
        }
    }

    #[test]
    fn a_token_reads_back_and_every_cut_of_it_is_seen() {
        let text = token().to_string();
        assert_eq!(text.parse(), Ok(token()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
        for end in 0..text.len() {
            let cut = text[..end].parse::<Token>();
            assert!(cut.is_err(), "{}", &text[..end]);
        }
        assert_eq!("hello".parse::<Token>(), Err(TokenError::NoToken));
        let changed = text.replace("cdcd", "cdxd");
        assert_eq!(changed.parse::<Token>(), Err(TokenError::Damaged));
    }

    #[test]
    fn a_token_is_not_told_by_accident() {
        let shown = format!("{:?}", token());
        assert!(
            !shown.contains("cdcd") && shown.contains("192.0.2.7"),
            "{shown}"
        );
    }

    #[test]
    fn an_advertised_address_has_a_port_or_the_usual_one() {
        let port = |text: &str| {
            text.parse::<Advertised>()
                .map(|it| it.0.map(|it| it.port()))
        };
        assert_eq!(port("192.0.2.7"), Ok(Some(GATE_PORT)));
        assert_eq!(port("192.0.2.7:70"), Ok(Some(70)));
        assert_eq!(port("off"), Ok(None));
        for wrong in ["", "here", "0.0.0.0", "192.0.2.7:0", "::1"] {
            assert!(wrong.parse::<Advertised>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn requests_and_answers_read_back() {
        let identity = Identity {
            machine: ComponentId::new("machine-2").expect("a name"),
            key: "k".into(),
        };
        let request = GateRequest::Standing {
            identity,
            holds: Roles::counted([(Role::Dea, 1)]),
        };
        let text = serde_json::to_string(&request).expect("a line");
        assert_eq!(
            text,
            r#"{"op":"standing","identity":{"machine":"machine-2","key":"k"},"holds":{"dea":[1]}}"#
        );
        assert!(serde_json::from_str::<GateRequest>(&text).is_ok_and(|read| read == request));
        let refused = GateAnswer::Refused(Refused {
            why: "no".into(),
            withdrawn: true,
        });
        let text = serde_json::to_string(&refused).expect("a line");
        assert!(serde_json::from_str::<GateAnswer>(&text).is_ok_and(|read| read == refused));
    }
}
