//! Bringing a commit's tree into staging, straight from the object database.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dagsync_core::{Digest, Error, ErrorKind, Interrupt, Limits, Result, Staging, SyncContext, TreePath, Warning, fs};
use git2::{ObjectType, Odb, Oid, Repository};

use crate::Source;
use crate::blobs::{self, Blob, Blobs};
use crate::cache::Cache;
use crate::errors;
use crate::plan::{Item, Kind, Plan, Planner};
use crate::remote::Network;
use crate::sparse::Sparse;

/// Blobs that are worth another thread.
const BLOBS_PER_THREAD: usize = 64;
const MAX_THREADS: usize = 8;
/// Items that one thread takes at once: they lie side by side, and two threads that create files in one folder wait for
/// each other.
const RUN: usize = 32;

/// Where the caches of repositories lie.
pub(crate) fn repositories(cx: &SyncContext) -> PathBuf {
    cx.cache.join("repositories")
}

/// Stages the tree of `commit`. A damaged cache is rebuilt once; what was staged before the damage was met stays.
pub(crate) fn materialize(
    source: &Source,
    cx: &SyncContext,
    interrupt: &Interrupt,
    commit: Oid,
    staging: &Staging,
) -> Result<()> {
    let network = Network { source, cx, interrupt };
    let repositories = repositories(cx);
    let mut work =
        Work { network, staging, repositories: &repositories, before: HashSet::new(), done: Mutex::default() };
    match work.run(commit) {
        Err(e) if e.kind() == ErrorKind::Corrupt => {
            tracing::warn!(error = %e, "the git cache is damaged; rebuilding it");
            fs::remove_tree(&repositories, interrupt)?;
            let staged = std::mem::take(&mut *work.done());
            work.before = staged.into_iter().collect();
            work.run(commit)
        }
        done => done,
    }
}

struct Work<'a> {
    network: Network<'a>,
    staging: &'a Staging,
    repositories: &'a Path,
    /// What was staged before damage was met.
    before: HashSet<TreePath>,
    /// What is staged.
    done: Mutex<Vec<TreePath>>,
}

impl Work<'_> {
    fn run(&self, commit: Oid) -> Result<()> {
        let Network { source, cx, .. } = self.network;
        fs::create_folders(self.repositories)?;
        cx.progress.start("fetch", 0);
        let mut planner = Planner {
            network: self.network,
            staging: self.staging,
            folder: self.repositories,
            sparse: source.settings.sparse_checkout_file.as_deref().map(Sparse::read).transpose()?,
            plan: Plan::default(),
        };
        planner.repository(&source.location, commit, source.settings.subpath(), "", 0)?;
        let plan = planner.plan;
        plan.compact(&self.network)?;
        cx.progress.start("stage", plan.items.len() as u64);
        self.stage(&plan)?;
        self.remove_unused(&plan.caches)
    }

    fn stage(&self, plan: &Plan) -> Result<()> {
        let file = self.network.cx.cache.join("blobs");
        let known = Blobs::load(&file);
        let unknown = plan.items.iter().filter(|item| known.get(item.id).is_none()).count();
        let found = Stager { work: self, plan, known: &known, next: AtomicUsize::new(0) }.run(unknown)?;
        for (item, blob) in &found {
            if blob.lfs {
                self.staging.warn(Warning::LfsPointer(item.path.clone()));
            }
        }
        let blobs: Blobs = found.into_iter().map(|(item, blob)| (item.id, blob)).collect();
        if blobs != known
            && let Err(e) = blobs.save(&file)
        {
            tracing::warn!(error = %e, "cannot remember the digests of blobs; the next sync reads them all again");
        }
        Ok(())
    }

    /// Repositories of URLs that are no longer in use, and what a kill left behind.
    fn remove_unused(&self, used: &[Cache]) -> Result<()> {
        for entry in fs::Folder::open(self.repositories)?.names()? {
            let path = self.repositories.join(&entry.name);
            if used.iter().all(|cache| cache.path() != path) {
                fs::remove_tree(&path, self.network.interrupt)?;
            }
        }
        Ok(())
    }

    fn done(&self) -> MutexGuard<'_, Vec<TreePath>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stages the items of a plan from several threads.
struct Stager<'a> {
    work: &'a Work<'a>,
    plan: &'a Plan,
    known: &'a Blobs,
    next: AtomicUsize,
}

type Found<'a> = Vec<(&'a Item, Blob)>;

impl<'a> Stager<'a> {
    fn run(&self, unknown: usize) -> Result<Found<'a>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(unknown.div_ceil(BLOBS_PER_THREAD)).min(MAX_THREADS);
        if threads <= 1 {
            return self.work_through();
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| self.work_through())).collect();
            let results: Vec<_> = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            let mut found = Vec::with_capacity(self.plan.items.len());
            for result in results {
                found.extend(result?);
            }
            Ok(found)
        })
    }

    /// One thread's share, with its own handles: libgit2's are not for several threads.
    fn work_through(&self) -> Result<Found<'a>> {
        let open = |cache: &Cache| cache.open();
        let repositories: Vec<Repository> = self.plan.caches.iter().map(open).collect::<Result<_>>()?;
        let odbs: Result<Vec<Odb<'_>>, _> = repositories.iter().map(Repository::odb).collect();
        let odbs = odbs.map_err(|e| errors::cache("open cache", &e))?;
        let mut found = Vec::new();
        let all = &self.plan.items;
        while let Some(rest) = all.get(self.next.fetch_add(RUN, Relaxed)..) {
            for item in rest.iter().take(RUN) {
                // Another thread's error ends the whole: let the others stop soon.
                let staged =
                    self.item(&odbs[item.cache], item).inspect_err(|_| self.next.store(all.len() + 1, Relaxed))?;
                found.extend(staged.map(|blob| (item, blob)));
            }
            if rest.len() <= RUN {
                break;
            }
        }
        Ok(found)
    }

    /// Stages one item; what is known of its blob, if it is a file.
    fn item(&self, odb: &Odb<'_>, item: &Item) -> Result<Option<Blob>> {
        let staging = self.work.staging;
        let known = self.known.get(item.id);
        let staged = self.work.before.contains(&item.path);
        let blob = match (item.kind, known) {
            (Kind::Link, _) if staged => None,
            (Kind::Link, _) => {
                staging.link(&item.path, read(odb, item, &self.work.network.cx.limits)?.data())?;
                None
            }
            (Kind::File { .. }, Some(blob)) if staged => Some(blob),
            (Kind::File { executable }, Some(blob)) if staging.reuse(&item.path, executable, &blob.digest)? => {
                Some(blob)
            }
            (Kind::File { executable }, _) => Some(self.write(odb, item, executable, staged)?),
        };
        self.work.done().push(item.path.clone());
        Ok(blob)
    }

    fn write(&self, odb: &Odb<'_>, item: &Item, executable: bool, staged: bool) -> Result<Blob> {
        let object = read(odb, item, &self.work.network.cx.limits)?;
        let content = object.data();
        let digest = match staged {
            true => Digest::of(content),
            false => self.write_or_reuse(item, executable, content)?,
        };
        Ok(Blob { digest, lfs: blobs::is_lfs_pointer(content) })
    }

    /// Without the blob file, the version before may still have the content.
    fn write_or_reuse(&self, item: &Item, executable: bool, content: &[u8]) -> Result<Digest> {
        let staging = self.work.staging;
        if self.known.get(item.id).is_none() && self.work.network.cx.previous.is_some() {
            let digest = Digest::of(content);
            if staging.reuse(&item.path, executable, &digest)? {
                return Ok(digest);
            }
        }
        staging.write_bytes(&item.path, executable, content)
    }
}

/// The content of a blob; its size is checked before it is inflated.
fn read<'a>(odb: &'a Odb<'_>, item: &Item, limits: &Limits) -> Result<git2::OdbObject<'a>> {
    let fail = |e: git2::Error| errors::cache("read blob", &e).with_context("file", &item.path);
    let (bytes, kind) = odb.read_header(item.id).map_err(fail)?;
    limits.check_file(&item.path, bytes as u64)?;
    if kind != ObjectType::Blob {
        return Err(Error::new(ErrorKind::Corrupt, "read blob", format!("{} is no file", item.path)));
    }
    odb.read(item.id).map_err(fail)
}
