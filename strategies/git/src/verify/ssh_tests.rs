use std::time::Duration;

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOdXotue4TnTfeKyRTvR9Au7OlKxnID7WG6cPHd3S7qP";

fn line(text: &str) -> Result<Signer, String> {
    Signer::parse(text)
}

#[test]
fn lines_are_read_as_ssh_keygen_reads_them() {
    let signers = AllowedSigners::parse(
        format!("# people\n\n  ada@example.com,*@ops.example.com {KEY} Ada's key \n\"Ada L\" namespaces=\"git,file\",valid-after=\"20240102Z\",VALID-BEFORE=20240102030405 {KEY}\n")
            .as_bytes(),
    )
    .unwrap();
    let [first, second] = &signers.0[..] else { panic!("{signers:?}") };
    assert_eq!((first.principals.as_str(), &first.namespaces), ("ada@example.com,*@ops.example.com", &None));
    assert_eq!((second.principals.as_str(), second.namespaces.as_deref()), ("Ada L", Some("git,file")));
    let seconds = |time: Option<SystemTime>| time.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!((seconds(second.valid_after), seconds(second.valid_before)), (1_704_153_600, 1_704_164_645));
    assert_eq!(first.key, second.key);
}

#[test]
fn a_line_that_is_not_understood_is_an_error_that_names_it() {
    for (bad, says) in [
        ("ada@example.com", "public key"),
        ("ada@example.com ssh-ed25519 AAAA", "public key"),
        (&*format!("a valid-until=20240101 {KEY}"), "valid-until"),
        (&*format!("a valid-after=yesterday {KEY}"), "YYYYMMDD"),
        (&*format!("a valid-after=20241301 {KEY}"), "YYYYMMDD"),
        (&*format!("a cert-authority {KEY}"), "certificates are not supported"),
        (&*format!("a cert-authority,namespaces=\"git\" {KEY}"), "certificates are not supported"),
    ] {
        let error = AllowedSigners::parse(format!("x {KEY}\n{bad}\n").as_bytes()).unwrap_err();
        assert!(error.contains("line 2") && error.contains(says), "{bad}: {error}");
    }
    for empty in ["", "\n# nobody\n"] {
        assert_eq!(AllowedSigners::parse(empty.as_bytes()).unwrap_err(), "the file names no key");
    }
}

#[test]
fn a_signer_is_bound_to_namespaces_and_times() {
    let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let noon = 1_704_153_600;
    let after = line(&format!("a valid-after=20240102Z {KEY}")).unwrap();
    assert!(after.allows(at(noon)).is_ok() && after.allows(at(noon - 1)).is_err() && after.allows(None).is_err());
    let before = line(&format!("a valid-before=20240102Z {KEY}")).unwrap();
    assert!(before.allows(at(noon)).is_ok() && before.allows(at(noon + 1)).is_err());
    for (list, allowed) in
        [("git", true), ("g*", true), ("file,git", true), ("file", false), ("*,!git", false), ("", false)]
    {
        assert_eq!(line(&format!("a namespaces=\"{list}\" {KEY}")).unwrap().allows(at(0)).is_ok(), allowed, "{list}");
    }
}

#[test]
fn patterns_match_as_in_ssh_config() {
    for (pattern, yes) in
        [("git", true), ("g?t", true), ("*", true), ("*t*", true), ("gi", false), ("gitx", false), ("?", false)]
    {
        assert_eq!(matches(b"git", pattern.as_bytes()), yes, "{pattern}");
    }
}

/// A signature with the namespace `git` over `PAYLOAD`, made with openssl; ssh-keygen accepts all but the one with SHA-1.
/// Its lines are 64 characters long, as some tools write them, not 70.
macro_rules! vector {
    ($key:literal, $signature:literal) => {
        (
            include_str!(concat!("vectors/", $key, ".pub")),
            include_bytes!(concat!("vectors/", $signature, ".sig")).as_slice(),
        )
    };
}

const PAYLOAD: &[u8] = b"tree 1\n\nmessage\n";

fn check(vector: (&str, &[u8]), payload: &[u8]) -> Result<String, Refusal> {
    let signers = AllowedSigners::parse(format!("ada@example.com {}", vector.0).as_bytes()).unwrap();
    signers.check(&Signed { payload: payload.to_vec(), signature: None, time: None }, vector.1)
}

#[test]
fn keys_on_security_tokens_sign_too() {
    for vector in [vector!("sk-ed25519", "sk-ed25519"), vector!("sk-ecdsa", "sk-ecdsa"), vector!("rsa", "rsa-sha256")] {
        assert!(check(vector, PAYLOAD).unwrap().starts_with("ada@example.com SHA256:"));
        assert!(check(vector, b"tree 2\n\nmessage\n").unwrap_err().message.contains("does not match"));
    }
}

#[test]
fn a_signature_with_sha1_is_refused() {
    let refusal = check(vector!("rsa", "rsa-sha1"), PAYLOAD).unwrap_err();
    assert!(refusal.message.contains("SHA-1"), "{refusal:?}");
}
