//! Server-sent events, decoded from chunks as they come. Pure.
//!
//! A chunk may end anywhere, in the middle of a character too, so bytes are kept until a whole
//! line is there. A line is bounded: a server that never ends one is not given all memory.

/// Longest line that is kept; the rest of a longer one is cut off.
const LONGEST_LINE: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Empty: an ordinary one.
    pub name: String,
    pub data: String,
}

#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_return: bool,
}

impl Decoder {
    /// Takes a chunk, gives back the events it completed.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in chunk {
            // Lines end in LF, CR or CRLF.
            if byte == b'\n' && std::mem::take(&mut self.after_return) {
                continue;
            }
            self.after_return = byte == b'\r';
            if byte == b'\n' || byte == b'\r' {
                let line = std::mem::take(&mut self.line);
                events.extend(self.line_ended(&String::from_utf8_lossy(&line)));
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(byte);
            }
        }
        events
    }

    fn line_ended(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => self.event.name = value.to_string(),
            // Comments (kept-alive connections) and fields of no use here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<(String, String)> {
        let mut decoder = Decoder::default();
        chunks
            .iter()
            .flat_map(|chunk| decoder.push(chunk))
            .map(|event| (event.name, event.data))
            .collect()
    }

    #[test]
    fn chunks_may_end_anywhere() {
        let text =
            "data: {\"text\":\"ä\"}\n\n: alive\n\nevent: lost\ndata: 1\ndata: 2\r\n\r\n".as_bytes();
        let expected = vec![
            (String::new(), "{\"text\":\"ä\"}".to_string()),
            ("lost".to_string(), "1\n2".to_string()),
        ];
        assert_eq!(decode(&[text]), expected);
        for cut in 0..text.len() {
            assert_eq!(
                decode(&[&text[..cut], &text[cut..]]),
                expected,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn an_event_without_data_is_none() {
        assert_eq!(
            decode(&[b"event: ping\n\ndata: x\n\n"]),
            vec![(String::new(), "x".to_string())]
        );
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut decoder = Decoder::default();
        decoder.push(b"data: ");
        for _ in 0..40 {
            decoder.push(&[b'x'; 64 * 1024]);
        }
        let events = decoder.push(b"\n\n");
        assert_eq!(events.len(), 1);
        assert!(events[0].data.len() <= LONGEST_LINE);
    }
}
