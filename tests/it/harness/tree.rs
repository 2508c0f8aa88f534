//! DAG trees: real ones, generated ones, and what version they have by coreutils alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dagsync_core::Digest;

use super::process::shell;

/// The version of a folder as anybody finds it out in a plain shell.
pub(crate) fn version_by_hand(folder: &Path) -> String {
    let script = r"
        find -L . \( -name .git -o -name '*.pyc' -o -name '*.pyo' -o -name '.nfs*' \
             -o -type d \( -name __pycache__ -o -name .dagsync -o -name lost+found \) \) -prune \
             -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 -r sha256sum -- | sha256sum | cut -d ' ' -f 1";
    format!("sha256:{}", shell(folder, script))
}

/// The same within the process, for those who look many times. An error when the folder changes meanwhile.
pub(crate) fn version_of(folder: &Path) -> std::io::Result<String> {
    let mut manifest = String::new();
    for (path, content) in contents(folder)? {
        manifest.push_str(&format!("{}  {path}\n", Digest::of(content)));
    }
    Ok(format!("sha256:{}", Digest::of(manifest)))
}

/// Every file with its content.
pub(crate) fn contents(folder: &Path) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    collect(folder, folder, &mut files)?;
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.ends_with(".git") {
            // As by hand: a tree that git-sync checked out has it.
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(())
}

/// The example DAGs of Apache Airflow, which `tests/run` takes from its wheel.
pub(crate) fn example_dags() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testdata/example_dags");
    assert!(folder.is_dir(), "{} is missing: run tests/run once, it fetches them", folder.display());
    folder
}

/// Writes `files` small DAGs below `folder`.
pub(crate) fn generate(folder: &Path, files: usize, seed: u64) {
    for n in 0..files {
        let path = folder.join(format!("team_{}/dag_{n}.py", n % 7));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("# {seed}\n{}", "x = 1\n".repeat(50 + n % 50))).unwrap();
    }
}

/// Puts `content` in the place of a published file in one step, as an editor does; without it, removes the file.
pub(crate) fn swap_in(file: &Path, content: Option<&str>) {
    let folder = file.parent().unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(folder, mode(0o755)).unwrap();
    match content {
        None => std::fs::remove_file(file).unwrap(),
        Some(content) => {
            // Beside the versions: in the tree, the unfinished file would itself be a change.
            let store = folder.ancestors().find(|f| f.join("versions").is_dir()).expect("the file is in a store");
            let beside = store.join(".by-hand");
            std::fs::write(&beside, content).unwrap();
            std::fs::rename(&beside, file).unwrap();
        }
    }
    std::fs::set_permissions(folder, mode(0o555)).unwrap();
}
