//! Cutting a stream of output into lines.

/// Longest line kept in one piece; a longer one is cut, not thrown away.
pub const LINE_LIMIT: usize = 60 * 1024;

/// Collects one stream's bytes until a line is complete.
#[derive(Debug, Default)]
pub struct LineCutter {
    partial: Vec<u8>,
}

impl LineCutter {
    /// Takes bytes, hands out each line they complete, without its line end.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(Vec<u8>)) {
        while let Some(at) = bytes.iter().position(|&byte| byte == b'\n') {
            let (head, tail) = bytes.split_at(at);
            bytes = &tail[1..];
            self.extend(head, &mut line);
            if self.partial.last() == Some(&b'\r') {
                self.partial.pop();
            }
            line(std::mem::take(&mut self.partial));
        }
        self.extend(bytes, &mut line);
    }

    fn extend(&mut self, mut bytes: &[u8], line: &mut impl FnMut(Vec<u8>)) {
        while self.partial.len() + bytes.len() > LINE_LIMIT {
            let (head, tail) = bytes.split_at(LINE_LIMIT - self.partial.len());
            self.partial.extend_from_slice(head);
            line(std::mem::take(&mut self.partial));
            bytes = tail;
        }
        self.partial.extend_from_slice(bytes);
    }

    /// What is left when the stream has ended: a last line without a line end.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then(|| std::mem::take(&mut self.partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut cutter = LineCutter::default();
        let mut lines = Vec::new();
        for piece in pieces {
            cutter.push(piece, |line| lines.push(line));
        }
        lines.extend(cutter.finish());
        lines
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let whole: &[u8] = b"one\ntwo\r\n\nlast";
        let expected: Vec<Vec<u8>> = vec![b"one".into(), b"two".into(), vec![], b"last".into()];
        for step in 1..=whole.len() {
            let pieces: Vec<&[u8]> = whole.chunks(step).collect();
            assert_eq!(cut(&pieces), expected, "step {step}");
        }
    }

    #[test]
    fn an_endless_line_is_cut_at_the_limit() {
        let long = vec![b'x'; 2 * LINE_LIMIT + 1];
        let lines = cut(&[&long, b"\n"]);
        let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
        assert_eq!(lengths, [LINE_LIMIT, LINE_LIMIT, 1]);
    }
}
