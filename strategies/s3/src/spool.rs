//! A file that is fetched beside the tree, because only its digest tells whether it has to be in it.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;

use dagsync_core::fs::{self, Folder};
use dagsync_core::tree::{BUFFER, hash_stream};
use dagsync_core::{Digest, Error, Interrupt, Result, Staging, TreePath};

use crate::download::Chunks;
use crate::prefix::whole;

/// Takes the file from the version before if that has the same content, else writes it.
pub(crate) fn reuse_or_write(
    folder: &Path,
    staging: &Staging,
    path: &TreePath,
    size: u64,
    chunks: &mut Chunks,
) -> Result<Digest> {
    let fail = |e: std::io::Error| Error::io("write", folder, e);
    let (mut file, mut reader) = unnamed(folder)?;
    let mut read = 0;
    while let Some(chunk) = chunks.next()? {
        read += chunk.len() as u64;
        file.write_all(&chunk).map_err(fail)?;
    }
    whole(path, read, size)?;
    let (digest, _) = hash_stream(&mut reader, &mut vec![0; BUFFER], &Interrupt::never())?;
    if staging.reuse(path, false, &digest)? {
        return Ok(digest);
    }
    reader.rewind().map_err(fail)?;
    staging.write(path, false, &mut reader)
}

/// A file, to write and to read, that is gone when the process is.
fn unnamed(folder: &Path) -> Result<(File, File)> {
    fs::create_folders(folder)?;
    let name = format!("{:016x}", fastrand::u64(..));
    let folder = Folder::open(folder)?;
    let files = (folder.create(&name, 0o600)?, folder.file(&name)?);
    folder.unlink(&name)?;
    Ok(files)
}
