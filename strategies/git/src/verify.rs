//! Whether somebody who is trusted signed the commit that is wanted, or the annotated tag that leads to it.
//!
//! The keys are read at every use. What is checked is the object itself, whose id libgit2 compares with its content when
//! it reads it; the tree and all below hang on that id.

mod gpg;
mod object;
mod ssh;

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use dagsync_core::{Error, ErrorKind, Result, fs};
use git2::{ObjectType, Oid, Repository};

use crate::errors;
use crate::location::Location;
use crate::refs;
use crate::remote::Network;
use crate::settings::{Settings, Verify};
use gpg::Keyring;
use object::Signed;
use ssh::AllowedSigners;

/// The reference that keeps the tag in the cache.
const TAG: &str = "refs/dagsync/tag";
const MAX_OBJECT_BYTES: usize = 1 << 20;
const MAX_KEYS_BYTES: u64 = 16 << 20;
/// Tags of tags.
const MAX_TAGS: usize = 8;

/// Why a signature does not count.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    /// What is wrong with it.
    message: String,
    /// Whose it is: a fingerprint, with a name where there is one.
    signer: Option<String>,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), signer: None }
    }

    fn of(signer: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { message: message.into(), signer: Some(signer.to_string()) }
    }
}

/// Who is trusted.
enum Trusted {
    Ssh(AllowedSigners),
    Gpg(Keyring),
}

impl Trusted {
    /// `None` when nothing has to be signed.
    fn load(settings: &Settings) -> Result<Option<Self>> {
        let (setting, file) = (settings.verify.setting(), settings.signers_file());
        let unusable = |message: String| {
            Error::new(ErrorKind::Config, "read trusted keys", message)
                .with_context(setting, file.map(Path::display).map_or_else(|| "none".to_owned(), |f| f.to_string()))
                .with_hint("nothing is trusted before that file names a key; the published version stays")
        };
        if settings.verify == Verify::Off {
            return Ok(None);
        }
        let file = file.ok_or_else(|| unusable(format!("{setting} is not set")))?;
        let content = fs::read(file, MAX_KEYS_BYTES)?.ok_or_else(|| unusable("the file does not exist".to_owned()))?;
        let trusted = match settings.verify {
            Verify::Ssh => AllowedSigners::parse(&content).map(Self::Ssh),
            _ => Keyring::parse(&content).map(Self::Gpg),
        };
        trusted.map(Some).map_err(unusable)
    }

    /// Who signed it.
    fn check(&self, signed: Result<Signed, &'static str>) -> Result<String, Refusal> {
        let signed = signed.map_err(Refusal::new)?;
        let signature = signed.signature.as_deref().ok_or_else(|| Refusal::new("it is not signed"))?;
        match self {
            Self::Ssh(signers) => signers.check(&signed, signature),
            Self::Gpg(keyring) => keyring.check(&signed, signature, SystemTime::now()),
        }
    }
}

/// Refuses a commit that nobody who is trusted vouches for, unless `git.verify` is off.
///
/// # Errors
/// [`ErrorKind::Untrusted`] for the commit, [`ErrorKind::Config`] for the file with the keys.
pub(crate) fn check(network: &Network<'_>, location: &Location, repository: &Repository, commit: Oid) -> Result<()> {
    let settings = &network.source.settings;
    let Some(trusted) = Trusted::load(settings)? else { return Ok(()) };
    let refusal = match trusted.check(read(repository, commit, ObjectType::Commit, object::commit)?) {
        Ok(signer) => {
            tracing::info!(%commit, signer, "the commit's signature is good");
            return Ok(());
        }
        Err(refusal) => refusal,
    };
    let Some(tag) = find_tag(network, location, repository, commit)? else {
        return Err(untrusted(settings, "commit", commit, refusal));
    };
    let checked = trusted.check(read(repository, tag, ObjectType::Tag, object::tag)?);
    match checked.and_then(|signer| is_named(repository, tag, &settings.reference).map(|()| signer)) {
        Ok(signer) => {
            tracing::info!(%commit, %tag, signer, "the tag's signature is good");
            Ok(())
        }
        Err(refusal) => Err(untrusted(settings, "tag", tag, refusal).with_context("commit", commit)),
    }
}

fn untrusted(settings: &Settings, what: &'static str, id: Oid, refusal: Refusal) -> Error {
    let message = format!("the {what} is refused: {}", refusal.message);
    let error = Error::new(ErrorKind::Untrusted, "verify", message).with_context(what, id);
    let error = refusal.signer.into_iter().fold(error, |error, signer| error.with_context("signed by", signer));
    error.with_hint(format!(
        "push one that is signed with a key of {}, or add the signer there",
        settings.verify.setting()
    ))
}

/// The content of an object, taken apart; its size is checked before it is read.
fn read<T>(
    repository: &Repository,
    id: Oid,
    kind: ObjectType,
    parse: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Result<Result<T, &'static str>> {
    let fail = |e: git2::Error| errors::cache("verify", &e);
    let odb = repository.odb().map_err(fail)?;
    let (bytes, found) = odb.read_header(id).map_err(fail)?;
    if bytes > MAX_OBJECT_BYTES || found != kind {
        return Ok(Err("it is larger than 1 MiB, or no such object"));
    }
    Ok(parse(odb.read(id).map_err(fail)?.data()))
}

/// A signed tag under another name may say something else than that name does.
fn is_named(repository: &Repository, tag: Oid, reference: &str) -> Result<(), Refusal> {
    let tag = repository.find_tag(tag).map_err(|e| Refusal::new(e.message()))?;
    let name = tag.name().unwrap_or_default();
    if refs::candidates(reference).contains(&format!("refs/tags/{name}")) {
        return Ok(());
    }
    Err(Refusal::new(format!("it was signed as {name:?} and lies under the name {reference:?}")))
}

/// The annotated tag that `git.ref` names and that leads to `commit`: from the cache, else from the server.
fn find_tag(network: &Network<'_>, location: &Location, repository: &Repository, commit: Oid) -> Result<Option<Oid>> {
    let reference = &network.source.settings.reference;
    let fail = |e: git2::Error| errors::cache("fetch tag", &e);
    if refs::commit_id(reference)?.is_some() {
        return Ok(None);
    }
    let cached = repository.find_reference(TAG).ok().and_then(|found| found.target());
    if let Some(tag) =
        cached.filter(|tag| leads_to(repository, *tag, commit) && is_named(repository, *tag, reference).is_ok())
    {
        return Ok(Some(tag));
    }
    let heads = network.heads(location)?;
    let Some((name, tag)) = refs::annotated_tag(&heads, reference, commit) else { return Ok(None) };
    if !leads_to(repository, tag, commit) {
        match location.folder() {
            Some(folder) => copy_tag(&folder, repository, tag).map_err(fail)?,
            None => network.fetch_tag(repository, location, name)?,
        }
    }
    if !leads_to(repository, tag, commit) {
        return Err(Error::new(ErrorKind::Changed, "fetch tag", "it does not lead to the commit any more")
            .with_context("ref", name)
            .with_context("commit", commit));
    }
    repository.reference(TAG, tag, true, "fetched").map_err(fail)?;
    Ok(Some(tag))
}

fn leads_to(repository: &Repository, tag: Oid, commit: Oid) -> bool {
    let next = |id: &Oid| repository.find_tag(*id).ok().map(|tag| tag.target_id());
    std::iter::successors(Some(tag), next).take(MAX_TAGS + 1).skip(1).any(|id| id == commit)
}

fn copy_tag(folder: &Path, to: &Repository, tag: Oid) -> Result<(), git2::Error> {
    let from = Repository::open(folder)?;
    let (from, to) = (from.odb()?, to.odb()?);
    let mut next = Some(tag);
    for _ in 0..MAX_TAGS {
        let Some(id) = next else { break };
        if from.read_header(id)?.1 != ObjectType::Tag {
            break;
        }
        let object = from.read(id)?;
        to.write(ObjectType::Tag, object.data())?;
        next = object::target(object.data());
    }
    Ok(())
}
