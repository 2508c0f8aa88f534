//! The network: listing the references of a repository and fetching one commit of it.

use std::cell::RefCell;
use std::path::PathBuf;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, SyncContext, fs};
use git2::{
    AutotagOption, Direction, FetchOptions, ObjectType, Oid, ProxyOptions, Remote, RemoteCallbacks, RemoteConnection,
    RemoteUpdateFlags, Repository,
};

use crate::Source;
use crate::auth::{Answers, known_hosts};
use crate::errors;
use crate::libgit::{self, Globals, Turn};
use crate::location::Location;
use crate::refs::{self, Head};

/// The depth that asks for all that a shallow repository lacks, see `GIT_FETCH_DEPTH_UNSHALLOW`.
const UNSHALLOW: i32 = i32::MAX;

/// What is asked of the server to get one commit, the cheapest first.
#[derive(Debug, Clone, Copy)]
enum Wish {
    /// The reference that points to it or, where none does, the commit by its id.
    Commit,
    /// The whole history of what is followed: the commit may be an ancestor.
    History,
}

/// The network as one call of the strategy may use it.
#[derive(Clone, Copy)]
pub(crate) struct Network<'a> {
    pub(crate) source: &'a Source,
    pub(crate) cx: &'a SyncContext,
    pub(crate) interrupt: &'a Interrupt,
}

impl Network<'_> {
    /// The references that the server offers.
    pub(crate) fn heads(&self, location: &Location) -> Result<Vec<Head>> {
        let _turn = self.take_turn(location)?;
        let remote = Remote::create_detached(location.connect_url());
        self.talk("resolve", location, remote, |connection, _| list(connection))
    }

    /// Fetches `commit` into `repository`, whatever history that takes. `reference` is what leads there, if any.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] when the reference exists but no longer leads to the commit, [`ErrorKind::NotFound`] when
    /// the server does not have it.
    pub(crate) fn fetch(
        &self,
        repository: &Repository,
        location: &Location,
        commit: Oid,
        reference: Option<&str>,
    ) -> Result<()> {
        for wish in [Wish::Commit, Wish::History] {
            let fetched = self.try_fetch(repository, location, commit, reference, wish);
            match (fetched, wish) {
                (Ok(()), _) if holds(repository, commit) => return Ok(()),
                (Ok(()), _) => refuse_other(repository, location, commit)?,
                (Err(Refusal::ById), Wish::Commit) => {}
                (Err(Refusal::ById), Wish::History) => break,
                (Err(Refusal::Other(e)), _) => return Err(e),
            }
        }
        Err(gone(location, commit, reference))
    }

    /// Fetches the annotated tag `name` with what it leads to.
    pub(crate) fn fetch_tag(&self, repository: &Repository, location: &Location, name: &str) -> Result<()> {
        let _turn = self.take_turn(location)?;
        let remote = repository.remote_anonymous(&location.connect_url());
        self.talk("fetch tag", location, remote, |connection, options| {
            options.depth(self.depth(Wish::Commit));
            connection.remote().download(&[format!("+{name}:refs/dagsync/tag")], Some(options))
        })
    }

    fn try_fetch(
        &self,
        repository: &Repository,
        location: &Location,
        commit: Oid,
        reference: Option<&str>,
        wish: Wish,
    ) -> Result<(), Refusal> {
        let _turn = self.take_turn(location)?;
        let remote = repository.remote_anonymous(&location.connect_url());
        let mut by_id = false;
        let fetched = self.talk("fetch", location, remote, |connection, options| {
            let heads = list(connection)?;
            let specs = specs(&heads, commit, reference, wish);
            by_id = specs.iter().any(|spec| spec.starts_with(&commit.to_string()));
            options.depth(self.depth(wish));
            connection.remote().download(&specs, Some(options))?;
            match wish {
                Wish::Commit => Ok(()),
                // So that the next search for a commit that is not there need not transfer all of it again.
                Wish::History => {
                    connection.remote().update_tips(None, RemoteUpdateFlags::empty(), AutotagOption::None, None)
                }
            }
        });
        // Servers word it differently, and some just hang up: only other reasons than the server's words count.
        fetched.map_err(|e| match e.kind() {
            ErrorKind::Unreachable | ErrorKind::Unexpected | ErrorKind::NotFound if by_id => Refusal::ById,
            _ => Refusal::Other(e),
        })
    }

    /// Connects and does `work`; explains what fails.
    fn talk<T>(
        &self,
        operation: &'static str,
        location: &Location,
        remote: Result<Remote<'_>, git2::Error>,
        work: impl FnOnce(&mut RemoteConnection<'_, '_, '_>, &mut FetchOptions<'_>) -> Result<T, git2::Error>,
    ) -> Result<T> {
        let Source { location: main, settings } = self.source;
        let answers = RefCell::new(Answers::new(settings, main, location));
        let done = remote.and_then(|mut remote| {
            let mut connection =
                remote.connect_auth(Direction::Fetch, Some(self.callbacks(&answers)), Some(proxy()))?;
            let mut options = FetchOptions::new();
            options.remote_callbacks(self.callbacks(&answers)).proxy_options(proxy());
            options.download_tags(AutotagOption::None).update_fetchhead(false);
            work(&mut connection, &mut options)
        });
        done.map_err(|e| errors::network(operation, &e, &mut answers.borrow_mut(), location, settings, self.interrupt))
    }

    fn callbacks<'b>(&'b self, answers: &'b RefCell<Answers<'_>>) -> RemoteCallbacks<'b> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(|url, user, allowed| answers.borrow_mut().credentials(url, user, allowed));
        callbacks.certificate_check(|cert, _| answers.borrow_mut().certificate(cert));
        callbacks.sideband_progress(|_| self.interrupt.check("fetch").is_ok());
        callbacks.transfer_progress(|p| {
            let (total, done) = (p.total_objects() as u64, p.received_objects() as u64);
            self.cx.progress.set(total, done, p.received_bytes() as u64);
            self.interrupt.check("fetch").is_ok()
        });
        callbacks
    }

    fn depth(&self, wish: Wish) -> i32 {
        match wish {
            Wish::Commit => i32::from(self.source.settings.depth),
            Wish::History => UNSHALLOW,
        }
    }

    fn take_turn(&self, location: &Location) -> Result<Turn> {
        let home = self.home(location)?;
        let ca_file = self.source.settings.ca_file.as_deref().filter(|_| !location.is_ssh() && !location.is_file());
        libgit::take_turn(Globals { home: &home, ca_file }, self.interrupt)
    }

    /// libgit2 reads host keys from `.ssh/known_hosts` in the home folder and from nowhere else, so it is given one
    /// where that name leads to the configured file.
    fn home(&self, location: &Location) -> Result<PathBuf> {
        let home = self.cx.cache.join("home");
        let folder = home.join(".ssh");
        if let Some(file) = known_hosts(&self.source.settings).filter(|_| location.is_ssh()) {
            let file = std::path::absolute(&file).map_err(|e| Error::io("find", &file, e))?;
            let link = folder.join("known_hosts");
            fs::create_folders(&folder)?;
            if fs::read_link(&link).ok().flatten().is_none_or(|target| target != file) {
                fs::replace_link(&file, &link)?;
            }
        }
        Ok(home)
    }
}

/// Why a fetch did not happen.
enum Refusal {
    /// The server does not give this commit by its id.
    ById,
    Other(Error),
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

/// Whether the commit is in the repository.
pub(crate) fn holds(repository: &Repository, commit: Oid) -> bool {
    repository.find_commit(commit).is_ok()
}

/// Refuses what is in the repository but is no commit: a tag may point to a folder or to a file.
pub(crate) fn refuse_other(repository: &Repository, location: &Location, id: Oid) -> Result<()> {
    match repository.odb().and_then(|odb| odb.read_header(id)) {
        Err(_) | Ok((_, ObjectType::Commit)) => Ok(()),
        Ok((_, kind)) => Err(Error::new(ErrorKind::Refused, "fetch", format!("it leads to a {kind}, not to a commit"))
            .with_context("object", id)
            .with_context("url", location)
            .with_hint("name a branch, a commit or a tag of a commit in git.ref")),
    }
}

fn proxy() -> ProxyOptions<'static> {
    let mut options = ProxyOptions::new();
    options.auto();
    options
}

fn list(connection: &RemoteConnection<'_, '_, '_>) -> Result<Vec<Head>, git2::Error> {
    Ok(connection.list()?.iter().map(|h| Head { name: h.name().to_owned(), id: h.oid() }).collect())
}

fn specs(heads: &[Head], commit: Oid, reference: Option<&str>, wish: Wish) -> Vec<String> {
    let into = |name: &str| format!("+{name}:refs/dagsync/fetched");
    let followed = reference.and_then(|r| refs::full_name(heads, r));
    match (wish, followed) {
        (Wish::Commit, _) => {
            let bare = |head: &Head| head.name.strip_suffix("^{}").unwrap_or(&head.name).to_owned();
            let leads: Vec<String> = heads.iter().filter(|h| h.id == commit).map(bare).collect();
            let best = followed.filter(|f| leads.iter().any(|l| l == f)).or(leads.last().map(String::as_str));
            best.map_or_else(|| vec![format!("{commit}:refs/dagsync/fetched")], |name| vec![into(name)])
        }
        (Wish::History, Some(name)) => vec![into(name)],
        (Wish::History, None) => ["heads", "tags"].map(|k| format!("+refs/{k}/*:refs/dagsync/{k}/*")).into(),
    }
}

fn gone(location: &Location, commit: Oid, reference: Option<&str>) -> Error {
    let error =
        |kind, message| Error::new(kind, "fetch", message).with_context("commit", commit).with_context("url", location);
    match reference {
        Some(name) => error(ErrorKind::Changed, "the commit is no longer there").with_context("ref", name),
        None => error(ErrorKind::NotFound, "the repository does not have the commit")
            .with_hint("check the id; a commit that no branch or tag leads to cannot be fetched"),
    }
}
