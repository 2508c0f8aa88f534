//! The bare repository that one URL has in the cache: created, filled, kept small, thrown away when damaged.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use dagsync_core::{Error, ErrorKind, Interrupt, Outcome, Result, fs};
use git2::{ErrorCode, ObjectType, Odb, OdbLookupFlags, Oid, PackBuilder, Repository, RepositoryInitOptions};

use crate::errors;
use crate::libgit;
use crate::location::Location;
use crate::plan::MAX_MODULES;
use crate::remote::{Network, holds, refuse_other};

/// The reference that tells a server what is already here.
const FETCHED: &str = "refs/dagsync/fetched";
/// With more packs than this the repository is packed anew, with the wanted commits alone.
const MAX_PACKS: usize = 20;
const MAX_DEPTH: usize = 256;

/// The cached repository of one URL.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    path: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: &Path, location: &Location) -> Self {
        Self { path: folder.join(location.cache_name()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the repository for reading.
    pub(crate) fn open(&self) -> Result<Repository> {
        libgit::start();
        Repository::open_bare(&self.path).map_err(|e| errors::cache("open cache", &e))
    }

    fn open_or_create(&self, interrupt: &Interrupt) -> Result<Repository> {
        libgit::start();
        match Repository::open_bare(&self.path) {
            // Not found is also said of a folder that holds no repository: then it is damaged.
            Err(e) if e.code() == ErrorCode::NotFound && !self.path.exists() => {}
            opened => return opened.map_err(|e| errors::cache("open cache", &e)),
        }
        let beside = fs::with_suffix(&self.path, ".new");
        fs::remove_tree(&beside, interrupt)?;
        create(&beside)?;
        fs::rename(&beside, &self.path)?;
        self.open()
    }

    /// Brings `commit` into the repository unless it is there: then nothing is asked of anybody.
    pub(crate) fn ensure(
        &self,
        network: &Network<'_>,
        location: &Location,
        commit: Oid,
        reference: Option<&str>,
    ) -> Result<()> {
        let repository = self.open_or_create(network.interrupt)?;
        if holds(&repository, commit) {
            return Ok(());
        }
        refuse_other(&repository, location, commit)?;
        self.remove_leftovers()?;
        if self.packs()? > MAX_PACKS + MAX_MODULES {
            let many = "fetches that found nothing left too many packs";
            return Err(Error::new(ErrorKind::Corrupt, "open cache", many));
        }
        let fetched = match location.folder() {
            Some(folder) => copy_from(location, &folder, &repository, commit, network.interrupt),
            None => network.fetch(&repository, location, commit, reference),
        };
        network.cx.tally.count("fetch", Outcome::of(&fetched));
        fetched?;
        let mark = |repository: &Repository| repository.reference(FETCHED, commit, true, "fetched").map(drop);
        mark(&repository).map_err(|e| errors::cache("mark fetched commit", &e))
    }

    /// Lists what the server offers and fetches what is followed, in one connection: the commit, or why none could be
    /// chosen. `None` when the repository cannot be used.
    pub(crate) fn fill(&self, network: &Network<'_>, location: &Location) -> Option<Result<Oid>> {
        fs::create_folders(self.path.parent()?).ok()?;
        let repository = self.open_or_create(network.interrupt).ok()?;
        self.remove_leftovers().ok()?;
        let (chosen, fetched) = network.fetch_newest(&repository, location);
        if let Some(fetched) = fetched {
            network.cx.tally.count("fetch", Outcome::of(&fetched));
        }
        if let Ok(commit) = &chosen
            && holds(&repository, *commit)
        {
            repository.reference(FETCHED, *commit, true, "fetched").ok()?;
        }
        Some(chosen)
    }

    /// Files of fetches that were killed.
    fn remove_leftovers(&self) -> Result<()> {
        let packs = self.path.join("objects/pack");
        fs::create_folders(&packs).map_err(|e| {
            Error::new(ErrorKind::Corrupt, "open cache", "the cached repository has no folder for packs").with_source(e)
        })?;
        for entry in fs::Folder::open(&packs)?.names()? {
            if !entry.name.as_encoded_bytes().starts_with(b"pack-") {
                fs::remove_file(&packs.join(&entry.name))?;
            }
        }
        Ok(())
    }

    fn packs(&self) -> Result<usize> {
        let names = fs::Folder::open(self.path.join("objects/pack"))?.names()?;
        Ok(names.iter().filter(|n| n.name.as_encoded_bytes().ends_with(b".pack")).count())
    }

    pub(crate) fn has_many_packs(&self) -> Result<bool> {
        Ok(self.packs()? > MAX_PACKS)
    }

    /// Replaces all packs by one that holds only what `commits` need.
    pub(crate) fn compact(&self, commits: &[Oid], network: &Network<'_>) -> Result<()> {
        let interrupt = network.interrupt;
        let (new, old) = (fs::with_suffix(&self.path, ".new"), fs::with_suffix(&self.path, ".old"));
        fs::remove_tree(&new, interrupt)?;
        fs::remove_tree(&old, interrupt)?;
        let from = self.open()?;
        let to = create(&new)?;
        let whole_history = network.source.settings.depth == 0;
        copy(&from, &to, commits, whole_history, interrupt).map_err(|e| stopped_or("pack cache", &e, interrupt))?;
        for commit in commits {
            to.reference(FETCHED, *commit, true, "fetched").map_err(|e| errors::cache("mark fetched commit", &e))?;
        }
        drop((from, to));
        fs::rename(&self.path, &old)?;
        fs::rename(&new, &self.path)?;
        fs::remove_tree(&old, interrupt)
    }
}

/// An empty repository, for what libgit2 does in one only.
pub(crate) fn scratch(path: &Path, interrupt: &Interrupt) -> Result<Repository> {
    libgit::start();
    Repository::open_bare(path).or_else(|_| {
        fs::remove_tree(path, interrupt)?;
        create(path)
    })
}

fn create(path: &Path) -> Result<Repository> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).no_reinit(true).external_template(false).initial_head("none");
    Repository::init_opts(path, &options).map_err(|e| errors::cache("create cache", &e))
}

/// libgit2 cannot fetch a single commit from a folder, so its objects are packed straight from the repository there.
fn copy_from(location: &Location, folder: &Path, to: &Repository, commit: Oid, interrupt: &Interrupt) -> Result<()> {
    let fail =
        |e: git2::Error, kind: ErrorKind| Error::new(kind, "fetch", e.message()).with_context("url", folder.display());
    let from = Repository::open(folder).map_err(|e| fail(e, ErrorKind::NotFound))?;
    refuse_other(&from, location, commit)?;
    if !holds(&from, commit) {
        return Err(Error::new(ErrorKind::Changed, "fetch", "the repository no longer has the commit")
            .with_context("commit", commit)
            .with_context("url", folder.display()));
    }
    copy(&from, to, &[commit], false, interrupt).map_err(|e| match stopped_or("fetch", &e, interrupt) {
        // Both sides are files here; what cannot be read is taken to be the source.
        damaged if damaged.kind() == ErrorKind::Corrupt => fail(e, ErrorKind::Unreachable),
        other => other,
    })
}

fn stopped_or(operation: &'static str, e: &git2::Error, interrupt: &Interrupt) -> Error {
    interrupt.check(operation).err().unwrap_or_else(|| errors::cache(operation, e))
}

/// Packs `commits` and what their trees need into `to`, leaving out what is there already.
fn copy(
    from: &Repository,
    to: &Repository,
    commits: &[Oid],
    whole_history: bool,
    interrupt: &Interrupt,
) -> Result<(), git2::Error> {
    let mut builder = from.packbuilder()?;
    builder.set_threads(0);
    let check = interrupt.clone();
    builder.set_progress_callback(move |_, _, _| check.check("pack").is_ok())?;
    if whole_history {
        let mut walk = from.revwalk()?;
        for commit in commits {
            walk.push(*commit)?;
        }
        builder.insert_walk(&mut walk)?;
    } else {
        let there = to.odb()?;
        let mut missing = Missing { from, there: &there, seen: HashSet::new(), interrupt };
        for commit in commits {
            builder.insert_object(*commit, None)?;
            missing.tree(&mut builder, from.find_commit(*commit)?.tree_id(), 0)?;
            mark_shallow(from, to, *commit)?;
        }
    }
    builder.write(&to.path().join("objects/pack"), 0o644)
}

/// Says in git's own way that the commit's parents are left out on purpose.
fn mark_shallow(from: &Repository, to: &Repository, commit: Oid) -> Result<(), git2::Error> {
    if from.find_commit(commit)?.parent_count() == 0 {
        return Ok(());
    }
    let path = to.path().join("shallow");
    let known = fs::read(&path, 1 << 20).ok().flatten().unwrap_or_default();
    let line = format!("{commit}\n");
    let text = [known, line.into_bytes()].concat();
    fs::write_atomic(&path, &text).map_err(|e| git2::Error::from_str(&e.to_string()))
}

/// Finds the objects of a tree that a repository lacks. One that has a tree has all below it.
struct Missing<'a> {
    from: &'a Repository,
    there: &'a Odb<'a>,
    seen: HashSet<Oid>,
    interrupt: &'a Interrupt,
}

impl Missing<'_> {
    fn tree(&mut self, builder: &mut PackBuilder<'_>, id: Oid, depth: usize) -> Result<(), git2::Error> {
        if !self.lacks(id) {
            return Ok(());
        }
        if depth > MAX_DEPTH || self.interrupt.check("pack").is_err() {
            return Err(git2::Error::from_str("stopped, or folders are nested too deeply"));
        }
        builder.insert_object(id, None)?;
        for entry in &self.from.find_tree(id)? {
            match entry.kind() {
                Some(ObjectType::Tree) => self.tree(builder, entry.id(), depth + 1)?,
                Some(ObjectType::Blob) if self.lacks(entry.id()) => {
                    builder.insert_object(entry.id(), entry.name().ok())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn lacks(&mut self, id: Oid) -> bool {
        self.seen.insert(id) && !self.there.exists_ext(id, OdbLookupFlags::NO_REFRESH)
    }
}
