//! OpenPGP signatures, checked against a keyring as gpg does for git: the key has to be good when it signed and now.

use std::time::SystemTime;

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag};

use super::Refusal;
use super::object::Signed;

const BEGIN_KEY: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// The keys that may sign.
#[derive(Debug)]
pub(super) struct Keyring(Vec<SignedPublicKey>);

impl Keyring {
    /// Reads keys as `gpg --export` writes them, armored or not, one after another.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        // The first byte of a binary export is no text.
        let parsed: Result<Vec<_>, _> = match std::str::from_utf8(content) {
            Ok(text) => {
                let blocks =
                    text.match_indices(BEGIN_KEY).map(|(at, _)| SignedPublicKey::from_string_many(&text[at..]));
                blocks.map(|block| block.and_then(|(keys, _)| keys.collect::<Result<Vec<_>, _>>())).collect()
            }
            Err(_) => SignedPublicKey::from_bytes_many(content).and_then(|keys| keys.collect()).map(|keys| vec![keys]),
        };
        let keys = parsed.map_err(|e| format!("it is no export of public keys: {e}"))?.concat();
        if keys.is_empty() {
            return Err("the file holds no public key; `gpg --export --armor` writes one".to_owned());
        }
        Ok(Self(keys.into_iter().fold(Vec::new(), merge)))
    }

    /// The name and the fingerprint of who signed.
    pub(super) fn check(&self, signed: &Signed, signature: &[u8], now: SystemTime) -> Result<String, Refusal> {
        let signature = decode(signature)?;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let named = self.0.iter().find_map(|key| Some((key, part_named(key, &signature)?)));
        let Some((key, subkey)) = named else {
            return Err(Refusal::of(issuer(&signature), "its signer is not in git.keyring_file"));
        };
        let id = subkey.map_or_else(|| key.fingerprint(), |subkey| subkey.key.fingerprint());
        let who = match key.details.users.first() {
            Some(user) => format!("{} {id:X}", String::from_utf8_lossy(user.id.id()).escape_default()),
            None => format!("{id:X}"),
        };
        let refuse = |message: String| Refusal::of(&who, message);
        let made = made(&signature, now).map_err(|message| refuse(message.to_owned()))?;
        let matches = match subkey {
            Some(subkey) => signature.verify(&subkey.key, &signed.payload[..]),
            None => signature.verify(&key.primary_key, &signed.payload[..]),
        };
        matches.map_err(|e| refuse(format!("the signature does not match its content ({e})")))?;
        let may_sign = is_good(key, subkey, &[made, now]);
        may_sign.map_err(|message| refuse(format!("its signer's key {message}"))).map(|()| who.clone())
    }
}

/// Adds a key, or what is new of it: an older copy beside it must not hide that it was revoked.
fn merge(mut keys: Vec<SignedPublicKey>, new: SignedPublicKey) -> Vec<SignedPublicKey> {
    let Some(known) = keys.iter_mut().find(|key| key.primary_key == new.primary_key) else {
        keys.push(new);
        return keys;
    };
    known.details.revocation_signatures.extend(new.details.revocation_signatures);
    known.details.direct_signatures.extend(new.details.direct_signatures);
    for user in new.details.users {
        match known.details.users.iter_mut().find(|same| same.id == user.id) {
            Some(same) => same.signatures.extend(user.signatures),
            None => known.details.users.push(user),
        }
    }
    for subkey in new.public_subkeys {
        match known.public_subkeys.iter_mut().find(|same| same.key == subkey.key) {
            Some(same) => same.signatures.extend(subkey.signatures),
            None => known.public_subkeys.push(subkey),
        }
    }
    keys
}

/// The signature, if there is one and it says what git's signatures say.
fn decode(signature: &[u8]) -> Result<Signature, Refusal> {
    let other = |_| Refusal::new("it is not signed by OpenPGP, which git.verify = gpg asks for, or cannot be read");
    let (signatures, _) = DetachedSignature::from_armor_many_buf(signature).map_err(other)?;
    let signatures = signatures.collect::<Result<Vec<_>, _>>().map_err(other)?;
    match <[_; 1]>::try_from(signatures) {
        Ok([only]) => Ok(only.signature),
        Err(_) => Err(Refusal::new("it has not exactly one signature")),
    }
}

/// Who claims to have made it.
fn issuer(signature: &Signature) -> String {
    let by_fingerprint = signature.issuer_fingerprint().first().map(|id| format!("{id:X}"));
    let by_id = || signature.issuer_key_id().first().map(ToString::to_string);
    by_fingerprint.or_else(by_id).unwrap_or_else(|| "nobody".to_owned())
}

/// Whether the signature names a part of `key`: the primary key (`Some(None)`) or a subkey.
fn part_named<'a>(key: &'a SignedPublicKey, signature: &Signature) -> Option<Option<&'a SignedPublicSubKey>> {
    let is_named = |part: &dyn KeyDetails| {
        let (exact, short) = (signature.issuer_fingerprint(), signature.issuer_key_id());
        match exact.is_empty() {
            true => short.iter().any(|id| **id == part.legacy_key_id()),
            false => exact.iter().any(|id| **id == part.fingerprint()),
        }
    };
    if is_named(&key.primary_key) {
        return Some(None);
    }
    key.public_subkeys.iter().find(|subkey| is_named(&subkey.key)).map(Some)
}

/// When it was made, in seconds since 1970.
fn made(signature: &Signature, now: u64) -> Result<u64, &'static str> {
    if signature.typ() != Some(SignatureType::Binary) {
        return Err("its signature is not one over bytes, which git makes");
    }
    if is_weak(signature) {
        return Err("its signature uses SHA-1 or another hash that can be forged");
    }
    let hashed = signature.config().into_iter().flat_map(|config| config.hashed_subpackets());
    let is_unknown = |data: &SubpacketData| {
        matches!(data, SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_))
    };
    if hashed.into_iter().any(|part| part.is_critical && is_unknown(&part.data)) {
        return Err("its signature has a critical part that is not understood");
    }
    let made = signature.created().map(|time| u64::from(time.as_secs())).ok_or("its signature has no time")?;
    if is_over(signature.signature_expiration_time(), made, now) {
        return Err("its signature has expired");
    }
    Ok(made)
}

fn is_weak(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    !matches!(signature.hash_alg(), Some(Sha224 | Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512))
}

fn is_over(lasts: Option<pgp::types::Duration>, from: u64, at: u64) -> bool {
    lasts.map(|lasts| u64::from(lasts.as_secs())).is_some_and(|lasts| lasts > 0 && at >= from + lasts)
}

/// Whether the key, or its subkey, may sign and is valid at all of `times`.
fn is_good(key: &SignedPublicKey, subkey: Option<&SignedPublicSubKey>, times: &[u64]) -> Result<(), &'static str> {
    // Not checked: who puts a false one into the keyring only takes trust away, and a third party may revoke too.
    if !key.details.revocation_signatures.is_empty() {
        return Err("is revoked");
    }
    let own = newest(self_signatures(key)).ok_or("has no signature of its own that holds")?;
    is_valid(&key.primary_key, own, times)?;
    let Some(subkey) = subkey else {
        return if own.key_flags().sign() { Ok(()) } else { Err("may not sign") };
    };
    if subkey.signatures.iter().any(|s| s.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err("is revoked");
    }
    let bindings = subkey.signatures.iter().filter(|s| s.verify_subkey_binding(&key.primary_key, &subkey.key).is_ok());
    let binding = newest(bindings).ok_or("does not belong to the key that it came with")?;
    is_valid(&subkey.key, binding, times)?;
    if !binding.key_flags().sign() {
        return Err("may not sign");
    }
    // Else anybody could claim another's key, and with it what that one signed.
    let back = binding.embedded_signature().filter(|back| !is_weak(back));
    match back.map(|back| back.verify_primary_key_binding(&subkey.key, &key.primary_key)) {
        Some(Ok(())) => Ok(()),
        _ => Err("does not say itself that it belongs to the key that it came with"),
    }
}

/// What the key says of itself: signatures of the primary key over itself and over its names.
fn self_signatures(key: &SignedPublicKey) -> impl Iterator<Item = &Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter().filter(move |s| s.verify_key(primary).is_ok());
    let named = key.details.users.iter().filter_map(move |user| {
        let own = |s: &&Signature| s.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        let newest = newest(user.signatures.iter().filter(own))?;
        (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
    });
    direct.chain(named)
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(|time| time.as_secs()))
}

/// Whether a part of a key is as old and as young as `own`, what is said of it, wants.
fn is_valid(part: &impl KeyDetails, own: &Signature, times: &[u64]) -> Result<(), &'static str> {
    if is_weak(own) {
        return Err("vouches for itself with SHA-1 or another hash that can be forged; its owner has to renew it");
    }
    let created = u64::from(part.created_at().as_secs());
    if times.iter().any(|&at| at < created) {
        return Err("is younger than the signature");
    }
    if times.iter().any(|&at| is_over(own.key_expiration_time(), created, at)) {
        return Err("has expired");
    }
    Ok(())
}
