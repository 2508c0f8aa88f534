//! Detached ed25519 signatures (RFC 8032), with keys as OpenSSL writes them: PKCS#8 and SPKI in PEM.

use std::fmt;
use std::path::Path;

use dagsync_core::{Error, ErrorKind, Result, fs};
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

const KEY_MAX: u64 = 64 << 10;

/// A private key.
pub struct Signer(SigningKey);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

impl Signer {
    /// The key in a file that `openssl genpkey -algorithm ed25519` wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let how = "make one with `openssl genpkey -algorithm ed25519 -out seal.key`";
        // What is wrong with it is not told: the cause might quote it.
        SigningKey::from_pkcs8_pem(&text(path)?).map(Self).map_err(|_| unreadable(path, "private", how))
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sign(bytes).to_bytes().to_vec()
    }
}

/// A public key.
#[derive(Debug, Clone)]
pub struct Key(VerifyingKey);

impl Key {
    /// The key in a file that `openssl pkey -pubout` wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let how = "make it with `openssl pkey -in seal.key -pubout -out seal.pub`";
        VerifyingKey::from_public_key_pem(&text(path)?)
            .map(Self)
            .map_err(|e| unreadable(path, "public", how).with_source(e))
    }

    pub(crate) fn verify(&self, bytes: &[u8], signature: &[u8]) -> Result<()> {
        let good = Signature::from_slice(signature).is_ok_and(|s| self.0.verify_strict(bytes, &s).is_ok());
        if good {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Untrusted, "verify seal", "the signature is not of this seal and key")
            .with_hint("the seal was edited, or the image was sealed with another key"))
    }
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::read_given(path, KEY_MAX)?
        .ok_or_else(|| Error::new(ErrorKind::Config, "read key", format!("{} is not there", path.display())))?;
    String::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorKind::Config, "read key", format!("{} is no text", path.display())))
}

fn unreadable(path: &Path, which: &str, hint: &str) -> Error {
    Error::new(ErrorKind::Config, "read key", format!("{} is no {which} ed25519 key in PEM", path.display()))
        .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with openssl for this test.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    /// The public key of the private one above is RFC 8032's first test vector.
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn rfc_8032s_first_vector() {
        let signature = Signer::read(file(PRIVATE).path()).unwrap().sign(b"");
        let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            hex.starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac"),
            "{hex}"
        );
        let key = Key::read(file(PUBLIC).path()).unwrap();
        key.verify(b"", &signature).unwrap();
        assert_eq!(key.verify(b"x", &signature).unwrap_err().kind(), ErrorKind::Untrusted);
        assert_eq!(key.verify(b"", &signature[1..]).unwrap_err().kind(), ErrorKind::Untrusted);
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_shown() {
        let broken = file(&PRIVATE.replace("MC4C", "XXXX"));
        let error = Signer::read(broken.path()).unwrap_err();
        assert!(
            error.to_string().contains("is no private ed25519 key") && !error.to_string().contains("XXXX"),
            "{error}"
        );
        assert!(Key::read(file(PRIVATE).path()).is_err() && Signer::read(file(PUBLIC).path()).is_err());
        assert!(Key::read(Path::new("/absent")).unwrap_err().to_string().contains("is not there"));
        let signer = format!("{:?}", Signer::read(file(PRIVATE).path()).unwrap());
        assert_eq!(signer, "Signer(***)");
    }
}
