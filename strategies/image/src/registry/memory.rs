//! What is kept of a registry between two questions.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use super::Image;

/// The longest that a registry is left alone because it says so.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What a registry said last, and until when it wants to be left alone.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    image: Option<Image>,
    until: Option<Instant>,
}

impl Memory {
    /// How long the registry still wants to be left alone.
    pub fn paused(&self) -> Option<Duration> {
        let left = self.lock().until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn image(&self) -> Option<Image> {
        self.lock().image.clone()
    }

    pub(super) fn keep(&self, image: Image) {
        self.lock().image = Some(image);
    }

    /// Leaves the registry alone for as long as it says with 429 and 503, within bounds.
    pub(super) fn pause(&self, response: &Response) {
        let is_asked_to = matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let said = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        if let Some(pause) = said.filter(|_| is_asked_to).and_then(pause) {
            self.lock().until = Some(Instant::now() + pause.min(PAUSE_MAX));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn pause(said: &str) -> Option<Duration> {
    let seconds = said.trim().parse().map(Duration::from_secs).ok();
    seconds.or_else(|| httpdate::parse_http_date(said).ok()?.duration_since(SystemTime::now()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_read_as_seconds_and_as_a_date() {
        assert_eq!(pause("120"), Some(Duration::from_secs(120)));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!((90..=100).contains(&pause(&soon).unwrap().as_secs()));
        for odd in ["", "-1", "soon", "99999999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(pause(odd), None, "{odd}");
        }
    }
}
