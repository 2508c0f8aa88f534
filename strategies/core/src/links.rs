//! Symbolic links of a tree, resolved without touching a file system: the same rules for a folder, a git tree and a tar
//! file.
//!
//! A link is followed below the root as `openat2` with `RESOLVE_BENEATH` would: an absolute target, or `..` above the
//! root at any step, leaves the root, even if it came back. Folders are told apart as `find -L` does it: a link to a
//! folder that is already on the way to it is a loop.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Result;
use crate::filter::Filter;
use crate::limits::Limits;
use crate::path::{TreePath, printable};

/// How many links one path may go through; Linux' own limit.
const MAX_HOPS: usize = 40;

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
/// # Errors
/// [`crate::ErrorKind::LimitExceeded`] when links multiply the tree beyond `limits`.
pub fn resolve<'a>(
    files: impl IntoIterator<Item = &'a TreePath>,
    links: &'a BTreeMap<TreePath, Vec<u8>>,
    filter: &Filter,
    limits: &Limits,
) -> Result<Resolved> {
    if links.is_empty() {
        let files = files.into_iter().map(|p| (p.clone(), p.clone())).collect();
        return Ok(Resolved { files, links: Vec::new(), skipped: Vec::new() });
    }
    let tree = Tree::new(files, links);
    let mut walk =
        Walk { tree: &tree, filter, limits, seen: 0, files: Vec::new(), links: Vec::new(), skipped: Vec::new() };
    walk.folder(&[ROOT], "", true)?;
    let Walk { mut files, links, mut skipped, .. } = walk;
    files.sort_unstable();
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Resolved { files, links, skipped })
}

const ROOT: usize = 0;

/// Folders and links are met besides files; this many names for each file that is allowed is enough for any real tree.
const SEEN_PER_FILE: u64 = 4;

enum Node<'a> {
    Folder { parent: usize, children: BTreeMap<&'a str, usize> },
    File(&'a TreePath),
    Link(&'a [u8]),
}

struct Tree<'a>(Vec<Node<'a>>);

impl<'a> Tree<'a> {
    fn new(files: impl IntoIterator<Item = &'a TreePath>, links: &'a BTreeMap<TreePath, Vec<u8>>) -> Self {
        let mut tree = Self(vec![Node::Folder { parent: ROOT, children: BTreeMap::new() }]);
        for path in files {
            tree.insert(path.as_str(), Node::File(path));
        }
        for (path, target) in links {
            tree.insert(path.as_str(), Node::Link(target));
        }
        tree
    }

    fn insert(&mut self, path: &'a str, leaf: Node<'a>) {
        let mut at = ROOT;
        let (folder, name) = path.rsplit_once('/').map_or((None, path), |(f, n)| (Some(f), n));
        for part in folder.into_iter().flat_map(|f| f.split('/')) {
            let next = self.0.len();
            let Node::Folder { children, .. } = &mut self.0[at] else { return };
            let child = *children.entry(part).or_insert(next);
            if child == next {
                self.0.push(Node::Folder { parent: at, children: BTreeMap::new() });
            }
            at = child;
        }
        let next = self.0.len();
        if let Node::Folder { children, .. } = &mut self.0[at] {
            children.insert(name, next);
            self.0.push(leaf);
        }
    }

    /// Follows `target` from `folder`; yields a file or a folder.
    fn follow(&self, folder: usize, target: &[u8]) -> Result<usize, SkipReason> {
        let mut hops = MAX_HOPS;
        self.follow_from(folder, target, &mut hops)
    }

    fn follow_from(&self, folder: usize, target: &[u8], hops: &mut usize) -> Result<usize, SkipReason> {
        *hops = hops.checked_sub(1).ok_or(SkipReason::Loop)?;
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
        if target.is_empty() { Err(SkipReason::Dangling) } else { Ok(at) }
    }
}

struct Walk<'a> {
    tree: &'a Tree<'a>,
    filter: &'a Filter,
    limits: &'a Limits,
    /// What a reader would meet: links to links to folders can make it grow without bound.
    seen: u64,
    files: Vec<(TreePath, TreePath)>,
    links: Vec<(TreePath, Vec<u8>)>,
    skipped: Vec<SkippedLink>,
}

impl Walk<'_> {
    /// Visits the last folder of `way` (the real folders from the root to it), which a reader sees at `shown`.
    /// `real` says that the reader went through no link to get there.
    fn folder(&mut self, way: &[usize], shown: &str, real: bool) -> Result<()> {
        let at = *way.last().expect("the way starts at the root");
        let Node::Folder { children, .. } = &self.tree.0[at] else { return Ok(()) };
        for (name, &child) in children {
            let path = TreePath::new(if shown.is_empty() { (*name).to_owned() } else { format!("{shown}/{name}") })?;
            self.limits.check_path(&path)?;
            self.seen += 1;
            self.limits.check_total(self.seen / SEEN_PER_FILE, 0)?;
            match &self.tree.0[child] {
                Node::File(_) => self.leaf(path, child)?,
                Node::Folder { .. } => self.descend(way, child, &path, real)?,
                Node::Link(target) => self.link(way, path, target, real)?,
            }
        }
        Ok(())
    }

    fn leaf(&mut self, path: TreePath, node: usize) -> Result<()> {
        if let Node::File(origin) = &self.tree.0[node]
            && self.filter.keeps(path.as_str())
        {
            self.files.push((path, (*origin).clone()));
        }
        Ok(())
    }

    fn descend(&mut self, way: &[usize], folder: usize, path: &TreePath, real: bool) -> Result<()> {
        if !self.filter.enters(path.as_str()) {
            return Ok(());
        }
        let way: Vec<usize> = way.iter().copied().chain([folder]).collect();
        self.folder(&way, path.as_str(), real)
    }

    fn link(&mut self, way: &[usize], path: TreePath, target: &[u8], real: bool) -> Result<()> {
        if !self.filter.keeps(path.as_str()) {
            return Ok(());
        }
        let folder = *way.last().expect("the way starts at the root");
        let outcome = self.tree.follow(folder, target).and_then(|node| match self.tree.0[node] {
            Node::Folder { .. } if way.contains(&node) => Err(SkipReason::Loop),
            _ => Ok(node),
        });
        match outcome {
            Ok(node) => {
                let is_folder = matches!(self.tree.0[node], Node::Folder { .. });
                if is_folder && !self.filter.enters(path.as_str()) {
                    return Ok(());
                }
                if real {
                    self.links.push((path.clone(), target.to_vec()));
                }
                if is_folder { self.descend(way, node, &path, false) } else { self.leaf(path, node) }
            }
            Err(reason) => {
                let target = printable(std::os::unix::ffi::OsStrExt::from_bytes(target) as &std::ffi::OsStr);
                self.skipped.push(SkippedLink { path, target, reason });
                Ok(())
            }
        }
    }
}
