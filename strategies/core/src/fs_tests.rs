use super::*;
use crate::fixture::{put, put_folder, put_link};

/// `in/file`, links that lead out, and `secret` beside it.
fn confined() -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "secret", "secret");
    put(dir.path(), "in/sub/file", "content");
    put_link(dir.path(), "in/out", "..");
    put_link(dir.path(), "in/sub/secret", "../../secret");
    put_link(dir.path(), "in/inside", "sub");
    let folder = Folder::open(dir.path().join("in")).unwrap();
    (dir, folder)
}

/// The second way is taken where a sandbox refuses `openat2`.
#[test]
fn nothing_outside_or_through_a_link_is_opened() {
    let (dir, folder) = confined();
    let absolute = dir.path().join("secret");
    let bad = ["../secret", "sub/../../secret", "out/secret", "sub/secret", "inside/file", "out", "..", "in/.."];
    for path in bad.iter().copied().chain([absolute.to_str().unwrap()]) {
        assert!(folder.open_below(path, READ).is_err(), "{path}");
        assert!(folder.open_by_parts(path, READ).is_err(), "{path}");
        assert!(folder.folder(path).is_err(), "{path}");
    }
    for open in [Folder::open_below, Folder::open_by_parts] {
        let mut text = String::new();
        File::from(open(&folder, "sub/file", READ).unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
    }
}

#[test]
fn nothing_is_created_over_or_through_what_is_there() {
    let (dir, folder) = confined();
    assert!(folder.create("inside", 0o644).is_err());
    assert!(folder.create("out", 0o644).is_err());
    assert!(folder.make_folder("inside").is_err(), "a link to a folder is no folder");
    assert!(folder.symlink(b"x", "out").is_err());
    assert_eq!(std::fs::read_link(dir.path().join("in/out")).unwrap(), Path::new(".."));
}

#[test]
fn an_error_names_the_whole_path() {
    let (dir, folder) = confined();
    let error = folder.file("sub/absent").unwrap_err().to_string();
    assert!(error.contains(dir.path().join("in/sub/absent").to_str().unwrap()), "{error}");
}

#[test]
fn a_named_pipe_does_not_hang_the_reader() {
    let (dir, folder) = confined();
    std::process::Command::new("mkfifo").arg(dir.path().join("in/pipe")).status().unwrap();
    for mut pipe in [folder.file("pipe").unwrap(), open(&dir.path().join("in/pipe")).unwrap().unwrap()] {
        let mut nothing = Vec::new();
        let _ = pipe.read_to_end(&mut nothing);
        assert_eq!(nothing, b"");
    }
}

#[test]
fn read_is_bounded_and_knows_absence() {
    let (dir, _) = confined();
    assert_eq!(read(&dir.path().join("secret"), 6).unwrap().as_deref(), Some(&b"secret"[..]));
    assert_eq!(read(&dir.path().join("secret"), 5).unwrap_err().kind(), ErrorKind::LimitExceeded);
    assert_eq!(read(&dir.path().join("absent"), 5).unwrap(), None);
    assert_eq!(read(&dir.path().join("secret/below"), 5).unwrap(), None);
}

#[test]
fn replacing_a_file_or_link_leaves_nothing_beside() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("f"), dir.path().join("l"));
    for content in ["one", "two"] {
        write_atomic(&file, content.as_bytes()).unwrap();
        assert_eq!(read(&file, 9).unwrap().unwrap(), content.as_bytes());
        replace_link(Path::new(content), &link).unwrap();
        assert_eq!(read_link(&link).unwrap().unwrap(), Path::new(content));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    assert_eq!(read_link(&file).unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(read_link(&dir.path().join("absent")).unwrap(), None);
}

#[test]
fn a_file_that_cannot_be_replaced_leaves_nothing_beside() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("f");
    put_folder(dir.path(), "f/in");
    assert_eq!(write_atomic(&taken, b"x").unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_appended_stands_behind_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    ["one", "two"].iter().for_each(|text| append(&file, text.as_bytes()).unwrap());
    assert_eq!(read(&file, 9).unwrap().unwrap(), b"onetwo");
}

#[test]
fn a_leftover_of_a_killed_link_swap_does_not_wedge_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("l");
    put_link(dir.path(), "l.dagsync-new", "leftover");
    replace_link(Path::new("new"), &link).unwrap();
    assert_eq!(read_link(&link).unwrap().unwrap(), Path::new("new"));
}

#[test]
fn removal_follows_no_link_and_minds_no_read_only_folder() {
    let (dir, folder) = confined();
    put_folder(dir.path(), "in/deep/er");
    folder.folder("deep").unwrap().chmod(0o555).unwrap();
    remove_tree(&dir.path().join("in"), &Interrupt::never()).unwrap();
    assert!(!dir.path().join("in").exists());
    assert!(dir.path().join("secret").exists());
    remove_tree(&dir.path().join("in"), &Interrupt::never()).unwrap();
    remove_tree(&dir.path().join("absent/in"), &Interrupt::never()).unwrap();
}

#[test]
fn removal_stops_on_request() {
    let (dir, _) = confined();
    let token = tokio_util::sync::CancellationToken::new();
    token.cancel();
    let error = remove_tree(&dir.path().join("in"), &Interrupt::new(token, None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(dir.path().join("in/sub/file").exists());
}

#[test]
fn a_link_that_leads_nowhere_resolves_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().canonicalize().unwrap().join(name);
    std::fs::write(path("file"), "x").unwrap();
    for (name, target) in [("there", "file"), ("dangling", "nothing"), ("through", "file/x"), ("itself", "itself")] {
        std::os::unix::fs::symlink(target, path(name)).unwrap();
        let expected = (name == "there").then(|| path("file"));
        assert_eq!(resolve(&path(name)).unwrap(), expected, "{name}");
    }
}
