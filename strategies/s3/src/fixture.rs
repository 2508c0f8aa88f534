//! Settings for unit tests.

use crate::settings::{Settings, TABLE};
use dagsync_core::Kind;

/// The section with its defaults, completed by `changes`.
pub(crate) fn settings(changes: &[(&str, &str)]) -> Settings {
    let value = |setting: &dagsync_core::Setting| {
        let name = setting.name.trim_start_matches("s3.");
        let text = changes.iter().find(|(n, _)| *n == name).map_or(setting.default, |(_, value)| *value);
        let value = match setting.kind {
            Kind::Integer => text.parse::<u64>().unwrap().into(),
            Kind::Bool => text.parse::<bool>().unwrap().into(),
            _ => serde_json::Value::from(text),
        };
        (name.to_owned(), value)
    };
    serde_json::from_value(TABLE.iter().map(value).collect()).unwrap()
}
