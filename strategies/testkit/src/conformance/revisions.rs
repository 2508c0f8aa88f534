//! Clauses about `resolve` and about which revision is brought.

use dagsync_core::ErrorKind::{Changed, NotFound, Unreachable};

use super::{Case, Outcome, expect, expect_kind, expect_tree};
use crate::harness::Harness;
use crate::source::{Edit, delete, file, link, script};

pub(super) async fn an_unchanged_source_keeps_its_revision(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "a"), file("sub/b.py", "b")]).await;
    let first = case.sync_as_is().await?.revision;
    let resolve = |e| format!("resolve failed: {e:?}");
    let again = case.harness.resolve(&*case.strategy).await.map_err(resolve)?;
    let restarted = case.harness.resolve(&*case.source.strategy()).await.map_err(resolve)?;
    let elsewhere = Harness::new().resolve(&*case.source.strategy()).await.map_err(resolve)?;
    for (found, when) in [(again, "again"), (restarted, "after a restart"), (elsewhere, "with an empty cache")] {
        expect(found == first, || format!("the revision was {first}, and {when} it is {found}"))?;
    }
    Ok(())
}

pub(super) async fn every_change_of_the_source_changes_the_revision(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "one"), file("b.py", "b")]).await;
    let can = case.source.capabilities();
    let mut changes: Vec<(&str, Vec<Edit>)> = vec![
        ("other content of equal length", vec![file("a.py", "two")]),
        ("other content", vec![file("a.py", "three")]),
        ("a new file", vec![file("new/c.py", "c")]),
        ("a file moved", vec![delete("b.py"), file("d.py", "b")]),
        ("a file removed", vec![delete("d.py")]),
    ];
    if can.executable {
        changes.push(("an executable bit", vec![script("a.py", "three")]));
    }
    if can.symlinks {
        changes.push(("a new link", vec![link("l", "a.py")]));
        changes.push(("a link that points elsewhere", vec![link("l", "new/c.py")]));
    }
    let mut before = case.sync_as_is().await?.revision;
    for (what, edits) in changes {
        case.apply(&edits).await;
        let now = case.sync_as_is().await.map_err(|e| format!("after {what}: {e}"))?.revision;
        expect(now != before, || format!("{what} left the revision at {before}"))?;
        before = now;
    }
    Ok(())
}

pub(super) async fn a_revision_is_brought_exactly_or_called_changed(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "old"), file("gone.py", "x")]).await;
    let resolved = case.harness.resolve(&*case.strategy).await.map_err(|e| format!("resolve failed: {e:?}"))?;
    let old = case.files.clone();
    case.apply(&[file("a.py", "new"), delete("gone.py"), file("new.py", "y")]).await;
    let restarted = case.source.strategy();
    let elsewhere = Harness::new();
    for (harness, strategy) in [(&case.harness, &case.strategy), (&case.harness, &restarted), (&elsewhere, &restarted)]
    {
        match harness.materialize(&**strategy, &resolved).await {
            Ok(synced) => expect_tree(&synced, &old)?,
            Err(e) => expect_kind::<()>(Err(e), &[Changed], "when the source has moved on")?,
        }
    }
    case.sync_as_is().await.map(drop)
}

pub(super) async fn a_missing_source_is_not_found_or_unreachable(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "a")]).await;
    let last = case.sync_as_is().await?;
    case.source.remove().await;
    let kinds = [NotFound, Unreachable];
    let restarted = case.source.strategy();
    for strategy in [&case.strategy, &restarted] {
        expect_kind(case.harness.resolve(&**strategy).await, &kinds, "when the source is gone")?;
        // What a cache still holds may be brought; anything else must not.
        match case.harness.materialize(&**strategy, &last.revision).await {
            Ok(synced) => expect_tree(&synced, &case.files)?,
            Err(e) => expect_kind::<()>(Err(e), &[NotFound, Unreachable, Changed], "when the source is gone")?,
        }
    }
    Ok(())
}
