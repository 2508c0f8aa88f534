//! Logging to standard error: text for people, one JSON object a line for machines.

use std::io::IsTerminal;

use dagsync_core::{Error, ErrorKind, Result};
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::LogFormat;

/// How lines look and which are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// `info`, or per module: `info,dagsync_strategy_git=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Whether text is coloured.
    pub color: bool,
}

/// Starts logging for the whole process; a second call changes nothing.
///
/// # Errors
/// [`ErrorKind::Config`] when the level cannot be read.
pub fn start(logging: &Logging) -> Result<()> {
    let _ = subscriber(logging, error_stream)?.try_init();
    Ok(())
}

/// Called for every event. A progress line may stand on a terminal: it makes room and is drawn again below.
#[cfg(not(test))]
fn error_stream() -> std::io::Stderr {
    use std::io::Write;
    let mut stream = std::io::stderr();
    if stream.is_terminal() {
        let _ = stream.write_all(b"\r\x1b[2K");
    }
    stream
}

/// In a test, lines are shown when it fails.
#[cfg(test)]
fn error_stream() -> fmt::TestWriter {
    fmt::TestWriter::new()
}

/// Libraries that say more than anybody can read: of one request some fifty lines, at `trace` with keys in them.
const FOREIGN: &[&str] = &["aws_", "h2", "hyper", "reqwest", "rustls"];

/// Libraries are quiet unless they are named, and say nothing at `trace` even then.
fn quieten(chosen: &Targets) -> Targets {
    let usual = chosen.default_level().unwrap_or(LevelFilter::OFF).min(LevelFilter::INFO);
    let mut targets = chosen.clone();
    for library in FOREIGN {
        let wider =
            chosen.iter().filter(|(target, _)| library.starts_with(target)).max_by_key(|(target, _)| target.len());
        targets = targets.with_target(*library, wider.map_or(usual, |(_, level)| level.min(LevelFilter::DEBUG)));
        let narrower = chosen.iter().filter(|(target, _)| target.starts_with(library));
        targets = targets.with_targets(narrower.map(|(target, level)| (target, level.min(LevelFilter::DEBUG))));
    }
    targets
}

fn subscriber<W>(logging: &Logging, writer: W) -> Result<impl Subscriber + Send + Sync + 'static>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let targets: Targets = logging.level.parse().map_err(|e| {
        Error::new(ErrorKind::Config, "start logging", format!("log.level {:?} cannot be read", logging.level))
            .with_source(e)
            .with_hint("write error, warn, info, debug or trace, also per module: info,dagsync_strategy_git=debug")
    })?;
    let targets = quieten(&targets);
    let json = match logging.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    // A closed standard error must not end in a panic or an endless complaint about itself.
    let layer = fmt::layer().with_writer(writer).log_internal_errors(false);
    let layer = if json {
        layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        layer.with_ansi(logging.color).with_target(false).boxed()
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(targets)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat) -> String {
        written(level, format, || {
            tracing::info!(version = "sha256:ab", files = 3, "published");
            tracing::debug!("detail");
        })
    }

    fn written(level: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let logging = Logging { level: level.to_owned(), format, color: false };
        let subscriber = subscriber(&logging, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_one_flat_object_a_line() {
        let text = logged("info", LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"published".into()));
        assert_eq!((&line["version"], &line["files"]), (&"sha256:ab".into(), &3.into()));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn libraries_are_quiet_unless_named_and_never_say_everything() {
        for (level, heard) in [
            ("info", "W"),
            ("error", ""),
            ("debug", "W"),
            ("trace", "W"),
            ("aws_=trace", "WD"),
            ("info,aws=trace", "WD"),
            ("warn,aws_sdk=off,aws_sdk::client=trace", "WD"),
            ("trace,aws_sdk=off", ""),
            ("trace,aws_config=off", "W"),
        ] {
            let text = written(level, LogFormat::Text, || {
                tracing::warn!(target: "aws_sdk::client", "W");
                tracing::debug!(target: "aws_sdk::client", "D");
                tracing::trace!(target: "aws_sdk::client", "T");
            });
            let words: String = text.split_whitespace().filter(|word| word.len() == 1).collect();
            assert_eq!(words, heard, "{level}: {text}");
        }
    }

    #[test]
    fn the_level_is_per_module() {
        assert!(logged("info", LogFormat::Text).contains("INFO published version=\"sha256:ab\" files=3"));
        assert!(logged("warn,dagsync=debug", LogFormat::Text).contains("detail"));
        assert_eq!(logged("debug,dagsync=off", LogFormat::Text), "");
        let logging = Logging { level: "a=b=c".to_owned(), format: LogFormat::Text, color: false };
        assert!(start(&logging).unwrap_err().to_string().contains("a=b=c"));
    }
}
