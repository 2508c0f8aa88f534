//! From what somebody wrote to a value of the setting's kind, and back to what is shown.

use bytesize::ByteSize;
use config::{Value, ValueKind};
use dagsync_core::Kind;
use serde_json::Value as Json;

/// Reads text (environment, flag, default) as `kind`; `None` when it is none.
pub(super) fn from_text(kind: Kind, text: &str) -> Option<ValueKind> {
    match kind {
        Kind::Bool => text.to_ascii_lowercase().parse().ok().map(ValueKind::Boolean),
        Kind::Integer => text.parse().ok().map(ValueKind::I64),
        Kind::Float => text.parse().ok().filter(|f: &f64| f.is_finite()).map(ValueKind::Float),
        Kind::Duration => humantime::parse_duration(text).ok().map(|_| text.into()),
        Kind::Size => text.parse::<ByteSize>().ok().map(|_| text.into()),
        Kind::Choice(words) => words.contains(&text).then(|| text.into()),
        Kind::List => Some(split_list(text).into()),
        _ => Some(text.into()),
    }
}

/// Reads a value from a file as `kind`. Numbers are no text: YAML would make `1.10` of a branch into `1.1`.
pub(super) fn from_file(kind: Kind, value: &ValueKind) -> Option<ValueKind> {
    match (kind, value) {
        (Kind::List, ValueKind::Array(items)) => items.iter().map(text_of).collect::<Option<Vec<_>>>().map(Into::into),
        (Kind::List, _) => None,
        (Kind::Bool, ValueKind::Boolean(_)) | (Kind::Integer, ValueKind::I64(_)) => Some(value.clone()),
        (Kind::Float, ValueKind::I64(n)) => Some(ValueKind::Float(*n as f64)),
        (Kind::Float, ValueKind::Float(f)) if f.is_finite() => Some(value.clone()),
        (Kind::Size, ValueKind::I64(n)) => from_text(kind, &n.to_string()),
        (_, ValueKind::String(text)) => from_text(kind, text),
        _ => None,
    }
}

fn text_of(item: &Value) -> Option<String> {
    match &item.kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// Splits at commas, but not inside the braces of a glob such as `*.{md,txt}`.
fn split_list(text: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let parts = text.split(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

/// A setting's default; nothing where the table has none and the kind has no empty value.
pub(super) fn from_default(kind: Kind, text: &str) -> Option<ValueKind> {
    from_text(kind, text).or(text.is_empty().then_some(ValueKind::Nil))
}

/// What a value must look like, for an error.
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer => "a whole number".to_owned(),
        Kind::Float => "a number".to_owned(),
        Kind::Duration => "a duration such as 30s".to_owned(),
        Kind::Size => "a size such as 512MiB".to_owned(),
        Kind::List => "a list of texts such as [\"a\", \"b\"]".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        _ => "a text; put it in quotes".to_owned(),
    }
}

/// The value as JSON.
pub(super) fn to_json(value: &ValueKind) -> Json {
    match value {
        ValueKind::Boolean(b) => (*b).into(),
        ValueKind::I64(n) => (*n).into(),
        ValueKind::Float(f) => (*f).into(),
        ValueKind::String(text) => text.as_str().into(),
        ValueKind::Array(items) => items.iter().map(|i| to_json(&i.kind)).collect(),
        _ => Json::Null,
    }
}
