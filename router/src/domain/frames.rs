//! Which HTTP/2 client works and which only makes work.
//!
//! **Problem.** Some frames cost their sender nothing and the router something, and none of them is
//! wrong by itself: a request that is taken back at once (rapid reset), pings and settings that want an
//! answer, empty frames, priorities, a header block in a thousand pieces. hyper bounds the memory that
//! they take; the time they take only ends when their sender goes.
//!
//! **Approach.** [`FrameWatch`] is fed every byte of a client and reads the nine bytes before each
//! frame, nothing else. A frame that moves no request on costs credit; credit comes with time, with bytes
//! that move a body on, and with bytes that are written to the client, because answers have to be
//! acknowledged. Who has none left is an offender. A header block may only have as many pieces as
//! its size explains.
//!
//! **What a newcomer gets wrong.** Counting pings or resets for themselves cuts honest clients: a gRPC client pings
//! once per round trip while it downloads, and takes calls back whose deadline is over. What tells it from
//! an attack is that other bytes flow, too.

use super::table::Millis;

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

/// Credit at the start and at most.
const MOST: u64 = 256 * 1024;
/// Credit for each second.
const PER_SECOND: u64 = 16 * 1024;
/// What frames cost, in bytes of useful traffic. The answer to a ping (17 bytes) must not pay for it.
const RESET: u64 = 256;
const PING: u64 = 48;
const SETTINGS: u64 = 256;
const WINDOW_UPDATE: u64 = 5;
const EMPTY: u64 = 64;
const OTHER: u64 = 32;
/// Most pieces of a header block that the size of the pieces does not explain.
const FREE_PIECES: u64 = 8;
const SMALL_PIECE: u64 = 1024;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Why a client is let go. The text is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Offence {
    #[error("it takes its requests back faster than it has any answered")]
    Resets,
    #[error("it sends pings or settings that have no use")]
    Questions,
    #[error("it sends frames that say nothing")]
    EmptyFrames,
    #[error("it sends its headers in more pieces than they need")]
    Pieces,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Preface { left: usize },
    Head { have: usize },
    Payload { left: u32, of_block: bool },
}

/// Follows what one client sends.
#[derive(Debug)]
pub struct FrameWatch {
    part: Part,
    head: [u8; FRAME_HEAD],
    /// Pieces and bytes of the header block that has begun.
    block: Option<(u64, u64)>,
    /// Header blocks that have begun.
    blocks: u64,
    credit: u64,
    paid_at: Millis,
}

impl FrameWatch {
    pub fn new(now: Millis) -> FrameWatch {
        FrameWatch {
            part: Part::Preface { left: PREFACE },
            head: [0; FRAME_HEAD],
            block: None,
            blocks: 0,
            credit: MOST,
            paid_at: now,
        }
    }

    /// What the client has begun and must end: its preface (0) or the header block of this number.
    pub fn amid(&self) -> Option<u64> {
        match self.part {
            Part::Preface { .. } => Some(0),
            Part::Payload { of_block: true, .. } => Some(self.blocks),
            Part::Head { .. } | Part::Payload { .. } => self.block.map(|_| self.blocks),
        }
    }

    /// So many bytes were written to the client.
    pub fn wrote(&mut self, bytes: usize) {
        self.earn(bytes as u64);
    }

    /// Looks at the next bytes of the client.
    pub fn feed(&mut self, mut bytes: &[u8], now: Millis) -> Result<(), Offence> {
        let passed = now.saturating_sub(self.paid_at);
        if passed > 0 {
            self.paid_at = now;
            self.earn(passed.saturating_mul(PER_SECOND) / 1000);
        }
        while !bytes.is_empty() {
            match self.part {
                Part::Preface { left } => {
                    let taken = left.min(bytes.len());
                    bytes = &bytes[taken..];
                    self.part = match left - taken {
                        0 => Part::Head { have: 0 },
                        left => Part::Preface { left },
                    };
                }
                Part::Head { have } => {
                    let taken = (FRAME_HEAD - have).min(bytes.len());
                    self.head[have..have + taken].copy_from_slice(&bytes[..taken]);
                    bytes = &bytes[taken..];
                    if have + taken < FRAME_HEAD {
                        self.part = Part::Head { have: have + taken };
                        continue;
                    }
                    let [high, middle, low, kind, flags, ..] = self.head;
                    let length = u32::from_be_bytes([0, high, middle, low]);
                    self.judge(kind, flags, u64::from(length))?;
                    let of_block = matches!(kind, kind::HEADERS | kind::CONTINUATION);
                    self.part = after(length, of_block);
                }
                Part::Payload { left, of_block } => {
                    let taken = (left as usize).min(bytes.len());
                    bytes = &bytes[taken..];
                    self.part = after(left - taken as u32, of_block);
                }
            }
        }
        Ok(())
    }

    fn judge(&mut self, kind: u8, flags: u8, length: u64) -> Result<(), Offence> {
        match kind {
            kind::DATA if length == 0 && flags & END_STREAM == 0 => {
                self.spend(EMPTY, Offence::EmptyFrames)
            }
            kind::DATA => {
                self.earn(length);
                Ok(())
            }
            kind::HEADERS | kind::CONTINUATION => self.piece(flags, length),
            kind::RST_STREAM => self.spend(RESET, Offence::Resets),
            kind::PING if flags & ACK == 0 => self.spend(PING, Offence::Questions),
            kind::SETTINGS if flags & ACK == 0 => self.spend(SETTINGS, Offence::Questions),
            kind::WINDOW_UPDATE => self.spend(WINDOW_UPDATE, Offence::EmptyFrames),
            _ => self.spend(OTHER, Offence::EmptyFrames),
        }
    }

    fn piece(&mut self, flags: u8, length: u64) -> Result<(), Offence> {
        if self.block.is_none() {
            self.blocks += 1;
        }
        let (pieces, bytes) = self.block.unwrap_or_default();
        let (pieces, bytes) = (pieces + 1, bytes + length);
        if flags & END_HEADERS != 0 {
            self.block = None;
            return Ok(());
        }
        self.block = Some((pieces, bytes));
        if pieces > FREE_PIECES + bytes / SMALL_PIECE {
            return Err(Offence::Pieces);
        }
        Ok(())
    }

    fn earn(&mut self, credit: u64) {
        self.credit = self.credit.saturating_add(credit).min(MOST);
    }

    fn spend(&mut self, cost: u64, offence: Offence) -> Result<(), Offence> {
        self.credit = self.credit.checked_sub(cost).ok_or(offence)?;
        Ok(())
    }
}

fn after(left: u32, of_block: bool) -> Part {
    match left {
        0 => Part::Head { have: 0 },
        left => Part::Payload { left, of_block },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFACE_TEXT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.extend_from_slice(payload);
        bytes
    }

    fn begun() -> FrameWatch {
        let mut watch = FrameWatch::new(0);
        assert_eq!(watch.amid(), Some(0));
        assert_eq!(watch.feed(PREFACE_TEXT, 0), Ok(()));
        assert_eq!(watch.amid(), None);
        watch
    }

    /// How many of these frames are let through, of so many, at one moment.
    fn let_through(watch: &mut FrameWatch, frame: &[u8], most: usize) -> Result<usize, Offence> {
        for count in 0..most {
            if let Err(offence) = watch.feed(frame, 0) {
                assert!(count > 100, "cut after {count}");
                return Err(offence);
            }
        }
        Ok(most)
    }

    #[test]
    fn frames_are_followed_however_their_bytes_come() {
        let mut watch = FrameWatch::new(0);
        let mut all = PREFACE_TEXT.to_vec();
        all.extend(frame(kind::HEADERS, 0, b"abc"));
        for byte in all {
            assert_eq!(watch.feed(&[byte], 0), Ok(()));
        }
        assert_eq!(watch.amid(), Some(1), "the block goes on");
        let rest = frame(kind::CONTINUATION, END_HEADERS, b"de");
        assert_eq!(watch.feed(&rest[..rest.len() - 1], 0), Ok(()));
        assert_eq!(watch.amid(), Some(1));
        assert_eq!(watch.feed(&rest[rest.len() - 1..], 0), Ok(()));
        assert_eq!(watch.amid(), None);
        // Part of a body is not the beginning of anything, and another block is another one.
        let data = frame(kind::DATA, 0, b"abc");
        assert_eq!(watch.feed(&data[..10], 0), Ok(()));
        assert_eq!(watch.amid(), None);
        assert_eq!(watch.feed(&data[10..], 0), Ok(()));
        let next = frame(kind::HEADERS, END_HEADERS, b"abc");
        assert_eq!(watch.feed(&next[..10], 0), Ok(()));
        assert_eq!(watch.amid(), Some(2));
    }

    #[test]
    fn who_only_makes_work_is_an_offender() {
        let cases = [
            (frame(kind::RST_STREAM, 0, &[0; 4]), Offence::Resets),
            (frame(kind::PING, 0, &[0; 8]), Offence::Questions),
            (frame(kind::SETTINGS, 0, &[]), Offence::Questions),
            (frame(kind::DATA, 0, &[]), Offence::EmptyFrames),
            (frame(2, 0, &[0; 5]), Offence::EmptyFrames),
            (frame(kind::WINDOW_UPDATE, 0, &[0; 4]), Offence::EmptyFrames),
        ];
        for (frame, offence) in cases {
            let cut = let_through(&mut begun(), &frame, 100_000);
            assert_eq!(cut, Err(offence));
        }
    }

    #[test]
    fn a_ping_is_not_paid_by_its_answer() {
        let mut watch = begun();
        let ping = frame(kind::PING, 0, &[0; 8]);
        let cut = (0..100_000).find(|_| {
            watch.wrote(ping.len());
            watch.feed(&ping, 0).is_err()
        });
        assert!(cut.is_some());
    }

    #[test]
    fn answers_bodies_and_time_pay_for_what_they_need() {
        let mut watch = begun();
        let reset = frame(kind::RST_STREAM, 0, &[0; 4]);
        let update = frame(kind::WINDOW_UPDATE, 0, &[0; 4]);
        let ping = frame(kind::PING, 0, &[0; 8]);
        for _ in 0..10_000 {
            // A call whose answer was small and that was taken back, with a ping.
            watch.wrote(400);
            for frame in [&reset, &update, &update, &ping] {
                assert_eq!(watch.feed(frame, 0), Ok(()));
            }
        }
        let mut watch = begun();
        for second in 0..1000 {
            for _ in 0..50 {
                assert_eq!(watch.feed(&reset, second * 1000), Ok(()));
            }
        }
        let mut watch = begun();
        let data = frame(kind::DATA, 0, &[0; 300]);
        for _ in 0..10_000 {
            assert_eq!(watch.feed(&data, 0), Ok(()));
            assert_eq!(watch.feed(&reset, 0), Ok(()));
        }
    }

    #[test]
    fn a_header_block_has_as_many_pieces_as_it_needs() {
        let mut watch = begun();
        assert_eq!(
            watch.feed(&frame(kind::HEADERS, 0, &[0; 16_384]), 0),
            Ok(())
        );
        for _ in 0..60 {
            let piece = frame(kind::CONTINUATION, 0, &[0; 16_384]);
            assert_eq!(watch.feed(&piece, 0), Ok(()));
        }
        let mut watch = begun();
        assert_eq!(watch.feed(&frame(kind::HEADERS, 0, &[]), 0), Ok(()));
        let piece = frame(kind::CONTINUATION, 0, b"x");
        let cut = (0..20).find_map(|_| watch.feed(&piece, 0).err());
        assert_eq!(cut, Some(Offence::Pieces));
    }
}
