//! What the volume under a staging folder does differently from a local disk.

use std::fs::File;
use std::sync::OnceLock;

use crate::fs::Folder;

/// The volume that a staging folder lies on.
#[derive(Debug)]
pub(crate) struct Volume {
    is_network: bool,
    /// The modes that new files get, plain ones and executables.
    modes: OnceLock<[u32; 2]>,
}

impl Volume {
    pub(crate) fn of(folder: &Folder) -> Self {
        Self { is_network: folder.is_network(), modes: OnceLock::new() }
    }

    /// Waits until the volume has taken what was written to `file`. A network file system says only now that it is full
    /// or that a quota is used up: `write` went into this host's memory, `close` is not asked, and `syncfs` need not tell.
    /// On a local disk one `syncfs` for the whole tree does it.
    pub(crate) fn settle(&self, file: &File) -> std::io::Result<()> {
        if self.is_network { file.sync_all() } else { Ok(()) }
    }

    /// The permissions that a new file has here, which `ask` finds out by making one: SMB and others give every file the
    /// same, and a mask may take some away.
    pub(crate) fn mode_of_new(&self, executable: bool, ask: impl Fn(bool) -> u32) -> u32 {
        self.modes.get_or_init(|| [ask(false), ask(true)])[usize::from(executable)]
    }
}
