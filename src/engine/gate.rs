//! The gate: a command of the user's that looks at a staged tree and may refuse it before it becomes current.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dagsync_core::fs::{self, Folder};
use dagsync_core::index::{FileStat, file_system_tick};
use dagsync_core::{
    Change, ChangeKind, Error, ErrorKind, Interrupt, Manifest, Outcome, Result, Revision, Warning, printable,
};
use rustix::fs::FileType;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::writer::Staged;
use crate::command::{Command, Ended};
use crate::config::GateFailure;
use crate::status::{GateReport, GateResult};
use crate::store::{ScrubMode, Store};

const OPERATION: &str = "gate";
/// How often the loop says that it lives while the gate is asked.
const BEAT: Duration = Duration::from_secs(5);

impl Engine {
    /// Asks the gate about a tree, unless its content is what is published already. Returns why a tree that it did not
    /// let pass is published all the same.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when it did not let the tree pass, or changed it; [`ErrorKind::Cancelled`].
    pub(super) async fn ask_gate(
        &mut self,
        token: &CancellationToken,
        staged: &Arc<Staged>,
        revision: &Revision,
    ) -> Result<Option<Warning>> {
        let published = self.parts.board.read().version;
        let Some(program) = self.gate.command.clone() else { return Ok(None) };
        if published == Some(staged.tree.manifest.version()) {
            return Ok(None);
        }
        let interrupt = Interrupt::new(token.clone(), None);
        let (store, tree, name) = (self.store.clone(), staged.clone(), revision.clone());
        let prepare = move |interrupt: &Interrupt| Question::new(&store, &tree, &name, interrupt);
        let Question { tree, environment, input, before } = self.in_store(&interrupt, OPERATION, prepare).await?;
        let (folder, timeout, shown) = (tree.clone(), self.gate.timeout, printable(&program));
        let command = Command { operation: OPERATION, program, folder, environment, input: Some(input), timeout };
        let answer = Answer::of(&shown, self.alive(command.run(token)).await)?;
        let checked = self.in_store(&interrupt, OPERATION, move |interrupt| check(&tree, &before, interrupt)).await;
        let complaint = self.note_answer(answer, checked.is_ok(), revision);
        if checked.is_err() {
            // Unchanged files are shared with the published version.
            let _ = self.scrub(token, ScrubMode::Stat).await;
        }
        checked?;
        match complaint {
            Some(why) if self.gate.on_failure == GateFailure::Refuse => {
                Err(refused(format!("the tree is refused: {why}"))
                    .with_context("revision", revision)
                    .with_context("version that stays", published.map_or_else(|| "none".to_owned(), |v| v.to_string()))
                    .with_hint("mend what it complains about; /v1/status has more of its output"))
            }
            complaint => Ok(complaint.map(|why| Warning::Other(format!("published although the gate failed: {why}")))),
        }
    }

    /// Reports what the gate said; why it did not let the tree pass.
    fn note_answer(&self, answer: Answer, is_untouched: bool, revision: &Revision) -> Option<String> {
        let Answer { exit_status, output, complaint } = answer;
        let result = match (is_untouched, &complaint, self.gate.on_failure) {
            (true, None, _) => GateResult::Passed,
            (true, Some(_), GateFailure::Warn) => GateResult::Warned,
            _ => GateResult::Refused,
        };
        let outcome = if result == GateResult::Passed { Outcome::Success } else { Outcome::Error };
        self.parts.metrics.tally().count(OPERATION, outcome);
        tracing::info!(%revision, result = result.as_str(), exit_status, "asked the gate");
        let report = GateReport { result, exit_status, output, revision: revision.clone(), at: SystemTime::now() };
        self.parts.board.update(|status| status.gate = Some(report));
        complaint
    }

    /// The loop turns as long as the gate is within its time.
    async fn alive<T>(&self, work: impl Future<Output = T>) -> T {
        let mut beat = tokio::time::interval(BEAT);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = beat.tick() => self.parts.board.beat(),
            }
        }
    }
}

/// What the gate said.
struct Answer {
    exit_status: String,
    output: String,
    /// Why the tree must not pass.
    complaint: Option<String>,
}

impl Answer {
    /// A gate that cannot be run lets nothing pass.
    fn of(program: &str, ended: Result<Ended>) -> Result<Self> {
        match ended {
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => {
                let (exit_status, output) = ("not started".to_owned(), String::new());
                Ok(Self { exit_status, output, complaint: Some(error.to_string()) })
            }
            Ok(ended) => {
                let words = ended.last_words();
                let why = || format!("{program}: {}{}{words}", ended.how, if words.is_empty() { "" } else { ": " });
                let complaint = (!ended.is_success()).then(why);
                Ok(Self { exit_status: ended.how.to_string(), output: ended.output, complaint })
            }
        }
    }
}

/// What the gate is asked.
struct Question {
    tree: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    input: File,
    before: Survey,
}

impl Question {
    fn new(store: &Store, staged: &Staged, revision: &Revision, interrupt: &Interrupt) -> Result<Self> {
        let relative = staged.draft.tree();
        let tree = std::path::absolute(&relative).map_err(|e| Error::io(OPERATION, &relative, e))?;
        let manifest = &staged.tree.manifest;
        let (previous, before) = match &staged.previous {
            Some(snapshot) => (Some(snapshot), manifest_of(store, snapshot)),
            None => (None, Manifest::default()),
        };
        // Beside the tree, so it is removed with the rest of the draft.
        let changes = tree.with_file_name("changes");
        fs::write_atomic(&changes, list(&before.diff(manifest)).as_bytes())?;
        let input = fs::open(&changes)?.ok_or_else(|| refused("the list of changes is gone".to_owned()).retryable())?;
        let previous_tree = previous.map(|p| std::path::absolute(p.folder.path()).unwrap_or_default());
        let environment = vec![
            ("DAGSYNC_TREE", tree.clone().into()),
            ("DAGSYNC_REVISION", revision.to_string().into()),
            ("GITSYNC_HASH", revision.to_string().into()),
            ("DAGSYNC_VERSION", manifest.version().to_string().into()),
            ("DAGSYNC_PREVIOUS_VERSION", previous.map(|p| p.version.to_string()).unwrap_or_default().into()),
            ("DAGSYNC_PREVIOUS_TREE", previous_tree.unwrap_or_default().into()),
            ("DAGSYNC_CHANGES", changes.into()),
        ];
        let before = survey(&tree, interrupt)?;
        Ok(Self { tree, environment, input, before })
    }
}

/// Without the manifest every file counts as added: a gate that looks at changes alone looks at too much then.
fn manifest_of(store: &Store, snapshot: &dagsync_core::Snapshot) -> Manifest {
    let found = store.manifest(&snapshot.version).unwrap_or_else(|error| {
        tracing::warn!(%error, "the gate is told that every file was added");
        None
    });
    found.unwrap_or_default()
}

fn list(changes: &[Change]) -> String {
    let mut text = String::new();
    for Change { path, change } in changes {
        let letter = match change {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Removed => 'D',
        };
        let _ = writeln!(text, "{letter}\t{path}");
    }
    text
}

/// Everything that lies in a tree, with the stat that changes whenever it is written to.
type Survey = BTreeMap<PathBuf, FileStat>;

/// Takes it at a moment after which every change moves a file's ctime.
fn survey(tree: &Path, interrupt: &Interrupt) -> Result<Survey> {
    file_system_tick(tree.parent().unwrap_or(tree))?;
    let mut found = Survey::new();
    visit_all(tree, interrupt, &mut |path, stat| {
        found.insert(path.to_owned(), stat);
        Ok(true)
    })?;
    Ok(found)
}

/// Whether `tree` is what it was: its version was taken before. The caches that Python leaves are removed.
fn check(tree: &Path, before: &Survey, interrupt: &Interrupt) -> Result<()> {
    let changed = |path: &Path, how: &str| {
        refused(format!("{} was {how} in the staged tree while the gate ran", printable(path)))
            .with_hint("the gate may look at the tree and not change it; let it work on a copy")
    };
    let (mut seen, mut caches) = (0, Vec::new());
    visit_all(tree, interrupt, &mut |path, stat| {
        if path.ends_with("__pycache__") && !before.contains_key(path) {
            caches.push(tree.join(path));
            return Ok(false);
        }
        seen += 1;
        match before.get(path) {
            Some(known) if *known == stat => Ok(true),
            Some(_) => Err(changed(path, "changed")),
            None => Err(changed(path, "added")),
        }
    })?;
    if seen < before.len() {
        let gone = before.keys().find(|path| std::fs::symlink_metadata(tree.join(path)).is_err());
        return Err(changed(gone.map_or(Path::new("a file"), PathBuf::as_path), "removed"));
    }
    caches.iter().try_for_each(|cache| remove_cache(cache, interrupt))
}

fn remove_cache(cache: &Path, interrupt: &Interrupt) -> Result<()> {
    let parent = Folder::open(cache.parent().unwrap_or(cache))?;
    let mode = std::fs::metadata(parent.path()).map_err(|e| Error::io("stat", parent.path(), e))?.permissions().mode();
    parent.chmod(0o755)?;
    fs::remove_tree(cache, interrupt)?;
    parent.chmod(mode & 0o7777)
}

type See<'a> = &'a mut dyn FnMut(&Path, FileStat) -> Result<bool>;

/// Calls `see` with a folder and everything in it, and goes into a folder if that says so.
fn visit_all(tree: &Path, interrupt: &Interrupt, see: See<'_>) -> Result<()> {
    let root = Folder::open(tree)?;
    see(Path::new("."), timeless(root.stat(".")?))?;
    visit(&root, Path::new(""), interrupt, see)
}

fn visit(folder: &Folder, path: &Path, interrupt: &Interrupt, see: See<'_>) -> Result<()> {
    interrupt.check(OPERATION)?;
    for entry in folder.names()? {
        let path = path.join(&entry.name);
        let stat = folder.stat(&entry.name)?;
        if !FileType::from_raw_mode(stat.mode).is_dir() {
            see(&path, stat)?;
        } else if see(&path, timeless(stat))? {
            visit(&folder.folder(&entry.name.to_string_lossy())?, &path, interrupt, see)?;
        }
    }
    Ok(())
}

/// A folder's times and size move with the caches in it.
fn timeless(folder: FileStat) -> FileStat {
    FileStat { size: 0, mtime: 0, ctime: 0, ..folder }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Refused, OPERATION, message)
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
