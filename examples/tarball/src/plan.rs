//! What a tar file comes to once its members are unpacked in order: a later member replaces an earlier one of the same
//! name, a hard link has the content of an earlier one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};

use dagsync_core::tree::hash_stream;
use dagsync_core::{Digest, Error, ErrorKind, Filter, Interrupt, Result, TreePath};

/// Where the bytes of a file lie, and their digest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

/// What to stage at a path.
#[derive(Debug, Clone)]
pub(crate) enum Planned {
    File { content: Content, executable: bool },
    Link(Vec<u8>),
}

pub(crate) type Plan = BTreeMap<TreePath, Planned>;

/// Reads all members of `file` and plans what `filter` keeps.
///
/// # Errors
/// [`ErrorKind::Corrupt`] for what is no tar file, [`ErrorKind::Refused`] for a name, a sparse file or a hard link that
/// cannot be had.
pub(crate) fn read(file: &mut File, filter: &Filter, interrupt: &Interrupt) -> Result<Plan> {
    file.rewind().map_err(damaged)?;
    // Members that the filter leaves out are kept too: a hard link may need their content.
    let mut members = BTreeMap::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries().map_err(damaged)? {
        interrupt.check("read tar file")?;
        let mut entry = entry.map_err(damaged)?;
        let name = normal(&entry.path_bytes());
        if let Some(planned) = member(&mut entry, &name, &members, &mut buffer, interrupt)? {
            members.insert(name, planned);
        }
    }
    let keeps = |name: &[u8]| filter.keeps(&String::from_utf8_lossy(name));
    members.into_iter().filter(|(name, _)| keeps(name)).map(|(name, p)| Ok((TreePath::new(name)?, p))).collect()
}

fn member(
    entry: &mut tar::Entry<'_, &mut File>,
    name: &[u8],
    earlier: &BTreeMap<Vec<u8>, Planned>,
    buffer: &mut [u8],
    interrupt: &Interrupt,
) -> Result<Option<Planned>> {
    let kind = entry.header().entry_type();
    let target = entry.link_name_bytes().map(Cow::into_owned).unwrap_or_default();
    if kind.is_symlink() {
        return Ok(Some(Planned::Link(target)));
    }
    if kind.is_hard_link() {
        let refused = || refused(name, "is a hard link to what does not stand before it");
        return earlier.get(&normal(&target)).cloned().map(Some).ok_or_else(refused);
    }
    if kind.is_gnu_sparse() || has_sparse_map(entry)? {
        return Err(refused(name, "is a sparse file"));
    }
    if !kind.is_file() && !kind.is_contiguous() {
        return Ok(None);
    }
    let executable = entry.header().mode().map_err(damaged)? & 0o111 != 0;
    let (offset, bytes) = (entry.raw_file_position(), entry.size());
    let (digest, read) = hash_stream(entry, buffer, interrupt)?;
    if read != bytes {
        return Err(damaged(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Some(Planned::File { content: Content { offset, bytes, digest }, executable }))
}

fn has_sparse_map(entry: &mut tar::Entry<'_, impl Read>) -> Result<bool> {
    let Some(extensions) = entry.pax_extensions().map_err(damaged)? else { return Ok(false) };
    Ok(extensions.flatten().any(|e| e.key_bytes().starts_with(b"GNU.sparse.")))
}

/// `tar c .` writes `./a.py`.
fn normal(mut name: &[u8]) -> Vec<u8> {
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    name.to_vec()
}

fn damaged(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Corrupt, "read tar file", "it is damaged, cut off or no tar file").with_source(error)
}

fn refused(name: &[u8], why: &str) -> Error {
    let name = dagsync_core::printable(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
    Error::new(ErrorKind::Refused, "read tar file", format!("{name} {why}"))
        .with_hint("make the tar file anew with `tar --hard-dereference`, without --sparse")
}
