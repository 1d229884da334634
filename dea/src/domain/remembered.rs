//! A bounded memory of ids: the oldest go.

use std::collections::{BTreeSet, VecDeque};

/// Ids that are remembered.
const MOST: usize = 8192;

#[derive(Debug, Clone, Default)]
pub struct Remembered {
    order: VecDeque<String>,
    known: BTreeSet<String>,
}

impl Remembered {
    pub fn knows(&self, id: &str) -> bool {
        self.known.contains(id)
    }

    pub fn remember(&mut self, id: &str) {
        if !self.known.insert(id.to_string()) {
            return;
        }
        self.order.push_back(id.to_string());
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut remembered = Remembered::default();
        for number in 0..=MOST {
            remembered.remember(&number.to_string());
            remembered.remember("0");
        }
        assert!(!remembered.knows("1"), "0 came again after it went");
        assert!(remembered.knows("0") && remembered.knows("2"));
        assert_eq!(remembered.order.len(), remembered.known.len());
    }
}
