//! Symbolic links of a tree, resolved without touching a file system: the same rules for a folder, a git tree and a tar
//! file.
//!
//! A link is followed below the root as `openat2` with `RESOLVE_BENEATH` would: an absolute target, or `..` above the
//! root at any step, leaves the root, even if it came back. Folders are told apart as `find -L` does it: a link to a
//! folder that is already on the way to it is a loop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::interrupt::Interrupt;
use crate::limits::Limits;
use crate::path::{TreePath, printable};

/// How many links one path may go through; Linux' own limit.
const MAX_HOPS: usize = 40;
/// Linux' `PATH_MAX` less the closing zero.
pub(crate) const MAX_TARGET: usize = 4095;
/// How often links that do not count may take others with them.
const MAX_ROUNDS: usize = 32;

/// Why a symbolic link is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// It is absolute or climbs above the root.
    LeavesRoot,
    /// Nothing that belongs to the tree is there.
    Dangling,
    /// It leads back to a folder above it, or through too many links.
    Loop,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeavesRoot => "leaves the root",
            Self::Dangling => "points to nothing that belongs to the tree",
            Self::Loop => "loops",
        })
    }
}

/// A symbolic link that does not count.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SkippedLink {
    /// Where a reader meets it.
    pub path: TreePath,
    /// Where it points, printable.
    pub target: String,
    /// Why it does not count.
    pub reason: SkipReason,
}

impl fmt::Display for SkippedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "symbolic link {} -> {} {}", self.path, self.target, self.reason)
    }
}

/// Symbolic links and where they point.
pub type Links = BTreeMap<TreePath, Vec<u8>>;

/// A tree with its links resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Every file as a reader sees it, with the path of the real file; sorted by what a reader sees.
    pub files: Vec<(TreePath, TreePath)>,
    /// The links to create in a published version.
    pub links: Vec<(TreePath, Vec<u8>)>,
    /// The links that do not count; sorted.
    pub skipped: Vec<SkippedLink>,
}

/// Resolves `links` (path to target) over the real `files`.
///
/// A link that does not count is not created, and neither is a folder that held nothing else; a link that goes through
/// either does not count in turn.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`] as soon as links multiply the tree beyond `limits`; [`ErrorKind::Refused`] when two things
/// have one path.
pub fn resolve<'a>(
    files: impl IntoIterator<Item = &'a TreePath>,
    links: &'a Links,
    filter: &Filter,
    limits: &Limits,
    interrupt: &Interrupt,
) -> Result<Resolved> {
    let files: Vec<&TreePath> = files.into_iter().collect();
    if links.is_empty() {
        return without_links(files, filter, limits);
    }
    let mut links: BTreeMap<&TreePath, &[u8]> = links.iter().map(|(path, target)| (path, &**target)).collect();
    let mut skipped = BTreeMap::new();
    for _ in 0..MAX_ROUNDS {
        let tree = Tree::new(&files, &links)?;
        let mut walk = Walk { tree: &tree, filter, limits, interrupt, seen: 0, linked: 0, found: Found::default() };
        walk.folder(&[ROOT], "", MAX_HOPS)?;
        let Found { mut files, links: created, dropped, skipped: now } = walk.found;
        for link in now {
            skipped.entry(link.path.clone()).or_insert(link);
        }
        if dropped.is_empty() {
            files.sort_unstable();
            return Ok(Resolved { files, links: created, skipped: skipped.into_values().collect() });
        }
        links.retain(|&path, _| !dropped.contains(path));
    }
    Err(Error::new(ErrorKind::Refused, "resolve links", "too many broken symbolic links depend on each other")
        .with_hint("remove those that point to nothing from the source"))
}

/// Without links a reader sees what is there.
fn without_links(mut files: Vec<&TreePath>, filter: &Filter, limits: &Limits) -> Result<Resolved> {
    files.sort_unstable();
    let mut folder = "";
    for (i, path) in files.iter().enumerate() {
        limits.check_path(path)?;
        let (parent, _) = path.split();
        if i > 0 && files[i - 1] == *path || parent != folder && is_below_a_file(parent, &files) {
            return Err(twice(path));
        }
        folder = parent;
    }
    let kept = files.into_iter().filter(|path| filter.keeps(path.as_str()));
    let files = kept.map(|path| (path.clone(), path.clone())).collect();
    Ok(Resolved { files, links: Vec::new(), skipped: Vec::new() })
}

/// Whether `folder` or one above it is one of the sorted `files`.
fn is_below_a_file(folder: &str, files: &[&TreePath]) -> bool {
    std::iter::successors(Some(folder), |folder| folder.rsplit_once('/').map(|(parent, _)| parent))
        .any(|folder| files.binary_search_by(|file| file.as_str().cmp(folder)).is_ok())
}

fn twice(path: &TreePath) -> Error {
    Error::new(ErrorKind::Refused, "resolve links", format!("two things in the tree are at {path}"))
        .with_hint("remove or rename one of them in the source")
}

const ROOT: usize = 0;

/// Folders and links are met besides files; this many names for each file that is allowed is enough for any real tree.
const SEEN_PER_FILE: u64 = 4;

/// The most names behind links to folders, however many files are allowed: each takes memory, and a few links make
/// millions of them.
const LINKED_MAX: u64 = 1_000_000;

enum Node<'a> {
    Folder { parent: usize, children: BTreeMap<&'a str, usize> },
    File(&'a TreePath),
    Link(&'a [u8]),
}

struct Tree<'a>(Vec<Node<'a>>);

impl<'a> Tree<'a> {
    fn new(files: &[&'a TreePath], links: &BTreeMap<&'a TreePath, &'a [u8]>) -> Result<Self> {
        let mut tree = Self(vec![Node::Folder { parent: ROOT, children: BTreeMap::new() }]);
        for path in files {
            tree.insert(path, Node::File(path))?;
        }
        for (path, target) in links {
            tree.insert(path, Node::Link(target))?;
        }
        Ok(tree)
    }

    fn insert(&mut self, path: &'a TreePath, leaf: Node<'a>) -> Result<()> {
        let (folder, name) = path.split();
        let mut at = ROOT;
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            let next = self.0.len();
            let Node::Folder { children, .. } = &mut self.0[at] else { return Err(twice(path)) };
            let child = *children.entry(part).or_insert(next);
            if child == next {
                self.0.push(Node::Folder { parent: at, children: BTreeMap::new() });
            }
            at = child;
        }
        let next = self.0.len();
        let Node::Folder { children, .. } = &mut self.0[at] else { return Err(twice(path)) };
        if children.insert(name, next).is_some() {
            return Err(twice(path));
        }
        self.0.push(leaf);
        Ok(())
    }

    /// Follows `target` from `folder`; yields a file or a folder and how many `hops` are left.
    fn follow(&self, folder: usize, target: &[u8], mut hops: usize) -> Result<(usize, usize), SkipReason> {
        self.follow_from(folder, target, &mut hops).map(|node| (node, hops))
    }

    fn follow_from(&self, folder: usize, target: &[u8], hops: &mut usize) -> Result<usize, SkipReason> {
        *hops = hops.checked_sub(1).ok_or(SkipReason::Loop)?;
        if target.is_empty() || target.len() > MAX_TARGET {
            return Err(SkipReason::Dangling);
        }
        if target.starts_with(b"/") {
            return Err(SkipReason::LeavesRoot);
        }
        let mut at = folder;
        for part in target.split(|&b| b == b'/') {
            let Node::Folder { parent, children } = &self.0[at] else { return Err(SkipReason::Dangling) };
            at = match part {
                b"" | b"." => at,
                b".." if at == ROOT => return Err(SkipReason::LeavesRoot),
                b".." => *parent,
                name => {
                    let name = std::str::from_utf8(name).map_err(|_| SkipReason::Dangling)?;
                    let child = *children.get(name).ok_or(SkipReason::Dangling)?;
                    match &self.0[child] {
                        Node::Link(target) => self.follow_from(at, target, hops)?,
                        Node::File(_) | Node::Folder { .. } => child,
                    }
                }
            };
        }
        Ok(at)
    }
}

struct Walk<'a> {
    tree: &'a Tree<'a>,
    filter: &'a Filter,
    limits: &'a Limits,
    interrupt: &'a Interrupt,
    /// What a reader would meet: links to links to folders can make it grow without bound.
    seen: u64,
    /// The part of it that lies behind links.
    linked: u64,
    found: Found,
}

#[derive(Default)]
struct Found {
    files: Vec<(TreePath, TreePath)>,
    links: Vec<(TreePath, Vec<u8>)>,
    /// The real links that are not to be created.
    dropped: BTreeSet<TreePath>,
    skipped: Vec<SkippedLink>,
}

impl Walk<'_> {
    /// Visits the last folder of `way` (the real folders from the root to it), which a reader sees at `shown`, with as
    /// many `hops` left as the kernel would have; all of them mean that the reader went through no link to get there.
    fn folder(&mut self, way: &[usize], shown: &str, hops: usize) -> Result<()> {
        let at = *way.last().expect("the way starts at the root");
        let Node::Folder { children, .. } = &self.tree.0[at] else { return Ok(()) };
        self.interrupt.check("resolve links")?;
        for (name, &child) in children {
            let path = TreePath::new(if shown.is_empty() { (*name).to_owned() } else { format!("{shown}/{name}") })?;
            self.limits.check_path(&path)?;
            self.count(hops < MAX_HOPS)?;
            match &self.tree.0[child] {
                Node::File(origin) => self.file(path, origin),
                Node::Folder { .. } => self.descend(way, child, &path, hops)?,
                Node::Link(target) => self.link(way, path, target, hops)?,
            }
        }
        Ok(())
    }

    fn count(&mut self, behind_a_link: bool) -> Result<()> {
        self.seen += 1;
        self.linked += u64::from(behind_a_link);
        self.limits.check_total((self.seen / SEEN_PER_FILE).max(self.found.files.len() as u64), 0)?;
        if self.linked <= LINKED_MAX {
            return Ok(());
        }
        let message = format!("more than {LINKED_MAX} names lie behind symbolic links to folders");
        Err(Error::new(ErrorKind::LimitExceeded, "resolve links", message)
            .with_hint("remove links that lead to folders with more of them"))
    }

    fn file(&mut self, path: TreePath, origin: &TreePath) {
        if self.filter.keeps(path.as_str()) {
            self.found.files.push((path, origin.clone()));
        }
    }

    fn descend(&mut self, way: &[usize], folder: usize, path: &TreePath, hops: usize) -> Result<()> {
        if !self.filter.enters(path.as_str()) {
            return Ok(());
        }
        let way: Vec<usize> = way.iter().copied().chain([folder]).collect();
        self.folder(&way, path.as_str(), hops)
    }

    fn link(&mut self, way: &[usize], path: TreePath, target: &[u8], hops: usize) -> Result<()> {
        let folder = *way.last().expect("the way starts at the root");
        let real = hops == MAX_HOPS;
        let outcome = self.tree.follow(folder, target, hops).and_then(|(node, left)| {
            if way.contains(&node) { Err(SkipReason::Loop) } else { Ok((&self.tree.0[node], node, left)) }
        });
        let belongs = self.filter.keeps(path.as_str())
            && !matches!(outcome, Ok((Node::Folder { .. }, ..)) if !self.filter.enters(path.as_str()));
        if real && belongs && outcome.is_ok() {
            self.found.links.push((path.clone(), target.to_vec()));
        } else if real {
            self.found.dropped.insert(path.clone());
        }
        match outcome {
            _ if !belongs => {}
            Ok((Node::File(origin), ..)) => self.file(path, origin),
            Ok((_, node, left)) => self.descend(way, node, &path, left)?,
            Err(reason) => {
                let target = printable(std::os::unix::ffi::OsStrExt::from_bytes(target) as &std::ffi::OsStr);
                self.found.skipped.push(SkippedLink { path, target, reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
