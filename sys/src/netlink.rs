//! A netlink client just large enough for a veth pair, its addresses and routes; and for
//! [`crate::packet_filter`].
//!
//! A netlink socket belongs to the network namespace of the thread that opened it, for ever: the
//! supervisor enters a sandbox's namespace for the moment of opening, and configures it from
//! outside afterwards. Running `ip` instead costs a process (3 ms) per batch.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;

const IFLA_MTU: u16 = 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTNH_F_ONLINK: u32 = 4;

/// What a route does with its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The neighbour itself is on this link; packets of ours carry `source`.
    Link { index: u32, source: Ipv4Addr },
    /// Through a gateway that is reachable on this link whatever its address.
    Gateway { index: u32, gateway: Ipv4Addr },
    /// Nowhere: the sender is told.
    Unreachable,
}

pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// A message under construction: header, fixed part, attributes.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// One that is to be acknowledged.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        Message::unanswered(kind, ACK | flags, fixed)
    }

    pub(crate) fn unanswered(kind: u16, flags: u16, fixed: &[u8]) -> Message {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        Message(bytes)
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Message {
        self.0
            .extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
        self
    }

    pub(crate) fn name(&mut self, kind: u16, name: &str) -> &mut Message {
        let mut bytes = name.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    pub(crate) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) -> &mut Message {
        let start = self.0.len();
        self.0.extend_from_slice(&[0, 0]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// The kernel's `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// The kernel's `struct rtmsg`.
fn route_header(prefix: u8, scope: u8, kind: u8, flags: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = libc::AF_INET as u8;
    bytes[1] = prefix;
    bytes[4] = libc::RT_TABLE_MAIN;
    bytes[5] = libc::RTPROT_BOOT;
    bytes[6] = scope;
    bytes[7] = kind;
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

impl Netlink {
    /// Opens a socket in the network namespace that the calling thread is in.
    pub fn open() -> io::Result<Netlink> {
        Netlink::open_for(SockProtocol::NetlinkRoute)
    }

    pub(crate) fn open_for(protocol: SockProtocol) -> io::Result<Netlink> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
        Ok(Netlink {
            socket,
            sequence: 0,
        })
    }

    /// Sends a request and waits for its acknowledgement; returns the answer that came before it.
    fn call(&mut self, message: Message) -> io::Result<Vec<u8>> {
        self.call_all([message])
    }

    /// Sends requests in one piece, of which one is acknowledged, and waits for that or for the failure of any.
    pub(crate) fn call_all<const COUNT: usize>(
        &mut self,
        messages: [Message; COUNT],
    ) -> io::Result<Vec<u8>> {
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence += 1;
            bytes.extend_from_slice(&message.finish(self.sequence));
        }
        let ours = first..=self.sequence;
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0u8; 32 * 1024];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some((header, body, next)) = split_message(rest) {
                rest = next;
                if !ours.contains(&header.sequence) {
                    continue;
                }
                if header.kind == libc::NLMSG_ERROR as u16 {
                    let code = body
                        .first_chunk::<4>()
                        .map_or(libc::EPROTO, |c| -i32::from_ne_bytes(*c));
                    return match code {
                        0 => Ok(answer),
                        code => Err(io::Error::from_raw_os_error(code)),
                    };
                }
                answer = body.to_vec();
            }
        }
    }

    /// The number of the link with this name, if there is one.
    pub fn link_index(&mut self, name: &str) -> io::Result<Option<u32>> {
        let mut message = Message::new(libc::RTM_GETLINK, 0, &link_header(0, 0, 0));
        message.name(IFLA_IFNAME, name);
        match self.call(message) {
            Ok(answer) => Ok(answer
                .get(4..8)
                .and_then(|bytes| bytes.first_chunk::<4>())
                .map(|bytes| u32::from_ne_bytes(*bytes))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn required_index(&mut self, name: &str) -> io::Result<u32> {
        self.link_index(name)?
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// A link with no other end (`dummy`, or `bridge` where the kernel lacks that).
    pub fn add_lone_link(&mut self, name: &str, kind: &str) -> io::Result<()> {
        let mut message =
            Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &link_header(0, 0, 0));
        message.name(IFLA_IFNAME, name);
        message.nested(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, kind.as_bytes());
        });
        self.call(message).map(drop)
    }

    /// A pair of virtual Ethernet links: `name` here, `peer` in the given network namespace.
    pub fn add_veth(
        &mut self,
        name: &str,
        peer: &str,
        peer_namespace: BorrowedFd<'_>,
        mtu: u32,
    ) -> io::Result<()> {
        let mut message =
            Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &link_header(0, 0, 0));
        message.name(IFLA_IFNAME, name);
        message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        message.nested(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |other| {
                    other.0.extend_from_slice(&link_header(0, 0, 0));
                    other.name(IFLA_IFNAME, peer);
                    other.attribute(IFLA_MTU, &mtu.to_ne_bytes());
                    other.attribute(
                        IFLA_NET_NS_FD,
                        &(peer_namespace.as_raw_fd() as u32).to_ne_bytes(),
                    );
                });
            });
        });
        self.call(message).map(drop)
    }

    pub fn set_up(&mut self, name: &str) -> io::Result<u32> {
        let index = self.required_index(name)?;
        let up = libc::IFF_UP as u32;
        let message = Message::new(libc::RTM_NEWLINK, 0, &link_header(index, up, up));
        self.call(message)?;
        Ok(index)
    }

    /// Removes a link; a missing one is fine.
    pub fn delete_link(&mut self, name: &str) -> io::Result<()> {
        let Some(index) = self.link_index(name)? else {
            return Ok(());
        };
        let message = Message::new(libc::RTM_DELLINK, 0, &link_header(index, 0, 0));
        match self.call(message) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Gives a link an address of its own (/32); repeating it is fine.
    pub fn add_address(&mut self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let mut fixed = [0u8; 8];
        fixed[0] = libc::AF_INET as u8;
        fixed[1] = 32;
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut message = Message::new(libc::RTM_NEWADDR, CREATE | REPLACE, &fixed);
        message.attribute(IFA_LOCAL, &address.octets());
        message.attribute(IFA_ADDRESS, &address.octets());
        self.call(message).map(drop)
    }

    /// Adds or replaces a route.
    pub fn add_route(&mut self, to: Ipv4Addr, prefix: u8, via: Via) -> io::Result<()> {
        let header = match via {
            Via::Link { .. } => route_header(prefix, libc::RT_SCOPE_LINK, libc::RTN_UNICAST, 0),
            Via::Gateway { .. } => route_header(
                prefix,
                libc::RT_SCOPE_UNIVERSE,
                libc::RTN_UNICAST,
                RTNH_F_ONLINK,
            ),
            Via::Unreachable => {
                route_header(prefix, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNREACHABLE, 0)
            }
        };
        let mut message = Message::new(libc::RTM_NEWROUTE, CREATE | REPLACE, &header);
        if prefix > 0 {
            message.attribute(RTA_DST, &to.octets());
        }
        match via {
            Via::Link { index, source } => {
                message.attribute(RTA_OIF, &index.to_ne_bytes());
                message.attribute(RTA_PREFSRC, &source.octets());
            }
            Via::Gateway { index, gateway } => {
                message.attribute(RTA_OIF, &index.to_ne_bytes());
                message.attribute(RTA_GATEWAY, &gateway.octets());
            }
            Via::Unreachable => {}
        }
        self.call(message).map(drop)
    }

    /// Removes an unreachable route; a missing one is fine.
    pub fn delete_unreachable(&mut self, to: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let header = route_header(prefix, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNREACHABLE, 0);
        let mut message = Message::new(libc::RTM_DELROUTE, 0, &header);
        message.attribute(RTA_DST, &to.octets());
        match self.call(message) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Header {
    kind: u16,
    sequence: u32,
}

/// Splits the first message off a datagram: header, body, rest.
fn split_message(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk::<4>()?) as usize;
    if length < 16 || length > bytes.len() {
        return None;
    }
    let header = Header {
        kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
        sequence: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
    };
    let next = length.next_multiple_of(4).min(bytes.len());
    Some((header, &bytes[16..length], &bytes[next..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested_lengths_are_right() {
        let mut message = Message::new(16, 0, &[]);
        message.name(3, "ab");
        message.nested(18, |info| {
            info.attribute(1, b"veth");
        });
        let bytes = message.finish(7);
        assert_eq!(bytes.len(), 16 + 8 + 12);
        assert_eq!(u16::from_ne_bytes([bytes[16], bytes[17]]), 7);
        assert_eq!(&bytes[20..24], b"ab\0\0");
        assert_eq!(u16::from_ne_bytes([bytes[24], bytes[25]]), 12);
        assert_eq!(
            u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            36
        );
    }

    #[test]
    fn a_datagram_is_split_and_garbage_ends_it() {
        let one = Message::new(16, 0, &[1, 2, 3, 4]).finish(5);
        let mut both = one.clone();
        both.extend_from_slice(&[9, 0, 0]);
        let (header, body, rest) = split_message(&both).unwrap();
        assert_eq!((header.kind, header.sequence), (16, 5));
        assert_eq!(body, [1, 2, 3, 4]);
        assert!(split_message(rest).is_none());
    }

    #[test]
    fn loopback_is_found_and_a_missing_link_is_none() {
        let mut netlink = Netlink::open().unwrap();
        assert_eq!(netlink.link_index("lo").unwrap(), Some(1));
        assert_eq!(netlink.link_index("no-such-link").unwrap(), None);
    }
}
