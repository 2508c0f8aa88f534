//! Asks every daemon how it stands: so many at once, each for so long and no longer.

use std::time::Duration;

use dagsync_core::Result;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt};

use super::answer::{Answer, clipped};
use super::discover::{Peer, Phase};
use crate::client::Client;
use crate::config::ClientSettings;

/// What came of asking one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whom.
    pub peer: Peer,
    /// Whether it is one that the others follow.
    pub leads: bool,
    /// What it said.
    pub said: Said,
}

/// What a pod said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// How it stands.
    Status(Box<Answer>),
    /// Nothing; why.
    Nothing(String),
}

impl Asked {
    /// Its answer, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.said {
            Said::Status(answer) => Some(answer),
            Said::Nothing(_) => None,
        }
    }
}

/// How daemons are asked.
#[derive(Debug, Clone)]
pub struct Manners {
    /// At once.
    pub concurrency: usize,
    /// The longest that one is waited for.
    pub timeout: Duration,
    /// With what.
    pub client: ClientSettings,
}

/// Asks `peers`, and those of `leaders` that are not among them; the answers are in no particular order.
///
/// # Errors
/// A certificate cannot be read: then nobody can be asked.
pub async fn ask(peers: Vec<Peer>, leaders: &[String], manners: &Manners) -> Result<Vec<Asked>> {
    let Some(first) = peers.iter().find_map(|peer| peer.url.as_deref()).or(leaders.first().map(String::as_str)) else {
        return Ok(peers.into_iter().map(|peer| Asked { said: silent(&peer), leads: false, peer }).collect());
    };
    let client = Client::of_many(first, &manners.client)?;
    let leads = |peer: &Peer| peer.url.as_ref().is_some_and(|url| leaders.iter().any(|leader| same(leader, url)));
    let known = |url: &String| peers.iter().any(|peer| peer.url.as_ref().is_some_and(|known| same(known, url)));
    let extra: Vec<_> = leaders.iter().filter(|url| !known(url)).map(|url| Peer::at(url)).collect();
    let question = |peer: Peer, is_extra: bool| {
        let leads = is_extra || leads(&peer);
        let (client, timeout) = (client.clone(), manners.timeout);
        async move { (is_extra, Asked { said: one(&client, &peer, timeout).await, leads, peer }) }.boxed()
    };
    let mut all: Vec<BoxFuture<'static, _>> = extra.into_iter().map(|peer| question(peer, true)).collect();
    all.extend(peers.iter().cloned().map(|peer| question(peer, false)));
    let asked: Vec<_> = stream::iter(all).buffer_unordered(manners.concurrency).collect().await;
    Ok(known_by_two_names(asked))
}

async fn one(client: &Client, peer: &Peer, timeout: Duration) -> Said {
    let Some(url) = peer.url.as_deref().filter(|_| is_asked(peer)) else { return silent(peer) };
    let asked = async { client.beside(url)?.status().await };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(status)) => Said::Status(Box::new(Answer::read(&status))),
        Ok(Err(error)) => Said::Nothing(clipped(&error.to_string())),
        Err(_) => Said::Nothing(format!("no answer within {}", humantime::format_duration(timeout))),
    }
}

const fn is_asked(peer: &Peer) -> bool {
    matches!(peer.phase, Phase::Running | Phase::Starting)
}

fn silent(peer: &Peer) -> Said {
    Said::Nothing(String::from(match peer.phase {
        Phase::Missing => "it has no container of dagsync",
        Phase::Terminating => "it is terminating",
        Phase::Starting => "it is starting and has no address yet",
        Phase::Running => "it has no address",
    }))
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// A leader behind the address of a service is one of the pods, too: whose answer is the same to the last time stamp.
fn known_by_two_names(asked: Vec<(bool, Asked)>) -> Vec<Asked> {
    let (extra, mut pods): (Vec<_>, Vec<_>) = asked.into_iter().partition(|(is_extra, _)| *is_extra);
    let mut more = Vec::new();
    for (_, leader) in extra {
        let is_it = |pod: &Asked| pod.answer().is_some() && pod.said == leader.said;
        match pods.iter_mut().find(|(_, pod)| is_it(pod)) {
            Some((_, pod)) => pod.leads = true,
            None => more.push(leader),
        }
    }
    pods.into_iter().map(|(_, pod)| pod).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use axum::Router;
    use axum::extract::Path;
    use axum::routing::get;

    use super::*;

    #[derive(Default)]
    struct Load {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    async fn serve(load: Arc<Load>) -> String {
        crate::install_crypto();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = |Path(name): Path<String>| async move {
            load.most.fetch_max(load.now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            load.now.fetch_sub(1, SeqCst);
            match name.as_str() {
                "slow" => std::future::pending().await,
                "huge" => " ".repeat(2 << 20),
                "odd" => "[]".to_owned(),
                name => format!(r#"{{"pod": "{name}"}}"#),
            }
        };
        let router = Router::new().route("/{name}/v1/status", get(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn manners(concurrency: usize) -> Manners {
        Manners { concurrency, timeout: Duration::from_millis(500), client: ClientSettings::default() }
    }

    fn of<'a>(asked: &'a [Asked], name: &str) -> &'a Asked {
        asked.iter().find(|asked| asked.peer.name.ends_with(name)).unwrap()
    }

    #[tokio::test]
    async fn never_more_at_once_than_allowed_and_everybody_once() {
        let load = Arc::new(Load::default());
        let url = serve(load.clone()).await;
        let peers = (0..200).map(|n| Peer::at(&format!("{url}/pod-{n}"))).collect();
        let asked = ask(peers, &[], &manners(7)).await.unwrap();
        assert_eq!(asked.iter().filter(|asked| asked.answer().is_some()).count(), 200, "{:?}", asked[0]);
        assert!(load.most.load(SeqCst) <= 7, "{:?}", load.most);
    }

    #[tokio::test]
    async fn who_hangs_says_too_much_or_nonsense_holds_nobody_up() {
        let url = serve(Arc::default()).await;
        let urls = ["slow", "huge", "odd", "fine"].map(|name| Peer::at(&format!("{url}/{name}")));
        let asked = ask(urls.into(), &[format!("{url}/fine/"), format!("{url}/other")], &manners(2)).await.unwrap();
        assert!(of(&asked, "fine").answer().is_some() && of(&asked, "fine").leads);
        assert!(of(&asked, "other").leads);
        assert_eq!(asked.len(), 5);
        for (name, why) in [("slow", "no answer within 500ms"), ("huge", "larger than"), ("odd", "no status")] {
            assert!(matches!(&of(&asked, name).said, Said::Nothing(said) if said.contains(why)), "{asked:?}");
        }
    }

    #[tokio::test]
    async fn who_cannot_be_asked_is_not() {
        let peer = |phase, url: Option<&str>| Peer { phase, url: url.map(str::to_owned), ..Peer::at("http://h") };
        let peers = vec![peer(Phase::Missing, None), peer(Phase::Terminating, Some("http://192.0.2.1:1"))];
        let asked = ask(peers, &[], &manners(2)).await.unwrap();
        assert!(asked.iter().all(|asked| asked.answer().is_none()));
    }
}
