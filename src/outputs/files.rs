//! Files that tell of syncs, in the form that git-sync gives them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Result, fs, worded};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use serde_json::json;

use crate::config::Config;
use crate::engine::isolate::Isolation;

/// How long a file is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The files that are configured.
#[derive(Debug)]
pub(super) struct Files {
    touch: Option<PathBuf>,
    error: Option<PathBuf>,
    /// The error file may be there, from a process before this one too.
    error_stands: AtomicBool,
    root: PathBuf,
    stands_by: AtomicBool,
    volume: Isolation,
}

impl Files {
    pub(super) fn new(config: &Config) -> Result<Self> {
        let place = |name, file: &Option<PathBuf>| file.as_ref().map(|file| place(config, name, file)).transpose();
        let (touch, error) = (place("touch_file", &config.touch_file)?, place("error_file", &config.error_file)?);
        if touch.is_some() && touch == error {
            return Err(wrong("touch_file and error_file are the same file".to_owned()));
        }
        let (root, volume) = (config.root.clone(), Isolation::of_volume(&config.root));
        Ok(Self { touch, error, error_stands: AtomicBool::new(true), root, stands_by: AtomicBool::new(false), volume })
    }

    pub(super) fn stand_by(&self, stands_by: bool) {
        self.stands_by.store(stands_by, Relaxed);
    }

    /// Does `work` on a file, unless it is another process's.
    async fn with(
        &self,
        file: &Option<PathBuf>,
        operation: &'static str,
        work: impl FnOnce(&Path) -> Result<()> + Send + 'static,
    ) -> Option<Result<()>> {
        let path = file.clone().filter(|path| !(self.stands_by.load(Relaxed) && path.starts_with(&self.root)))?;
        Some(self.on_volume(operation, move || work(&path)).await)
    }

    /// A call that is not waited for without end.
    pub(super) async fn on_volume<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.volume.blocking(operation, tokio::time::sleep(PATIENCE), call).await
    }

    /// Says that something was published.
    pub(super) async fn touch(&self) {
        if let Some(touched) = self.with(&self.touch, "touch", touch).await {
            warn_of(touched, "touch_file is not touched");
        }
    }

    /// Says what went wrong.
    pub(super) async fn fail(&self, message: &'static str, error: &Error, failures: u64) {
        let args = json!({"failCount": failures, "kind": error.kind().as_str()});
        let json = json!({"Msg": message, "Err": error.to_string(), "Args": args}).to_string();
        let write = move |path: &Path| write(path, &json);
        if let Some(written) = self.with(&self.error, "write error_file", write).await {
            self.error_stands.store(true, Relaxed);
            warn_of(written, "error_file is not written");
        }
    }

    /// Nothing is wrong any more.
    pub(super) async fn recover(&self) {
        if !self.error_stands.load(Relaxed) {
            return;
        }
        if let Some(removed) = self.with(&self.error, "remove error_file", fs::remove_file).await {
            self.error_stands.store(removed.is_err(), Relaxed);
            warn_of(removed, "error_file is not removed; the next sync tries again");
        }
    }
}

/// Writes `text`, which must hold no secret, as the error file: for an error that keeps dagsync from starting, so that
/// there is no loop to do it. Blocks.
///
/// # Errors
/// It cannot be written.
pub fn export_error(root: &Path, error_file: &Path, text: &str) -> Result<()> {
    write(&root.join(error_file), text)
}

fn touch(path: &Path) -> Result<()> {
    make_parent(path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))
        .and_then(|file| rustix::fs::futimens(file, &Timestamps { last_access: now, last_modification: now }))
        .map_err(|e| Error::io("touch", path, e))
}

fn write(path: &Path, text: &str) -> Result<()> {
    make_parent(path)?;
    fs::write_atomic(path, text.as_bytes())?;
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, mode).map_err(|e| Error::io("chmod", path, e))
}

fn make_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), fs::create_folders)
}

/// Where a file lies that is relative to the root; never inside what the store keeps, and checks, there.
fn place(config: &Config, name: &str, file: &Path) -> Result<PathBuf> {
    let path = config.root.join(file);
    let mine = [".dagsync", "versions", ".worktrees", &config.link].map(|taken| config.root.join(taken));
    let is_plain = !path.components().any(|part| part == Component::ParentDir) && path != config.root;
    if is_plain && !mine.iter().any(|taken| path.starts_with(taken)) {
        return Ok(path);
    }
    let message = format!("{name}: {} is no place for a file of its own", file.display());
    Err(wrong(message).with_hint("give a path without `..` that is not inside the link or another folder of the store"))
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::Config, "read settings", message)
}

/// The sync went as it went.
fn warn_of(result: Result<()>, consequence: &'static str) {
    if let Err(error) = result {
        tracing::warn!(%error, "{}", worded(consequence));
    }
}
