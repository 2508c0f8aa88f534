//! Asks every daemon how it stands: so many at once, each for so long and no longer.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dagsync_core::{Result, printable};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt};

use super::answer::{Answer, clipped};
use super::discover::{Peer, Phase};
use crate::client::Client;
use crate::config::{ClientSettings, Config};

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

impl Manners {
    /// Those that the settings ask for.
    pub fn of(config: &Config) -> Self {
        let Config { drift, client, .. } = config;
        Self { concurrency: drift.concurrency, timeout: drift.timeout, client: client.clone() }
    }
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
    Ok(each_once(asked))
}

async fn one(client: &Client, peer: &Peer, timeout: Duration) -> Said {
    let Some(url) = peer.url.as_deref().filter(|_| is_asked(peer)) else { return silent(peer) };
    let asked = async { client.beside(url)?.status().await };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(status)) if Answer::is_status(&status) => Said::Status(Box::new(Answer::read(&status))),
        Ok(Ok(_)) => {
            let what = "it answered, but with no status of dagsync: check that the URL and its port are the daemon's";
            Said::Nothing(what.to_owned())
        }
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

/// One process that was asked by several names is one pod with one vote. It is known by its answer, which has to be the same
/// in everything that is judged: what another one says in its name hides nothing of it. Two pods that Kubernetes knows stay
/// two: only one of them can be who answers at their address.
fn each_once(mut asked: Vec<(bool, Asked)>) -> Vec<Asked> {
    let rank = |(is_extra, asked): &(bool, Asked)| {
        let Peer { name, url, .. } = &asked.peer;
        let is_called_so = asked.answer().is_some_and(|answer| answer.pod == *name);
        (!asked.peer.is_of_kubernetes(), !is_called_so, *is_extra, name.clone(), url.clone())
    };
    asked.sort_by_cached_key(rank);
    let mut asked: Vec<Asked> = asked.into_iter().map(|(_, asked)| asked).collect();
    let mut doubles = doubles(&asked);
    doubles.retain(|&at, &mut first| {
        if asked[at].peer.is_of_kubernetes() {
            let why = format!("another pod answers at its address: {}", printable(&asked[first].peer.name));
            asked[at].said = Said::Nothing(why);
            return false;
        }
        asked[first].leads |= asked[at].leads;
        true
    });
    let kept = asked.into_iter().enumerate().filter(|(at, _)| !doubles.contains_key(at));
    kept.map(|(_, asked)| asked).collect()
}

/// Those who said what somebody before them said already, and who that was.
fn doubles(asked: &[Asked]) -> BTreeMap<usize, usize> {
    let (mut first, mut doubles) = (HashMap::new(), BTreeMap::new());
    for (at, asked) in asked.iter().enumerate() {
        if let Some(answer) = asked.answer().filter(|answer| !answer.id.is_empty()) {
            doubles.insert(at, *first.entry(answer).or_insert(at));
        }
    }
    doubles.retain(|at, first| at != first);
    doubles
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
                "other-json" => "{}".to_owned(),
                name => format!(r#"{{"pod": "{name}", "state": "converged", "version": null}}"#),
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
        let urls = ["slow", "huge", "odd", "other-json", "fine"].map(|name| Peer::at(&format!("{url}/{name}")));
        let asked = ask(urls.into(), &[format!("{url}/fine/"), format!("{url}/other")], &manners(2)).await.unwrap();
        assert!(of(&asked, "fine").answer().is_some() && of(&asked, "fine").leads);
        assert!(of(&asked, "other").leads);
        assert_eq!(asked.len(), 6);
        for (name, why) in [
            ("slow", "no answer within 500ms"),
            ("huge", "larger than"),
            ("odd", "no status"),
            ("other-json", "it answered, but with no status of dagsync"),
        ] {
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
    fn found(name: &str, id: &str, namespace: Option<&str>) -> (bool, Asked) {
        let answer = Answer { id: id.to_owned(), pod: "worker-0".to_owned(), ..Answer::default() };
        let namespace = namespace.map(str::to_owned);
        let peer = Peer { name: name.to_owned(), namespace, ..Peer::at(&format!("http://{name}:8466")) };
        (false, Asked { peer, leads: false, said: Said::Status(Box::new(answer)) })
    }

    fn names(asked: &[Asked]) -> Vec<(&str, bool)> {
        asked.iter().map(|asked| (asked.peer.name.as_str(), asked.answer().is_some())).collect()
    }

    #[test]
    fn one_pod_by_two_names_has_one_vote() {
        let two = vec![found("10.0.0.7", "p1", None), found("fd00::7", "p1", None), found("10.0.0.8", "p2", None)];
        assert_eq!(names(&each_once(two)), [("10.0.0.7", true), ("10.0.0.8", true)]);
        let leader = (true, Asked { leads: true, ..found("service", "p1", None).1 });
        let one = each_once(vec![leader, found("10.0.0.7", "p1", None)]);
        assert_eq!((names(&one), one[0].leads), (vec![("10.0.0.7", true)], true));
    }

    #[test]
    fn who_answers_in_another_s_name_does_not_hide_what_is_wrong_with_it() {
        let (good, version) = (found("a", "p1", None), Some(dagsync_core::Digest::of("x").into()));
        let said = |change: &dyn Fn(&mut Answer)| {
            let mut answer = Answer { version, state: "converged".to_owned(), ..good.1.answer().unwrap().clone() };
            change(&mut answer);
            Said::Status(Box::new(answer))
        };
        let now = std::time::SystemTime::UNIX_EPOCH;
        let stay = super::super::answer::Stay { from: now, version: version.unwrap() };
        let wrong: [&dyn Fn(&mut Answer); 6] = [
            &|a| a.state = "tampered".to_owned(),
            &|a| a.filter_hash = "other".to_owned(),
            &|a| a.timeline = vec![stay],
            &|a| a.behind_since = Some(now),
            &|a| a.target_version = version,
            &|a| a.last_error = Some("no".to_owned()),
        ];
        for change in wrong {
            let clone = (false, Asked { said: said(&|_| {}), ..good.1.clone() });
            let victim = (false, Asked { said: said(change), ..found("victim", "p1", None).1 });
            assert_eq!(each_once(vec![clone.clone(), victim.clone()]), [clone.1, victim.1]);
        }
    }

    #[test]
    fn who_does_not_say_who_it_is_or_says_another_version_is_another_pod() {
        let quiet = vec![found("a", "", None), found("b", "", None)];
        assert_eq!(each_once(quiet).len(), 2);
        let mut thief = found("b", "p1", None);
        thief.1.said = Said::Status(Box::new(Answer {
            version: Some(dagsync_core::Digest::of("x").into()),
            ..thief.1.answer().unwrap().clone()
        }));
        assert_eq!(each_once(vec![found("a", "p1", None), thief]).len(), 2);
    }

    #[test]
    fn of_two_pods_at_one_address_the_one_that_is_called_so_answers() {
        let two = vec![found("a", "p1", Some("ns")), found("worker-0", "p1", Some("ns")), found("ip", "p1", None)];
        let asked = each_once(two);
        assert_eq!(names(&asked), [("worker-0", true), ("a", false)]);
        assert!(matches!(&asked[1].said, Said::Nothing(why) if why.ends_with("at its address: worker-0")), "{asked:?}");
    }
}
