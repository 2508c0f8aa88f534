//! TLS with the daemon of this pod: what it shows must be the very certificate that lies in its file.

use std::path::Path;
use std::sync::Arc;

use dagsync_core::{Error, ErrorKind, Result, secret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::config::ClientSettings;

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

/// A configuration that trusts the certificate of `file` alone, under any name and at any time.
pub(super) fn trusting(file: &Path, settings: &ClientSettings) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let certificate = certificates("http.tls.cert_file", file)?.swap_remove(0);
    let pinned = Arc::new(Pinned { certificate, provider: provider.clone() });
    let unusable = |e| bad("TLS cannot be set up").with_source(e);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(unusable)?.dangerous().with_custom_certificate_verifier(pinned);
    let (Some(chain), Some(key)) = (&settings.cert_file, &settings.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    // What is wrong with a key is not quoted.
    let key = PrivateKeyDer::from_pem_slice(&secret::pem("client.key_file", key)?)
        .map_err(|_| bad("client.key_file holds no key in PEM"))?;
    let chain = certificates("client.cert_file", chain)?;
    builder.with_client_auth_cert(chain, key).map_err(unusable)
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = secret::pem(setting, path)?;
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = read.ok().filter(|list| !list.is_empty());
    found.ok_or_else(|| bad(&format!("{setting} holds no certificate in PEM")))
}

fn bad(message: &str) -> Error {
    Error::new(ErrorKind::Config, "read certificates", message)
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("the daemon shows another certificate than that of http.tls.cert_file".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
