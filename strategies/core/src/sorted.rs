//! Looking up paths in a sorted list: a step each when they are asked for in order, a binary search otherwise.

use crate::path::TreePath;

/// A reader of a list that is sorted by path.
#[derive(Debug)]
pub(crate) struct InOrder<'a, V> {
    entries: &'a [(TreePath, V)],
    next: usize,
}

impl<'a, V> InOrder<'a, V> {
    pub(crate) fn new(entries: &'a [(TreePath, V)]) -> Self {
        Self { entries, next: 0 }
    }

    pub(crate) fn get(&mut self, path: &TreePath) -> Option<&'a V> {
        let at = match self.entries.get(self.next) {
            Some((known, _)) if known == path => self.next,
            _ => position(self.entries, path.as_str())?,
        };
        self.next = at + 1;
        Some(&self.entries[at].1)
    }
}

/// Where `path` stands in a list that is sorted by path.
pub(crate) fn position<V>(entries: &[(TreePath, V)], path: &str) -> Option<usize> {
    entries.binary_search_by(|(known, _)| known.as_str().cmp(path)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_finds_what_is_there_and_nothing_else() {
        let path = |name: &str| TreePath::new(name).unwrap();
        let entries = ["a", "b", "d"].map(|name| (path(name), name));
        let mut reader = InOrder::new(&entries);
        for name in ["a", "b", "c", "d", "d", "a", "0", "z"] {
            let found = reader.get(&path(name)).copied();
            assert_eq!(found, ["a", "b", "d"].contains(&name).then_some(name));
        }
    }
}
