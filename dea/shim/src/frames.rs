//! Frames of the protocol between an agent and the hosts in a pack's sandbox: a length (u32, big endian) and
//! one JSON object.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Largest body.
pub const LIMIT: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {0} bytes exceeds the limit of {LIMIT}")]
    TooLong(usize),
    #[error("a frame is no JSON object")]
    Malformed(#[from] serde_json::Error),
}

/// A complete frame.
pub fn frame(body: &Value) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, body).expect("a JSON value has text keys only");
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Where the next frame begins.
    begin: usize,
}

impl Decoder {
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.begin);
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
    }

    pub fn next_body<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let waiting = &self.bytes[self.begin..];
        let Some((header, rest)) = waiting.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > LIMIT {
            return Err(FrameError::TooLong(length));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let body = serde_json::from_slice(body)?;
        self.begin += 4 + length;
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    type Body = Map<String, Value>;

    #[test]
    fn bodies_survive_any_cutting_and_nonsense_ends_it() {
        let bytes: Vec<u8> = [json!({"request": "ping"}), json!({"id": "häm"})]
            .iter()
            .flat_map(frame)
            .collect();
        for step in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut bodies: Vec<Body> = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(body) = decoder.next_body().unwrap() {
                    bodies.push(body);
                }
            }
            assert_eq!(bodies.len(), 2, "step {step}");
            assert_eq!(bodies[1]["id"], "häm");
        }
        for bytes in [vec![0xff; 8], frame(&json!([1]))] {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            assert!(decoder.next_body::<Body>().is_err());
        }
    }
}
