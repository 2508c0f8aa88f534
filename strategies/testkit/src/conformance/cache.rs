//! Clauses about a cache that is lost, damaged or left half-written by a killed process.
#![allow(clippy::disallowed_methods, reason = "damages files, which the file module does not do")]

use std::io;
use std::path::{Path, PathBuf};

use dagsync_core::{ErrorKind, Interrupt, fs};

use super::{Case, Outcome, expect_tree};
use crate::source::{delete, file};

pub(super) async fn a_lost_cache_changes_nothing(case: Case<'_>) -> Outcome {
    damaged(case, |cache| {
        fs::remove_tree(cache, &Interrupt::never()).map_err(io::Error::other)?;
        std::fs::create_dir(cache)
    })
    .await
}

pub(super) async fn a_damaged_cache_changes_nothing(case: Case<'_>) -> Outcome {
    damaged(case, |cache| {
        for path in files_in(cache)? {
            let length = path.metadata()?.len() as usize;
            overwrite(&path, &b"damage\n".iter().copied().cycle().take(length).collect::<Vec<_>>())?;
        }
        Ok(())
    })
    .await
}

pub(super) async fn a_cut_off_cache_changes_nothing(case: Case<'_>) -> Outcome {
    damaged(case, |cache| {
        for path in files_in(cache)? {
            let bytes = std::fs::read(&path)?;
            overwrite(&path, &bytes[..bytes.len() / 2])?;
        }
        Ok(())
    })
    .await
}

/// A cache may hold read-only files, so each is replaced.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::remove_file(path)?;
    std::fs::write(path, bytes)
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => files.extend(files_in(&entry.path())?),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(files)
}

/// Syncs, damages the cache, and syncs again: without a change and with one, in the same process and after a restart.
async fn damaged(mut case: Case<'_>, damage: fn(&Path) -> io::Result<()>) -> Outcome {
    case.apply(&[file("a.py", "a"), file("sub/b.py", "b"), file("gone.py", "x")]).await;
    case.sync_as_is().await?;
    for (restart, change) in [(false, false), (true, false), (false, true), (true, true)] {
        damage(&case.harness.cache()).map_err(|e| format!("cannot damage the cache: {e}"))?;
        if restart {
            case.strategy = case.source.strategy();
        }
        if change {
            let edit = if restart { delete("gone.py") } else { file("a.py", "changed") };
            case.apply(&[edit]).await;
        }
        sync_at_most_twice(&case).await.map_err(|e| format!("restarted: {restart}, source changed: {change}: {e}"))?;
    }
    Ok(())
}

/// A strategy that finds damage in the middle may say so once, with an error that is tried again.
async fn sync_at_most_twice(case: &Case<'_>) -> Outcome {
    let synced = match case.harness.sync(&*case.strategy).await {
        Err(e) if e.kind() == ErrorKind::Corrupt && e.is_retryable() => case.sync().await?,
        done => done.map_err(|e| format!("a sync failed: {e:?}"))?,
    };
    expect_tree(&synced, &case.files)
}
