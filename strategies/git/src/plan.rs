//! What a commit's tree holds: every file and link that is wanted, across submodules, before any content is read.

use std::collections::BTreeSet;

use dagsync_core::{Error, ErrorKind, Result, Staging, TreePath};
use git2::{ObjectType, Oid, Repository, Tree, TreeEntry};

use crate::Source;
use crate::attributes;
use crate::cache::Cache;
use crate::errors;
use crate::location::Location;
use crate::remote::Network;
use crate::settings;
use crate::sparse::Sparse;
use crate::submodules::Submodules;
use crate::verify;

/// Submodules in one tree, and inside one another.
pub(crate) const MAX_MODULES: usize = 200;
const MAX_MODULE_DEPTH: usize = 10;
const MAX_GITMODULES: usize = 1 << 20;

const FILEMODE: i32 = 0o170_000;
const SYMLINK: i32 = 0o120_000;
const EXECUTABLE: i32 = 0o100;

/// What an item becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File { executable: bool },
    Link,
}

/// One file or link to stage.
#[derive(Debug)]
pub(crate) struct Item {
    /// Which of [`Plan::caches`] has its content.
    pub(crate) cache: usize,
    pub(crate) id: Oid,
    pub(crate) path: TreePath,
    pub(crate) kind: Kind,
}

/// Everything to stage.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) caches: Vec<Cache>,
    /// The commit that is wanted of each of `caches`; several submodules may share one repository.
    commits: Vec<Oid>,
    pub(crate) items: Vec<Item>,
}

impl Plan {
    /// Compacts the caches that need it, with every commit that is wanted of them.
    pub(crate) fn compact(&self, network: &Network<'_>) -> Result<()> {
        for cache in &self.caches {
            if cache.has_many_packs()? {
                let all = self.caches.iter().zip(&self.commits);
                let wanted: BTreeSet<Oid> = all.filter(|(c, _)| c.path() == cache.path()).map(|(_, id)| *id).collect();
                cache.compact(&Vec::from_iter(wanted), network)?;
            }
        }
        Ok(())
    }
}

/// One repository on the way: its own tree, or a submodule's.
struct Module<'a> {
    location: Location,
    repository: &'a Repository,
    cache: usize,
    root: Tree<'a>,
    submodules: Option<Submodules>,
    depth: usize,
}

/// Builds a [`Plan`]; fetches submodules as it meets them.
pub(crate) struct Planner<'a> {
    pub(crate) network: Network<'a>,
    pub(crate) staging: &'a Staging,
    pub(crate) folder: &'a std::path::Path,
    /// What is wanted of the repository itself; all without it, and all of its submodules.
    pub(crate) sparse: Option<Sparse>,
    pub(crate) plan: Plan,
}

impl Planner<'_> {
    /// Plans what lies at `subpath` of `commit` (empty: all) into the folder `into` of the result (empty: its root).
    pub(crate) fn repository(
        &mut self,
        location: &Location,
        commit: Oid,
        subpath: &str,
        into: &str,
        depth: usize,
    ) -> Result<()> {
        let settings = &self.network.source.settings;
        let cache = Cache::new(self.folder, location);
        let followed = (depth == 0).then_some(settings.reference.as_str());
        let followed = followed.filter(|r| crate::refs::commit_id(r).ok().flatten().is_none());
        cache.ensure(&self.network, location, commit, followed)?;
        let repository = cache.open()?;
        if depth == 0 {
            // Before anything that the commit says is believed, such as where its submodules are.
            verify::check(&self.network, location, &repository, commit)?;
        }
        let root =
            repository.find_commit(commit).and_then(|c| c.tree()).map_err(|e| errors::cache("read commit", &e))?;
        if let Some(warning) = attributes::warning(&repository, &root).filter(|_| depth == 0) {
            self.staging.warn(warning);
        }
        self.plan.caches.push(cache);
        self.plan.commits.push(commit);
        let cache = self.plan.caches.len() - 1;
        let location = location.clone();
        let mut module = Module { location, repository: &repository, cache, root, submodules: None, depth };
        self.subpath(&mut module, subpath, into)
    }

    /// Goes down to the folder that is wanted, into submodules where it leads there.
    fn subpath(&mut self, module: &mut Module<'_>, subpath: &str, into: &str) -> Result<()> {
        let missing = |what: &str| {
            Error::new(ErrorKind::NotFound, "find git.subpath", format!("{subpath} {what}"))
                .with_context("url", &module.location)
                .with_hint("check git.subpath and git.ref")
        };
        let mut tree = module.root.clone();
        let mut walked = String::new();
        let mut rest = subpath;
        while !rest.is_empty() {
            let (name, below) = rest.split_once('/').unwrap_or((rest, ""));
            let entry = tree.get_name(name).ok_or_else(|| missing("is not in the repository"))?.to_owned();
            join(&mut walked, name);
            match entry.kind() {
                Some(ObjectType::Tree) => tree = module.tree(entry.id())?,
                Some(ObjectType::Commit) if self.follows(module) => {
                    return self.submodule(module, &walked, entry.id(), below, into);
                }
                Some(ObjectType::Commit) => return Err(missing("is in a submodule, which git.submodules leaves out")),
                _ => return Err(missing("is not a folder")),
            }
            rest = below;
        }
        self.folder(module, &tree, &walked, into)
    }

    /// Plans one folder: `at` in its repository, `into` in the result.
    fn folder(&mut self, module: &mut Module<'_>, tree: &Tree<'_>, at: &str, into: &str) -> Result<()> {
        self.network.interrupt.check("read tree")?;
        for entry in tree {
            let here = || {
                let name = String::from_utf8_lossy(entry.name_bytes());
                format!("{at}{}{name}", if at.is_empty() { "" } else { "/" })
            };
            if !self.is_wanted(module, &entry, here) {
                continue;
            }
            let Some(path) = self.path(&entry, into)? else { continue };
            match entry.kind() {
                Some(ObjectType::Blob) => self.leaf(module.cache, &entry, path)?,
                _ if !self.network.cx.filter.enters(path.as_str()) => {}
                Some(ObjectType::Tree) => {
                    self.network.cx.limits.check_path(&path)?;
                    let below = module.tree(entry.id())?;
                    self.folder(module, &below, &here(), &format!("{path}/"))?;
                }
                Some(ObjectType::Commit) if self.follows(module) => {
                    self.submodule(module, &here(), entry.id(), "", &format!("{path}/"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the entry is in the part of the repository that the sparse patterns leave.
    fn is_wanted(&self, module: &Module<'_>, entry: &TreeEntry<'_>, here: impl Fn() -> String) -> bool {
        let Some(sparse) = self.sparse.as_ref().filter(|_| module.depth == 0) else { return true };
        match entry.kind() {
            Some(ObjectType::Tree) => sparse.enters(&here()),
            kind => sparse.wants(&here(), kind == Some(ObjectType::Commit)),
        }
    }

    /// The entry's path; `None` for a name that cannot be published and need not be, because the filter leaves it out.
    fn path(&self, entry: &TreeEntry<'_>, into: &str) -> Result<Option<TreePath>> {
        let bytes = [into.as_bytes(), entry.name_bytes()].concat();
        let filter = &self.network.cx.filter;
        let left_out = |text: &str| match entry.kind() {
            Some(ObjectType::Blob) => !filter.keeps(text),
            _ => !filter.enters(text),
        };
        match TreePath::new(&bytes) {
            // As where a folder is listed, a name that is no text is shown to the filter as text can show it.
            Err(_) if left_out(&String::from_utf8_lossy(&bytes)) => Ok(None),
            path => path.map(Some),
        }
    }

    fn leaf(&mut self, cache: usize, entry: &TreeEntry<'_>, path: TreePath) -> Result<()> {
        if !self.staging.wants(&path) {
            return Ok(());
        }
        let mode = entry.filemode_raw();
        let kind = match mode & FILEMODE {
            SYMLINK => Kind::Link,
            _ => Kind::File { executable: mode & EXECUTABLE != 0 },
        };
        self.plan.items.push(Item { cache, id: entry.id(), path, kind });
        self.network.cx.limits.check_total(self.plan.items.len() as u64, 0)
    }

    fn follows(&self, module: &Module<'_>) -> bool {
        match self.network.source.settings.submodules {
            settings::Submodules::Recursive => true,
            settings::Submodules::Shallow => module.depth == 0,
            settings::Submodules::Off => false,
        }
    }

    fn submodule(&mut self, module: &mut Module<'_>, at: &str, commit: Oid, subpath: &str, into: &str) -> Result<()> {
        if module.depth >= MAX_MODULE_DEPTH || self.plan.caches.len() >= MAX_MODULES {
            let message = format!("more than {MAX_MODULES} submodules, or nested deeper than {MAX_MODULE_DEPTH}");
            return Err(Error::new(ErrorKind::LimitExceeded, "read submodule", message).with_context("submodule", at));
        }
        let location = module.location_of(self.network.source, at)?;
        let main = &self.network.source.location;
        if location.is_file() && !main.is_file() {
            return Err(Error::new(ErrorKind::Refused, "read submodule", "its URL is a folder of this host")
                .with_context("submodule", at)
                .with_hint("correct .gitmodules, or set git.submodules to off"));
        }
        self.repository(&location, commit, subpath, into, module.depth + 1).map_err(|e| e.with_context("submodule", at))
    }
}

impl<'a> Module<'a> {
    fn tree(&self, id: Oid) -> Result<Tree<'a>> {
        self.repository.find_tree(id).map_err(|e| errors::cache("read tree", &e))
    }

    fn location_of(&mut self, source: &Source, at: &str) -> Result<Location> {
        if self.submodules.is_none() {
            self.submodules = Some(self.gitmodules()?);
        }
        let url = self.submodules.as_ref().and_then(|known| known.url(at)).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "read submodule",
                "the folder is a submodule, but .gitmodules has no URL for it",
            )
            .with_context("submodule", at)
            .with_context("url", &self.location)
            .with_hint("correct .gitmodules, or set git.submodules to off")
        })?;
        self.location.join(&source.config.rewrite(url)).map_err(|e| e.with_context("submodule", at))
    }

    fn gitmodules(&self) -> Result<Submodules> {
        let Some(entry) = self.root.get_name(".gitmodules") else { return Ok(Submodules::default()) };
        let blob = self.repository.find_blob(entry.id()).map_err(|e| errors::cache("read .gitmodules", &e))?;
        if blob.size() > MAX_GITMODULES {
            return Err(Error::new(ErrorKind::LimitExceeded, "read submodule", ".gitmodules is larger than 1 MiB"));
        }
        Ok(Submodules::parse(&String::from_utf8_lossy(blob.content())))
    }
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(name);
}
