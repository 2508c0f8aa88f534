//! Staging a version again that the store still has, for who has to go back to it.

use dagsync_core::copy::Copy;
use dagsync_core::fs::Folder;
use dagsync_core::index::Same;
use dagsync_core::walk::{self, Walk};
use dagsync_core::{Error, ErrorKind, Interrupt, Result, Staging, StagingRules};

use super::{FolderName, Store};

impl Store {
    /// Stages what is published as `name`. Every file is read: what became of it since is found by its digest.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when a file is not what was published.
    pub fn restore(
        &self,
        name: &FolderName,
        staging: &Staging,
        rules: &StagingRules,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let folder = Folder::open(self.folder_path(name))?;
        let mismatch = |what: String| {
            let message = format!("{} {what}", folder.path().display());
            Error::new(ErrorKind::Mismatch, "restore", message)
        };
        let manifest =
            self.manifest(&name.version())?.ok_or_else(|| mismatch("has no manifest any more".to_owned()))?;
        let listing = walk::list(&folder, &Walk::new(&rules.filter, &rules.limits, interrupt))?;
        let copy = Copy { root: &folder, same: Same::Content, staging, interrupt };
        let copied = copy.stage(&listing, |path, _| manifest.get(path.as_str()).copied())?;
        match copied.iter().find(|(path, (_, digest))| manifest.get(path.as_str()) != Some(digest)) {
            Some((path, _)) => Err(mismatch(format!("is not what was published: {path}"))),
            None => Ok(()),
        }
    }
}
