//! Clauses about what a strategy shows and where it writes.

use std::path::{Path, PathBuf};

use super::{Case, Outcome, expect};
use crate::oracle::footprint;
use crate::source::file;

pub(super) async fn nothing_is_written_outside_cache_and_staging(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "a"), file("sub/b.py", "b")]).await;
    let before = case.sync_as_is().await?;
    case.apply(&[file("a.py", "changed"), file("sub/c.py", "c")]).await;
    let places = places(&case, &before.folder);
    let look = || places.iter().map(|p| footprint(p)).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string());
    let untouched = look()?;
    // The version before is not told: linking its files would move their ctime, which is allowed.
    case.harness.unpublish();
    case.sync().await?;
    for (place, (before, after)) in places.iter().zip(untouched.iter().zip(look()?)) {
        expect(*before == after, || format!("{} was\n{before}\nand is\n{after}", place.display()))?;
    }
    let mut names: Vec<_> = std::fs::read_dir(case.harness.root())
        .and_then(|names| names.map(|n| n.map(|n| n.file_name())).collect::<Result<_, _>>())
        .map_err(|e| e.to_string())?;
    names.sort();
    expect(names == ["cache", "staging"], || format!("beside cache and staging there are now {names:?}"))
}

/// The published tree and, where it is local, the source.
fn places(case: &Case<'_>, published: &Path) -> Vec<PathBuf> {
    case.source.local().into_iter().chain([published.to_owned()]).collect()
}

pub(super) async fn its_name_is_one_stable_line(mut case: Case<'_>) -> Outcome {
    let name = case.strategy.to_string();
    expect(!name.trim().is_empty() && !name.chars().any(char::is_control), || format!("its name is {name:?}"))?;
    case.apply(&[file("a.py", "a")]).await;
    case.sync_as_is().await?;
    let later = case.strategy.to_string();
    expect(later == name, || format!("its name was {name:?} and is {later:?} after a sync"))
}

pub(super) async fn no_secret_is_shown(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "a")]).await;
    let synced = case.sync_as_is().await?;
    let mut shown = vec![case.strategy.to_string(), format!("{:?}", case.strategy), synced.revision.to_string()];
    case.source.remove().await;
    if let Err(e) = case.harness.resolve(&*case.strategy).await {
        shown.extend([e.to_string(), format!("{e:?}")]);
    }
    for secret in case.source.secrets() {
        for text in &shown {
            expect(!text.contains(&secret), || format!("a secret stands in {}", text.replace(&secret, "<secret>")))?;
        }
    }
    Ok(())
}
