//! Requests that wait for apps that sleep, counted by process, so that they are bounded and somebody is told to wake
//! whom they wait for.

use std::collections::BTreeMap;

/// How many are held for each process; nobody is there with none.
#[derive(Debug, Default)]
pub struct Held {
    of: BTreeMap<Box<str>, usize>,
}

impl Held {
    /// One more, if there may be: whether it is the first.
    pub fn enter(&mut self, process: &str, most: usize) -> Option<bool> {
        let held = self.of.get(process).copied().unwrap_or_default();
        if held >= most {
            return None;
        }
        self.of.insert(process.into(), held + 1);
        Some(held == 0)
    }

    pub fn leave(&mut self, process: &str) {
        match self.of.get_mut(process) {
            Some(held) if *held > 1 => *held -= 1,
            Some(_) => {
                self.of.remove(process);
            }
            None => {}
        }
    }

    /// Whom is waited for, and by how many.
    pub fn all(&self) -> impl Iterator<Item = (&str, usize)> {
        self.of.iter().map(|(process, held)| (&**process, *held))
    }

    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_held_for_each_and_the_first_is_known() {
        let mut held = Held::default();
        assert_eq!(held.enter("a", 2), Some(true));
        assert_eq!(held.enter("a", 2), Some(false));
        assert_eq!(held.enter("a", 2), None);
        assert_eq!(held.enter("b", 2), Some(true));
        held.leave("a");
        assert_eq!(held.all().collect::<Vec<_>>(), [("a", 1), ("b", 1)]);
        assert_eq!(held.enter("a", 2), Some(false));
        for _ in 0..3 {
            held.leave("a");
        }
        held.leave("b");
        assert!(held.is_empty());
        assert_eq!(held.enter("c", 0), None);
    }
}
