//! What settings are called in messages: by their own names, or as the command line calls them that the user wrote.
//!
//! Code names a setting as its table does: `git.ref`, `touch_file`, and in backticks where the name alone is an
//! ordinary word, such as `timeout`. Who started dagsync by other names, as in the place of git-sync, is told those.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

type Names = HashMap<&'static str, String>;

static NAMES: OnceLock<Names> = OnceLock::new();

/// From now on, messages of this process call these settings by these names. The first call counts.
pub fn call_settings(names: impl IntoIterator<Item = (&'static str, String)>) {
    let _ = NAMES.set(names.into_iter().collect());
}

/// `text` with the names of settings that the user knows. Must not hold what the user named himself, such as paths.
pub fn worded(text: &str) -> Cow<'_, str> {
    NAMES.get().map_or(Cow::Borrowed(text), |names| replace(text, names).into())
}

fn replace(text: &str, names: &Names) -> String {
    // A path or URL is one word, whatever part of it looks like a setting.
    let is_inside = |c: char| c.is_alphanumeric() || "._-/:@".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_inside(c)).unwrap_or(rest.len()));
        let (mark, after) = after.split_at(after.chars().next().map_or(0, char::len_utf8));
        let name = word.trim_end_matches(['.', ':']);
        let is_marked = out.ends_with('`') && mark == "`";
        match names.get(name).filter(|_| is_marked || name.contains(['.', '_'])) {
            Some(called) if is_marked => {
                out.pop();
                out.push_str(called);
            }
            Some(called) => out.extend([called, &word[name.len()..], mark]),
            None => out.extend([word, mark]),
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_settings_are_replaced() {
        let names = [("git.ref", "--ref"), ("touch_file", "--touch-file"), ("timeout", "--sync-timeout")];
        let names: Names = names.into_iter().map(|(name, called)| (name, called.to_owned())).collect();
        for (text, expected) in [
            ("check git.ref", "check --ref"),
            ("git.ref, git.ref; (git.ref) \"git.ref\"", "--ref, --ref; (--ref) \"--ref\""),
            ("check git.ref.", "check --ref."),
            ("git.ref: \"x\" from flag", "--ref: \"x\" from flag"),
            ("touch_file is not touched", "--touch-file is not touched"),
            ("raise `timeout`", "raise --sync-timeout"),
            ("set `git.ref` to x", "set --ref to x"),
            ("the timeout is over", "the timeout is over"),
            ("`ssh-keyscan timeout`", "`ssh-keyscan timeout`"),
            ("/srv/git.ref https://git.ref/x git.refs a.git.ref", "/srv/git.ref https://git.ref/x git.refs a.git.ref"),
            ("größer als git.ref…", "größer als --ref…"),
            ("", ""),
        ] {
            assert_eq!(replace(text, &names), expected);
        }
    }

    #[test]
    fn without_other_names_nothing_changes() {
        assert!(matches!(worded("check git.ref"), Cow::Borrowed("check git.ref")));
    }
}
