//! The pods behind the DNS names of headless Services, as they are now: nothing is cached here.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking, fs};
use futures::future::{join_all, try_join_all};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;

use super::{Found, Peer, url_of};
use crate::config::{Fleet, Scheme};

const OPERATION: &str = "ask DNS";
const RESOLV_CONF: &str = "/etc/resolv.conf";
const MAX_RESOLV_CONF: u64 = 64 << 10;
/// The longest that one name may take, with all search domains.
const TIME: Duration = Duration::from_secs(15);
/// The longest that one server may take for one question before it is asked again.
const ANSWER: Duration = Duration::from_secs(3);
/// How many targets of SRV records are asked for at a time.
const TOGETHER: usize = 16;

/// The pods behind `fleet.dns`.
pub(super) async fn find(fleet: &Fleet) -> Result<Vec<Found>> {
    if fleet.dns.is_empty() {
        return Ok(Vec::new());
    }
    let dns = Dns::new(fleet).await?;
    let all = fleet.dns.iter().map(|name| dns.find(name, fleet));
    Ok(try_join_all(all).await?.into_iter().flatten().collect())
}

/// Whom to ask, and for which names.
struct Dns {
    resolver: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
    /// For messages.
    servers: String,
}

impl Dns {
    async fn new(fleet: &Fleet) -> Result<Self> {
        let (config, mut options) = match fleet.dns_server {
            Some(at) => {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut c| {
                    c.port = at.port();
                    c
                });
                let server = NameServerConfig::new(at.ip(), true, connections.into());
                (ResolverConfig::from_parts(None, Vec::new(), vec![server]), ResolverOpts::default())
            }
            None => blocking(&Interrupt::never(), OPERATION, |_| system()).await?,
        };
        options.timeout = options.timeout.min(ANSWER);
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        let (_, search, servers) = config.into_parts();
        let shown: Vec<String> = servers.iter().map(|s| s.ip.to_string()).collect();
        let ndots = options.ndots;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = resolver.with_options(options).build();
        let resolver = resolver
            .map_err(|e| Error::new(ErrorKind::Unexpected, OPERATION, "cannot start the resolver").with_source(e))?;
        Ok(Self { resolver, search, ndots, servers: shown.join(", ") })
    }

    async fn find(&self, name: &str, fleet: &Fleet) -> Result<Vec<Found>> {
        let find = async {
            if name.starts_with('_') { self.services(name, fleet).await } else { self.addresses(name, fleet).await }
        };
        let found = tokio::time::timeout(TIME, find).await.unwrap_or_else(|_| Err(silent()));
        found.map_err(|e| e.with_context("name", name).with_context("server", &self.servers))
    }

    async fn addresses(&self, name: &str, fleet: &Fleet) -> Result<Vec<Found>> {
        let answers = self.search(name, &[RecordType::A, RecordType::AAAA]).await?;
        let at = |ip: IpAddr| {
            let url = url_of(fleet.scheme, &ip.to_string(), fleet.port);
            Peer { name: ip.to_string(), ..Peer::at(&url) }.into()
        };
        Ok(addresses(answers.iter().flat_map(Lookup::answers)).map(at).collect())
    }

    async fn services(&self, name: &str, fleet: &Fleet) -> Result<Vec<Found>> {
        let answers = self.search(name, &[RecordType::SRV]).await?;
        let services = answers.iter().flat_map(|answer| answer.answers().iter().map(move |record| (answer, record)));
        let services = services.filter_map(|(answer, record)| match &record.data {
            // RFC 2782: a lone dot says that there is no such service.
            RData::SRV(srv) if !srv.target.is_root() => Some((answer, srv)),
            _ => None,
        });
        let services: Vec<_> = services.map(|(answer, srv)| self.service(answer, srv, fleet)).collect();
        stream::iter(services).buffer_unordered(TOGETHER).try_collect().await
    }

    /// The pod of one SRV record, with the addresses that came along or that are asked for.
    async fn service(&self, answer: &Lookup, srv: &SRV, fleet: &Fleet) -> Result<Found> {
        let target = srv.target.to_utf8();
        let target = target.trim_end_matches('.');
        let along = answer.additionals().iter().filter(|record| record.name == srv.target);
        let mut ips: Vec<IpAddr> = addresses(along).collect();
        if ips.is_empty() {
            match self.search(&format!("{target}."), &[RecordType::A, RecordType::AAAA]).await {
                Ok(asked) => ips.extend(addresses(asked.iter().flat_map(Lookup::answers))),
                // The pod went in between, or it should be there and is not: whoever asks it will see.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(pod_of(target, srv.port, &ips, fleet))
    }

    /// What the first of the names that are meant has of any of `types`.
    async fn search(&self, name: &str, types: &[RecordType]) -> Result<Vec<Lookup>> {
        let mut failed = None;
        for name in self.names(name)? {
            let asked = types.iter().map(|kind| self.resolver.lookup(name.clone(), *kind));
            let answers = join_all(asked).await;
            let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
            let good: Vec<Lookup> = good.into_iter().flatten().collect();
            if !good.is_empty() {
                return Ok(good);
            }
            // A search domain that fails must not hide the name behind it, nor be taken for its absence.
            let error = bad.into_iter().filter_map(Result::err).find(|e| !e.is_no_records_found());
            failed = failed.or_else(|| error.map(|e| unreachable(e).with_context("asked for", &name)));
        }
        Err(failed.unwrap_or_else(|| absent(types)))
    }

    /// The full names that `name` may mean, as resolv.conf(5) has it.
    fn names(&self, name: &str) -> Result<Vec<Name>> {
        let bad = |e| {
            Error::new(ErrorKind::Config, OPERATION, "fleet.dns has what is no DNS name").with_source(NetError::from(e))
        };
        let name = Name::from_ascii(name).map_err(bad)?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let mut names: Vec<Name> =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        let is_long = usize::from(name.num_labels()) > self.ndots;
        names.insert(if is_long { 0 } else { names.len() }, name.append_domain(&Name::root()).map_err(bad)?);
        Ok(names)
    }
}

const CHECK_SERVER: &str =
    "check that the DNS server runs and that a NetworkPolicy lets this pod ask it, by UDP and TCP";

/// Servers and search domains as every program of this pod has them.
fn system() -> Result<(ResolverConfig, ResolverOpts)> {
    let bad = |what: &str| {
        Error::new(ErrorKind::Config, OPERATION, format!("{RESOLV_CONF} {what}")).with_hint("or set fleet.dns_server")
    };
    let text = fs::read(Path::new(RESOLV_CONF), MAX_RESOLV_CONF)?.ok_or_else(|| bad("does not exist"))?;
    parse_resolv_conf(text).map_err(|e| bad("cannot be used").with_source(e))
}

fn addresses<'a>(records: impl Iterator<Item = &'a Record>) -> impl Iterator<Item = IpAddr> {
    records.filter_map(|record| match record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    })
}

/// Certificates are of names; otherwise an address is what other ways find too.
fn pod_of(target: &str, port: u16, ips: &[IpAddr], fleet: &Fleet) -> Found {
    let mut urls: Vec<String> = ips.iter().map(|ip| url_of(fleet.scheme, &ip.to_string(), port)).collect();
    if fleet.scheme == Scheme::Https || urls.is_empty() {
        urls.insert(0, url_of(fleet.scheme, target, port));
    }
    // A pod of a StatefulSet has a name here; any other one is called by its address with dashes.
    let label = target.split('.').next().unwrap_or(target);
    let is_address = ips.iter().any(|ip| ip.to_string().replace(['.', ':'], "-") == label);
    let name = if is_address { label.replace('-', ".") } else { label.to_owned() };
    Found { peer: Peer { name, ..Peer::at(&urls[0]) }, urls }
}

fn absent(types: &[RecordType]) -> Error {
    let records: Vec<String> = types.iter().map(ToString::to_string).collect();
    let message = format!("there is no such name, or it has no {} record", records.join(" or "));
    Error::new(ErrorKind::NotFound, OPERATION, message).retryable().with_hint(
        "a headless Service has a name only while a pod behind it is ready: set publishNotReadyAddresses on it to see \
         all; otherwise check fleet.dns and the Service's selector",
    )
}

fn silent() -> Error {
    let message = format!("no answer within {}s", TIME.as_secs());
    Error::new(ErrorKind::Timeout, OPERATION, message).with_hint(CHECK_SERVER)
}

fn unreachable(error: NetError) -> Error {
    let kind = if matches!(error, NetError::Timeout) { ErrorKind::Timeout } else { ErrorKind::Unreachable };
    Error::new(kind, OPERATION, "the DNS server gives no answer").with_source(error).with_hint(CHECK_SERVER)
}
