//! Numbers in digits. Each request has a dozen of them in its log line and its heads, and formatting is dear.

use bytes::BufMut;

/// 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// A number as it displays itself.
pub fn number(out: &mut impl BufMut, number: u64) {
    let mut text = [0; 20];
    let mut at = text.len();
    let mut left = number;
    while left >= 100 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&PAIRS[(left % 100) as usize]);
        left /= 100;
    }
    at -= 2;
    text[at..at + 2].copy_from_slice(&PAIRS[left as usize]);
    let begin = at + usize::from(left < 10);
    out.put_slice(&text[begin..]);
}

/// The last so many digits of a number, nine at most.
pub fn digits(out: &mut impl BufMut, number: u32, count: usize) {
    let mut text = [0; 9];
    let mut left = number;
    for digit in text[..count].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    out.put_slice(&text[..count]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_display_themselves() {
        for count in [0, 7, 10, 99, 100, 109, 65_535, 100_000, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, count);
            assert_eq!(out, count.to_string().as_bytes());
        }
    }

    #[test]
    fn so_many_digits_are_written() {
        for (count, expected) in [(2, "05"), (6, "012305"), (9, "000012305")] {
            let mut out = Vec::new();
            digits(&mut out, 12_305, count);
            assert_eq!(out, expected.as_bytes());
        }
    }
}
