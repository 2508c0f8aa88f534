//! Clauses about the tree that is brought.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use dagsync_core::ErrorKind::{LimitExceeded, Refused};
use dagsync_core::{Filter, Limits, Warning};

use super::{Case, Outcome, expect, expect_kind, expect_tree};
use crate::source::{Edit, delete, file, link, script};

pub(super) async fn the_tree_is_what_was_put_in(mut case: Case<'_>) -> Outcome {
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let edits = [
        file("dag.py", "print('hello')\n"),
        file("empty.py", ""),
        file("line-ends.txt", "a\r\nb\rc\n\n"),
        file("no-line-end.py", "x = 1"),
        file("binary.bin", [0, 255, 254, 0, 10, 13]),
        file("large.bin", large),
        file("deep/er/and/deeper/x.py", "deep"),
        file("日本語/ümlaut 🚀.py", "unicode"),
        file("with space/ and  more .py", "spaces"),
        file("$(id);'\"*?[a]&.py", "shell"),
        file("-rf", "option"),
        file("%41+a=b#c.py", "url"),
        file(".airflowignore", "x"),
        file(".gitignore", "*.log"),
        file("twin.py", "print('hello')\n"),
        file("A.py", "upper"),
        file("a.py", "lower"),
    ];
    case.apply(&edits).await;
    case.sync_as_is().await.map(drop)
}

pub(super) async fn what_the_filter_leaves_out_is_not_brought(mut case: Case<'_>) -> Outcome {
    let globs = ["docs".to_owned(), "**/*.md".to_owned()];
    case.harness.filter = Arc::new(Filter::new(&[], &globs).map_err(|e| e.to_string())?);
    case.apply(&[file("a.py", "a"), file("sub/docs/b.py", "b")]).await;
    let kept = case.files.clone();
    let left_out = ["docs/x.py", "README.md", "sub/notes.md", "__pycache__/a.txt", "sub/a.pyc", "sub/.nfs01"];
    case.apply(&left_out.map(|path| file(path, "left out"))).await;
    let synced = case.sync().await?;
    expect_tree(&synced, &kept)
}

pub(super) async fn a_tree_beyond_a_limit_is_refused(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "12345"), file("d/e/f.py", "67890")]).await;
    let standard = Limits::default();
    for limits in [
        Limits { files: 1, ..standard },
        Limits { bytes: 9, ..standard },
        Limits { file_bytes: 4, ..standard },
        Limits { path_bytes: 7, ..standard },
        Limits { depth: 2, ..standard },
    ] {
        case.harness.limits = limits;
        let when = format!("with {limits:?}");
        expect_kind(case.harness.sync(&*case.strategy).await, &[LimitExceeded], &when)?;
    }
    case.harness.limits = standard;
    case.sync_as_is().await.map(drop)
}

pub(super) async fn the_result_does_not_depend_on_the_version_before(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "a"), file("was-file", "x"), file("was-folder/x", "x"), file("gone.py", "x")]).await;
    case.sync_as_is().await?;
    let edits = [
        file("a.py", "changed"),
        delete("was-file"),
        file("was-file/now-folder", "x"),
        delete("was-folder/x"),
        file("was-folder", "x"),
        delete("gone.py"),
    ];
    case.apply(&edits).await;
    case.sync_as_is().await?;
    case.harness.unpublish();
    case.sync_as_is().await.map(drop)
}

pub(super) async fn unchanged_files_are_reused(mut case: Case<'_>) -> Outcome {
    let edits: Vec<Edit> = (0..20).map(|i| file(format!("d{}/{i}.py", i % 3), format!("content {i}"))).collect();
    case.apply(&edits).await;
    case.sync_as_is().await?;
    case.apply(&[file("d0/0.py", "changed 0"), file("new.py", "new")]).await;
    for (written, when) in [(2, "after two of 21 files changed"), (0, "after none changed")] {
        let synced = case.sync_as_is().await?;
        let counts = synced.counts;
        let reused = counts.linked + counts.copied;
        let all_reused = counts.written == written && reused == 21 - written;
        expect(!synced.tree.is_staged() || all_reused, || {
            format!("{when}, {} files were written and {reused} reused", counts.written)
        })?;
    }
    Ok(())
}

pub(super) async fn executable_bits_are_kept(mut case: Case<'_>) -> Outcome {
    case.apply(&[script("run.sh", "#!/bin/sh"), file("plain.py", "x"), script("later.sh", "y")]).await;
    case.sync_as_is().await?;
    // A bit that changes alone changes nothing but the bit.
    case.apply(&[file("later.sh", "y"), script("plain.py", "x")]).await;
    let synced = case.sync_as_is().await?;
    for (name, want) in [("run.sh", true), ("plain.py", true), ("later.sh", false)] {
        let found = std::fs::metadata(synced.folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
        let found = found.permissions().mode() & 0o111 != 0;
        expect(found == want, || format!("{name} has the executable bit: {found}; wanted: {want}"))?;
    }
    Ok(())
}

pub(super) async fn links_inside_are_brought_and_others_are_not(mut case: Case<'_>) -> Outcome {
    case.apply(&[
        file("v1/dag.py", "dag"),
        link("dag.py", "v1/dag.py"),
        link("now", "v1"),
        link("deep/chain.py", "../now/dag.py"),
    ])
    .await;
    case.sync_as_is().await?;
    let good = case.files.clone();
    let bad = [("abs", "/etc/passwd"), ("up", "../../etc/passwd"), ("none", "nothing"), ("me", "me"), ("v1/up", "..")];
    case.apply(&bad.map(|(path, target)| link(path, target))).await;
    let synced = case.sync().await?;
    expect_tree(&synced, &good)?;
    let skipped: Vec<_> = synced
        .warnings
        .iter()
        .filter_map(|w| if let Warning::SkippedLink(l) = w { Some(l.path.as_str()) } else { None })
        .collect();
    for (path, _) in bad {
        expect(skipped.contains(&path), || format!("no warning names the link {path}; there are {skipped:?}"))?;
        let is_there = synced.folder.join(path).symlink_metadata().is_ok();
        expect(!synced.tree.is_staged() || !is_there, || format!("the link {path} was created"))?;
    }
    Ok(())
}

pub(super) async fn an_empty_source_is_an_empty_tree(mut case: Case<'_>) -> Outcome {
    case.sync_as_is().await.map_err(|e| format!("before the first file: {e}"))?;
    case.apply(&[file("a.py", "a")]).await;
    case.sync_as_is().await?;
    case.apply(&[delete("a.py")]).await;
    case.sync_as_is().await.map_err(|e| format!("after the last file: {e}"))?;
    Ok(())
}

pub(super) async fn a_name_that_tools_print_differently_is_refused(mut case: Case<'_>) -> Outcome {
    case.apply(&[file("a.py", "a"), file("back\\slash.py", "x")]).await;
    let error = match case.harness.sync(&*case.strategy).await {
        Ok(_) => return Err("a name with a backslash was published".to_owned()),
        Err(error) => error,
    };
    expect(error.kind() == Refused, || format!("it fails with {error:?}, not with {Refused:?}"))?;
    expect(error.to_string().contains("back\\\\slash.py"), || format!("the error does not name it: {error}"))?;
    case.harness.filter = Arc::new(Filter::new(&[], &["*slash.py".to_owned()]).map_err(|e| e.to_string())?);
    case.files.remove("back\\slash.py");
    case.sync_as_is().await.map_err(|e| format!("although the filter leaves that name out: {e}"))?;
    Ok(())
}
