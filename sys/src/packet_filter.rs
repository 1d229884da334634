//! An nftables client just large enough for the elements of a map.
//!
//! What is made once (tables, chains, rules) is written by `nft`, whose language is the one to read. An element
//! comes and goes with each sandbox: there the process that `nft` is costs more than all the rest of a network.

use std::io;

use nix::sys::socket::SockProtocol;

use crate::netlink::{Message, Netlink};

/// `NFNL_SUBSYS_NFTABLES`
const NFTABLES: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFT_MSG_NEWSETELEM`, `NFT_MSG_DELSETELEM`
const NEW_ELEMENT: u16 = NFTABLES << 8 | 12;
const DELETE_ELEMENT: u16 = NFTABLES << 8 | 14;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
/// `NFPROTO_INET`
const INET: u8 = 1;
const NESTED: u16 = libc::NLA_F_NESTED as u16;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = NESTED | 3;
const LIST_ELEMENT: u16 = NESTED | 1;
const ELEMENT_KEY: u16 = NESTED | 1;
const ELEMENT_DATA: u16 = NESTED | 2;
const DATA_VALUE: u16 = 1;

/// A map of a table of the family `inet`.
pub struct Map<'a> {
    pub table: &'a str,
    pub map: &'a str,
}

impl Map<'_> {
    /// Adds an element, in the network namespace that the calling thread is in. Keys and values are in the order of
    /// the network; each part of a concatenation is filled up to four bytes. One that is there with the same value is
    /// fine, with another value it is an error.
    pub fn add(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.change(NEW_ELEMENT, CREATE, key, Some(value))
    }

    /// Deletes an element. One that is not there is an error (`ENOENT`).
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.change(DELETE_ELEMENT, 0, key, None)
    }

    fn change(&self, kind: u16, flags: u16, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        let mut message = Message::new(kind, flags, &[INET, 0, 0, 0]);
        message
            .name(LIST_TABLE, self.table)
            .name(LIST_SET, self.map)
            .nested(LIST_ELEMENTS, |elements| {
                elements.nested(LIST_ELEMENT, |element| {
                    element.nested(ELEMENT_KEY, |data| {
                        data.attribute(DATA_VALUE, key);
                    });
                    if let Some(value) = value {
                        element.nested(ELEMENT_DATA, |data| {
                            data.attribute(DATA_VALUE, value);
                        });
                    }
                });
            });
        let [high, low] = NFTABLES.to_be_bytes();
        let border = |kind| Message::unanswered(kind, 0, &[libc::AF_UNSPEC as u8, 0, high, low]);
        let batch = [border(BATCH_BEGIN), message, border(BATCH_END)];
        let mut netlink = Netlink::open_for(SockProtocol::NetlinkNetFilter)?;
        netlink.call_all(batch).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn nft(text: &str) -> io::Result<String> {
        let mut nft = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut words = nft.stdin.take().unwrap();
        words.write_all(text.as_bytes())?;
        drop(words);
        let told = nft.wait_with_output()?;
        match told.status.success() {
            true => Ok(String::from_utf8_lossy(&told.stdout).into_owned()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&told.stderr).into_owned(),
            )),
        }
    }

    #[test]
    fn an_element_comes_and_goes_as_nft_understands_it() {
        let table = format!("sys_test_{}", std::process::id());
        let made = nft(&format!(
            "add table inet {table}\nadd map inet {table} ports {{ type inet_service : ipv4_addr . inet_service ; }}\n"
        ));
        if let Err(error) = made {
            // Not by the macro, whose output the test harness hides.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!(
                    "SKIPPED an_element_comes_and_goes_as_nft_understands_it: nft makes no table here: {error}\n"
                ),
            );
            return;
        }
        let map = Map {
            table: &table,
            map: "ports",
        };
        let value = [
            10,
            9,
            0,
            7,
            8080u16.to_be_bytes()[0],
            8080u16.to_be_bytes()[1],
            0,
            0,
        ];
        let key = 20_001u16.to_be_bytes();
        let shown = || nft(&format!("list map inet {table} ports\n")).unwrap();
        let outcome = std::panic::catch_unwind(|| {
            map.add(&key, &value).unwrap();
            map.add(&key, &value).unwrap();
            assert!(shown().contains("20001 : 10.9.0.7 . 8080"), "{}", shown());
            let other = [10, 9, 0, 8, value[4], value[5], 0, 0];
            assert!(map.add(&key, &other).is_err(), "it has another value");
            map.delete(&key).unwrap();
            assert!(!shown().contains("20001"), "{}", shown());
            let gone = map.delete(&key).unwrap_err();
            assert_eq!(gone.raw_os_error(), Some(libc::ENOENT));
        });
        nft(&format!("delete table inet {table}\n")).unwrap();
        let missing = map.add(&key, &value).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
        outcome.unwrap();
    }
}
