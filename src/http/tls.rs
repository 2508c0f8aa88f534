//! The listener's certificate: read again when its files change, as those of a mounted Secret do.

mod expiry;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use dagsync_core::{Error, ErrorKind, Interrupt, Result, blocking, secret, worded};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::Mutex;

use crate::config::HttpTls;
use crate::metrics::Metrics;

/// The least between two looks at the files.
const RECHECK: Duration = Duration::from_secs(2);
/// How long a handshake waits for a look; then it goes on with what is there.
const LOOK: Duration = Duration::from_secs(1);
const OPERATION: &str = "read certificates";

/// What connections are encrypted with. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    metrics: Metrics,
    current: Arc<RwLock<Arc<ServerConfig>>>,
    looked: Arc<Mutex<Looked>>,
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

/// What was read of the files.
#[derive(Clone, PartialEq, Eq)]
struct Pems {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

struct Looked {
    at: Instant,
    /// What was read last, good or not, so that a broken pair is told of once.
    seen: std::result::Result<Pems, String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.files.cert).finish()
    }
}

impl Tls {
    /// Reads the files that are set; nothing without a certificate.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when a file is missing or holds something else; with the setting and the file.
    pub async fn new(settings: &HttpTls, metrics: Metrics) -> Result<Option<Self>> {
        let HttpTls { cert_file: Some(cert), key_file: Some(key), client_ca_file } = settings.clone() else {
            return Ok(None);
        };
        let files = Arc::new(Files { cert, key, client_ca: client_ca_file });
        let reading = files.clone();
        let read = move |_: &Interrupt| {
            let pems = reading.read()?;
            Ok((reading.configure(&pems)?, pems))
        };
        let (config, pems) = blocking(&Interrupt::never(), OPERATION, read).await?;
        metrics.certificate_expires(expires(&pems));
        let looked = Arc::new(Mutex::new(Looked { at: Instant::now(), seen: Ok(pems) }));
        Ok(Some(Self { files, metrics, current: Arc::new(RwLock::new(Arc::new(config))), looked }))
    }

    /// What the next handshake is made with.
    pub(super) async fn config(&self) -> Arc<ServerConfig> {
        if let Ok(mut looked) = self.looked.clone().try_lock_owned()
            && looked.at.elapsed() >= RECHECK
        {
            let tls = self.clone();
            // The lock goes along: while a volume hangs, nobody else looks.
            let look = tokio::task::spawn_blocking(move || {
                tls.look(&mut looked);
                looked.at = Instant::now();
            });
            let _ = tokio::time::timeout(LOOK, look).await;
        }
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look(&self, looked: &mut Looked) {
        let read = self.files.read();
        let seen = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        if seen == looked.seen {
            return;
        }
        looked.seen = seen;
        match read.and_then(|pems| Ok((self.files.configure(&pems)?, expires(&pems)))) {
            Ok((config, expires)) => {
                self.metrics.certificate_expires(expires);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                self.metrics.reloaded_certificate("success");
                tracing::info!(file = %self.files.cert.display(), "the new certificate counts");
            }
            Err(error) => {
                self.metrics.reloaded_certificate("error");
                tracing::warn!(%error, "the certificate before stays");
            }
        }
    }
}

impl Files {
    /// All files as they were at one moment: a Secret may be swapped between two of them.
    fn read(&self) -> Result<Pems> {
        let mut last = self.read_once()?;
        for _ in 0..3 {
            let again = self.read_once()?;
            if again == last {
                break;
            }
            last = again;
        }
        Ok(last)
    }

    fn read_once(&self) -> Result<Pems> {
        let read =
            |setting, path: &Path| secret::pem(setting, path).map_err(|e| e.with_context("file", path.display()));
        Ok(Pems {
            cert: read("http.tls.cert_file", &self.cert)?,
            key: read("http.tls.key_file", &self.key)?,
            client_ca: self.client_ca.as_deref().map(|path| read("http.tls.client_ca_file", path)).transpose()?,
        })
    }

    fn configure(&self, pems: &Pems) -> Result<ServerConfig> {
        let certificates = certificates("http.tls.cert_file", &self.cert, &pems.cert)?;
        // What is wrong with a key is not quoted.
        let key = PrivateKeyDer::from_pem_slice(&pems.key)
            .map_err(|_| bad("http.tls.key_file", &self.key, "holds no key in PEM"))?;
        let builder = ServerConfig::builder();
        let builder = match (&self.client_ca, &pems.client_ca) {
            (Some(path), Some(pem)) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder(Arc::new(authorities(path, pem)?))
                    .build()
                    .map_err(|e| bad("http.tls.client_ca_file", path, "cannot be used").with_source(e))?,
            ),
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|e| {
            bad("http.tls.cert_file", &self.cert, "and http.tls.key_file are no pair that can be used").with_source(e)
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// When the listener's certificate expires. Of those behind it clients use what they need: one that expired long ago, such as
/// a root that signed another across, may need nobody.
fn expires(pems: &Pems) -> Option<SystemTime> {
    expiry::expiry(&CertificateDer::pem_slice_iter(&pems.cert).next()?.ok()?)
}

fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("http.tls.client_ca_file", path, pem)? {
        let unfit =
            |e| bad("http.tls.client_ca_file", path, "holds a certificate that is none of an authority").with_source(e);
        roots.add(certificate).map_err(unfit)?;
    }
    Ok(roots)
}

fn certificates(setting: &str, path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|list| !list.is_empty()).ok_or_else(|| bad(setting, path, "holds no certificate in PEM"))
}

fn bad(setting: &str, path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, OPERATION, format!("{} {what}", worded(setting))).with_context("file", path.display())
}
