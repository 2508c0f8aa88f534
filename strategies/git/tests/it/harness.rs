//! A repository to sync from, made with git's own command line, and one to sync into.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dagsync_core::{
    Filter, Interrupt, Limits, Progress, Result, Revision, Snapshot, Spec, StagedTree, Staging, StagingRules, Strategy,
    SymlinkPolicy, SyncContext, Tally, fs::Folder, index::StatIndex,
};
use dagsync_strategy_git::FACTORY;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The section `git` with its defaults, completed by `changes`.
pub(crate) fn settings(changes: &[(&str, &str)]) -> Value {
    let mut section = json!({"github_app": {}});
    for setting in FACTORY.settings {
        let name = setting.name.strip_prefix("git.").unwrap();
        let text = changes.iter().find(|(n, _)| *n == name).map_or(setting.default, |(_, value)| *value);
        let value = match setting.kind {
            dagsync_core::Kind::Integer => text.parse::<u64>().ok().into(),
            dagsync_core::Kind::List => text.split(',').filter(|item| !item.is_empty()).collect(),
            _ => Value::from(text),
        };
        match name.split_once('.') {
            Some((group, name)) => section[group][name] = value,
            None => section[name] = value,
        }
    }
    for (name, _) in changes {
        assert!(FACTORY.settings.iter().any(|s| s.name == format!("git.{name}")), "no setting git.{name}");
    }
    section
}

/// A working repository that tests commit to.
pub(crate) struct Origin {
    dir: TempDir,
}

impl Origin {
    pub(crate) fn new() -> Self {
        let origin = Self { dir: tempfile::tempdir().unwrap() };
        origin.git(&["init", "-q", "-b", "main", "."]);
        origin
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        git(self.path(), args)
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }
}

pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let fixed = ["-c", "protocol.file.allow=always", "-c", "user.name=t", "-c", "user.email=t@example.com"];
    let output = Command::new("git")
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .args(fixed)
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A strategy with its cache, and the tree it staged last.
pub(crate) struct Target {
    dir: TempDir,
    pub(crate) strategy: Arc<dyn Strategy>,
    pub(crate) filter: Filter,
    pub(crate) limits: Limits,
    pub(crate) timeout: Duration,
    pub(crate) interrupt: Option<Interrupt>,
    pub(crate) tally: Tally,
    previous: Option<Arc<Snapshot>>,
    staged: usize,
}

impl Target {
    pub(crate) fn new(source: &str, changes: &[(&str, &str)]) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            strategy: strategy(source, changes).unwrap(),
            filter: Filter::default(),
            limits: Limits::default(),
            timeout: Duration::from_secs(60),
            interrupt: None,
            tally: Tally::default(),
            previous: None,
            staged: 0,
        }
    }

    /// The same cache and version before, another source or other settings.
    pub(crate) fn reconfigure(&mut self, source: &str, changes: &[(&str, &str)]) {
        self.strategy = strategy(source, changes).unwrap();
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// The only repository in the cache.
    pub(crate) fn cached_repository(&self) -> PathBuf {
        let mut names: Vec<_> = fs::read_dir(self.cache().join("repositories")).unwrap().map(|e| e.unwrap()).collect();
        assert_eq!(names.len(), 1);
        names.remove(0).path()
    }

    fn context(&self) -> SyncContext {
        fs::create_dir_all(self.cache()).unwrap();
        let deadline = Instant::now() + self.timeout;
        SyncContext {
            interrupt: self
                .interrupt
                .clone()
                .unwrap_or_else(|| Interrupt::new(Interrupt::never().token().clone(), Some(deadline))),
            cache: self.cache(),
            filter: Arc::new(self.filter.clone()),
            limits: self.limits,
            previous: self.previous.clone(),
            progress: Progress::default(),
            tally: self.tally.clone(),
            thorough: false,
        }
    }

    pub(crate) fn resolve(&self) -> Result<Revision> {
        block_on(self.strategy.resolve(&self.context()))
    }

    pub(crate) fn materialize(&mut self, revision: &Revision) -> Result<StagedTree> {
        let cx = self.context();
        self.staged += 1;
        let folder = self.dir.path().join(format!("staged-{}", self.staged));
        fs::create_dir(&folder).unwrap();
        let rules = StagingRules {
            filter: cx.filter.clone(),
            limits: self.limits,
            symlinks: SymlinkPolicy::Skip,
            group_write: false,
        };
        let progress = cx.progress.clone();
        let staging = Staging::new(&folder, rules, cx.previous.clone(), cx.interrupt.clone(), progress)?;
        assert!(block_on(self.strategy.materialize(&cx, revision, &staging))?.is_staged());
        let staged = staging.finish()?;
        self.previous = Some(Arc::new(snapshot(&folder, &staged)));
        Ok(staged)
    }

    pub(crate) fn sync(&mut self) -> Result<StagedTree> {
        let revision = self.resolve()?;
        self.materialize(&revision)
    }

    /// Content of every file of the last staged tree; links are shown as their target.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let root = self.dir.path().join(format!("staged-{}", self.staged));
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files);
        files
    }

    pub(crate) fn is_executable(&self, path: &str) -> bool {
        let root = self.dir.path().join(format!("staged-{}", self.staged));
        fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o111 != 0
    }
}

pub(crate) fn strategy(source: &str, changes: &[(&str, &str)]) -> Result<Arc<dyn Strategy>> {
    (FACTORY.build)(&Spec { source, settings: &settings(changes) })
}

/// The index that the engine keeps of a published tree.
fn snapshot(folder: &Path, staged: &StagedTree) -> Snapshot {
    let folder = Folder::open(folder).unwrap();
    let stats =
        staged.files.iter().map(|(path, (_, digest))| (path.clone(), (folder.stat(path.as_str()).unwrap(), *digest)));
    let index = StatIndex::new(i128::MAX, stats.collect());
    Snapshot { folder, version: staged.manifest.version(), index }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if kind.is_dir() {
            collect(root, &path, files);
        } else if kind.is_symlink() {
            files.insert(name, format!("-> {}", fs::read_link(&path).unwrap().display()));
        } else {
            files.insert(name, String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
        }
    }
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// `[("a", "1"), …]` as [`Target::files`] shows it.
pub(crate) fn files(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
}
