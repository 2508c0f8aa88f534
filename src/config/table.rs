//! Every setting that this build knows: the engine's and those of each strategy.

use dagsync_core::{Kind, Registry, Setting};

/// How alike two names must be for one to be suggested, 0 to 1.
const ALIKE: f64 = 0.55;

/// The settings of the engine, then those of the strategies in their order.
#[derive(Debug, Clone)]
pub struct Table {
    settings: Vec<&'static Setting>,
    strategies: Vec<&'static str>,
}

impl Table {
    /// The settings of the engine and of every strategy in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let own = registry.factories().iter().flat_map(|f| f.settings);
        let settings = crate::settings::SETTINGS.iter().chain(own).collect();
        Self { settings, strategies: registry.factories().iter().map(|f| f.name).collect() }
    }

    /// All settings.
    pub fn iter(&self) -> impl Iterator<Item = &'static Setting> + '_ {
        self.settings.iter().copied()
    }

    /// The setting called `name`.
    pub fn get(&self, name: &str) -> Option<&'static Setting> {
        self.iter().find(|s| s.name == name)
    }

    /// The setting that the environment variable `var` sets.
    pub fn by_env(&self, var: &str) -> Option<&'static Setting> {
        self.iter().find(|s| s.env() == var)
    }

    /// What to do about a `name` that is no setting.
    pub fn advice(&self, name: &str, written: impl Fn(&Setting) -> String) -> String {
        if let Some(setting) = self.nearest(name) {
            return format!("did you mean {}?", written(setting));
        }
        match name.split_once('.') {
            Some((section, _)) if !self.has_section(section) => {
                let compiled = self.strategies.join(", ");
                format!("there is no section {section:?}; strategies compiled in: {compiled}")
            }
            _ => "`dagsync config` lists every setting".to_owned(),
        }
    }

    /// Whether some setting's name starts with `section` and a dot.
    pub fn has_section(&self, section: &str) -> bool {
        self.iter().any(|s| s.name.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The setting whose name is most like `name`; one that differs only by its section counts as alike.
    fn nearest(&self, name: &str) -> Option<&'static Setting> {
        let name = name.to_lowercase().replace('-', "_");
        let alike = |s: &Setting| {
            let whole = strsim::normalized_damerau_levenshtein(s.name, &name);
            let last = s.name.rsplit('.').next() == name.rsplit('.').next();
            if last && !name.contains('.') { whole.max(ALIKE) } else { whole }
        };
        let best = self.iter().map(|s| (alike(s), s)).max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 >= ALIKE).then_some(best.1)
    }

    /// The table of the README: what each setting is called, takes, and does.
    pub fn markdown(&self) -> String {
        let mut out = String::from("| setting | type | default | environment | meaning |\n|---|---|---|---|---|\n");
        for s in self.iter() {
            let default = if s.default.is_empty() { String::new() } else { format!("`{}`", s.default) };
            let (kind, about) = (kind_name(s.kind), s.about.replace('|', "\\|"));
            out.push_str(&format!("| `{}` | {kind} | {default} | `{}` | {about} |\n", s.name, s.env()));
        }
        out
    }
}

/// The name of a kind in tables.
pub(super) fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Float => "number".to_owned(),
        Kind::Duration => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Secret => "secret".to_owned(),
        Kind::Choice(words) => words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" or "),
        _ => "value".to_owned(),
    }
}
