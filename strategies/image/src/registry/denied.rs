//! What it means that a registry, or its token server, answers with another status than 200.

use dagsync_core::{Error, ErrorKind};
use reqwest::{Response, StatusCode};

use super::credentials::Found;
use super::{OPERATION, Session};

/// How a pod gets credentials.
const SECRET: &str = "mount the Secret of type kubernetes.io/dockerconfigjson and name its file in docker_config; it must \
                      hold credentials for this registry that may pull";

impl Session<'_> {
    /// When it says how long it wants to be left alone, it will be.
    pub(super) fn refused(&self, response: &Response) -> Error {
        let status = response.status();
        self.memory.pause(response);
        let error = |kind, message: &str| Error::new(kind, OPERATION, message).with_context("answer", status);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.denied(status),
            StatusCode::NOT_FOUND => {
                error(ErrorKind::NotFound, "there is no such image").with_hint("check its name and tag")
            }
            StatusCode::TOO_MANY_REQUESTS => error(ErrorKind::Unreachable, "it allows no more requests for now")
                .with_hint("ask less often, by expect_interval, or with credentials"),
            StatusCode::BAD_REQUEST if self.access.plain_http => {
                error(ErrorKind::Unreachable, "it does not answer plain HTTP")
                    .with_hint("if it speaks TLS, take plain_http away")
                    .permanent()
            }
            _ => {
                let error = error(ErrorKind::Unreachable, "it does not serve the image")
                    .with_hint("check that this is a registry and that it is well");
                if status.is_server_error() { error } else { error.permanent() }
            }
        }
    }

    fn denied(&self, status: StatusCode) -> Error {
        let message = match (&self.found.credentials, status) {
            (Some(_), StatusCode::UNAUTHORIZED) => "the credentials are refused",
            (Some(_), _) => "the credentials are refused: they may not pull this image",
            (None, StatusCode::UNAUTHORIZED) => "it asks for credentials",
            (None, _) => "it denies access without credentials",
        };
        let error = Error::new(ErrorKind::Unauthorized, OPERATION, message).with_context("answer", status);
        let hint = match &self.found {
            Found { credentials: None, helper: Some(helper), .. } => format!(
                "docker_config leaves them to the program docker-credential-{helper}, which is not run here; it must hold \
                 them itself, in auths, as a Secret of type kubernetes.io/dockerconfigjson does"
            ),
            Found { credentials: None, .. } if self.access.docker_config.is_some() => {
                format!("docker_config holds none for {}/{}", self.reference.registry(), self.reference.repository())
            }
            _ => SECRET.to_owned(),
        };
        match (&self.found.credentials, status) {
            (None, StatusCode::FORBIDDEN) => {
                error.with_hint(format!("{hint}; or see whether a proxy or a firewall keeps this host out"))
            }
            _ => error.with_hint(hint),
        }
    }
}
