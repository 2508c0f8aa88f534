//! The network: listing the references of a repository and fetching one commit of it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::SystemTime;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, SyncContext, fs};
use git2::{
    AutotagOption, Direction, FetchOptions, ObjectType, Oid, Remote, RemoteCallbacks, RemoteRedirect,
    RemoteUpdateFlags, Repository,
};

use crate::Source;
use crate::auth::Answers;
use crate::hosts::known_hosts;
use crate::libgit::{self, Globals, Turn};
use crate::location::Location;
use crate::refs::{self, Head};
use crate::secret::Secret;
use crate::{cache, cookies, errors, proxy};

/// The depth that asks for all that a shallow repository lacks, see `GIT_FETCH_DEPTH_UNSHALLOW`.
const UNSHALLOW: i32 = i32::MAX;

/// A reference that no server has.
const NOTHING: &str = "refs/dagsync/nothing:refs/dagsync/nothing";

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
        self.talk("resolve", location, None, |remote, _| list(remote))
    }

    /// Chooses the commit to follow and fetches it, if it is not there, in one connection. The second result is that of
    /// the fetch, if there was one.
    pub(crate) fn fetch_newest(
        &self,
        repository: &Repository,
        location: &Location,
    ) -> (Result<Oid>, Option<Result<()>>) {
        let reference = &self.source.settings.reference;
        let (mut chosen, mut begun) = (None, false);
        let talked = self.take_turn(location).and_then(|_turn| {
            self.talk("resolve", location, Some(repository), |remote, options| {
                let heads = list(remote)?;
                let commit = refs::choose(&heads, reference, location);
                let wanted = commit.as_ref().ok().copied().filter(|commit| !holds(repository, *commit));
                chosen = Some(commit);
                let Some(commit) = wanted else { return Ok(()) };
                begun = true;
                self.cx.progress.start("fetch", 0);
                options.depth(self.depth(Wish::Commit));
                remote.download(&specs(&heads, commit, Some(reference.as_str()), Wish::Commit), Some(options))
            })
        });
        match (chosen, talked) {
            (Some(chosen), talked) => (chosen, begun.then_some(talked)),
            (None, Err(error)) => (Err(error), None),
            (None, Ok(())) => unreachable!("whoever was connected has chosen"),
        }
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
        self.talk("fetch tag", location, Some(repository), |remote, options| {
            options.depth(self.depth(Wish::Commit));
            remote.download(&[format!("+{name}:refs/dagsync/tag")], Some(options))
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
        let mut by_id = false;
        let fetched = self.talk("fetch", location, Some(repository), |remote, options| {
            let heads = list(remote)?;
            let specs = specs(&heads, commit, reference, wish);
            by_id = specs.iter().any(|spec| spec.starts_with(&commit.to_string()));
            options.depth(self.depth(wish));
            remote.download(&specs, Some(options))?;
            match wish {
                Wish::Commit => Ok(()),
                // So that the next search for a commit that is not there need not transfer all of it again.
                Wish::History => remote.update_tips(None, RemoteUpdateFlags::empty(), AutotagOption::None, None),
            }
        });
        // Servers word it differently, and some just hang up: only other reasons than the server's words count.
        fetched.map_err(|e| match e.kind() {
            ErrorKind::Unreachable | ErrorKind::Unexpected | ErrorKind::NotFound if by_id => Refusal::ById,
            _ => Refusal::Other(e),
        })
    }

    /// Connects and does `work`; explains what fails.
    ///
    /// A server such as GitHub lets any key in that it knows, also one that may not read this repository. So with
    /// several keys a connection that one of them did not lead to the repository is followed by one with the others.
    fn talk<T>(
        &self,
        operation: &'static str,
        location: &Location,
        repository: Option<&Repository>,
        mut work: impl FnMut(&mut Remote<'_>, &mut FetchOptions<'_>) -> Result<T, git2::Error>,
    ) -> Result<T> {
        let headers = self.headers(location)?;
        let scratch = (repository.is_none() && !headers.is_empty())
            .then(|| cache::scratch(&self.cx.cache.join("scratch"), self.interrupt))
            .transpose()?;
        let repository = repository.or(scratch.as_ref());
        let mut keys = self.keys(location)?;
        let mut first = None;
        loop {
            let answers = RefCell::new(Answers::new(*self, location, keys));
            let mut connected = false;
            let done = self.connect(location, repository, &headers, &answers, |remote, options| {
                connected = true;
                work(remote, options)
            });
            let mut answers = answers.into_inner();
            let failure = match done {
                Ok(done) => {
                    self.remember_key(location, answers.key);
                    return Ok(done);
                }
                Err(e) => errors::network(operation, &e, &mut answers, location, self.source, self.interrupt),
            };
            let is_of_key = matches!(
                failure.kind(),
                ErrorKind::Unauthorized | ErrorKind::NotFound | ErrorKind::Unreachable | ErrorKind::Unexpected
            );
            if connected || !is_of_key || answers.key.is_none() || answers.keys.is_empty() {
                return Err(first.unwrap_or(failure));
            }
            first.get_or_insert(failure);
            keys = answers.keys;
        }
    }

    /// One connection.
    fn connect<T>(
        &self,
        location: &Location,
        repository: Option<&Repository>,
        headers: &[Secret],
        answers: &RefCell<Answers<'_>>,
        work: impl FnOnce(&mut Remote<'_>, &mut FetchOptions<'_>) -> Result<T, git2::Error>,
    ) -> Result<T, git2::Error> {
        let url = location.connect_url();
        let mut remote = match repository {
            Some(repository) => repository.remote_anonymous(&url)?,
            None => Remote::create_detached(url)?,
        };
        let (mut options, configured) = (FetchOptions::new(), self.source.proxy(location));
        options.remote_callbacks(self.callbacks(answers)).proxy_options(proxy::options(location, configured));
        options.download_tags(AutotagOption::None).update_fetchhead(false);
        if headers.is_empty() {
            let (callbacks, proxy) = (self.callbacks(answers), proxy::options(location, configured));
            let mut connection = remote.connect_auth(Direction::Fetch, Some(callbacks), Some(proxy))?;
            libgit::send_at_once();
            return work(connection.remote(), &mut options);
        }
        // They may be secrets, so they go to no other host. Only a download can be given them, and it connects too.
        let headers: Vec<&str> = headers.iter().map(Secret::reveal).collect();
        options.custom_headers(&headers).follow_redirects(RemoteRedirect::None);
        remote.download(&[NOTHING], Some(&mut options))?;
        work(&mut remote, &mut options)
    }

    /// What is sent besides, over http and https.
    fn headers(&self, location: &Location) -> Result<Vec<Secret>> {
        let Source { settings, config, location: main, .. } = self.source;
        if !location.is_http() && !location.is_https() {
            return Ok(Vec::new());
        }
        let mut headers = config.headers(location, main);
        if let Some(file) = &settings.cookie_file {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let cookies = cookies::header(Secret::read("git.cookie_file", file)?.reveal(), location, now);
            headers.extend(cookies.map(|cookies| Secret::new(format!("Cookie: {cookies}"))));
        }
        Ok(headers)
    }

    /// The keys that are there, the one to try first at the end: the one that was let in before.
    fn keys(&self, location: &Location) -> Result<Vec<PathBuf>> {
        let configured = &self.source.settings.ssh_key_file;
        if !location.is_ssh() || configured.is_empty() {
            return Ok(Vec::new());
        }
        // One that cannot be looked at is left to be read, which says why.
        let mut keys: Vec<PathBuf> =
            configured.iter().filter(|key| fs::resolve(key).map_or(true, |found| found.is_some())).cloned().collect();
        if keys.is_empty() {
            let names: Vec<_> = configured.iter().map(|key| key.display().to_string()).collect();
            let message = if names.len() > 1 { "none of the files is there" } else { "the file is not there" };
            return Err(Error::new(ErrorKind::Unauthorized, "read credentials", message)
                .with_context("git.ssh_key_file", names.join(", "))
                .with_hint("check that the Secret is mounted and that the process may read it (fsGroup)"));
        }
        keys.reverse();
        let known = self.source.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&location.cache_name()) {
            keys.sort_by_key(|key| key == known);
        }
        Ok(keys)
    }

    fn remember_key(&self, location: &Location, key: Option<PathBuf>) {
        if let Some(key) = key.filter(|_| self.source.settings.ssh_key_file.len() > 1) {
            let mut known = self.source.keys.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(location.cache_name(), key);
        }
    }

    fn callbacks<'b>(&'b self, answers: &'b RefCell<Answers<'_>>) -> RemoteCallbacks<'b> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.credentials(|url, user, allowed| answers.borrow_mut().credentials(url, user, allowed));
        callbacks.certificate_check(|cert, _| {
            // The first moment at which there is a socket to set; only https and ssh come by here.
            libgit::send_at_once();
            answers.borrow_mut().certificate(cert)
        });
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
            Wish::Commit => i32::try_from(self.source.settings.depth).unwrap_or(UNSHALLOW),
            Wish::History => UNSHALLOW,
        }
    }

    fn take_turn(&self, location: &Location) -> Result<Turn> {
        let home = self.home(location)?;
        let ca_file = self.source.ca_file().filter(|_| !location.is_ssh() && !location.is_file());
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

fn list(remote: &Remote<'_>) -> Result<Vec<Head>, git2::Error> {
    Ok(remote.list()?.iter().map(|h| Head { name: h.name().to_owned(), id: h.oid() }).collect())
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

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use dagsync_core::{Filter, Limits, Progress, Tally};

    use super::*;

    /// What a call of the strategy is given.
    pub(crate) fn context(cache: &Path) -> (SyncContext, Interrupt) {
        let cx = SyncContext {
            interrupt: Interrupt::never(),
            cache: cache.to_owned(),
            filter: Arc::new(Filter::default()),
            limits: Limits::default(),
            previous: None,
            progress: Progress::default(),
            tally: Tally::default(),
            thorough: false,
        };
        (cx, Interrupt::never())
    }
}
