//! The command line as git-sync's flag parser reads it: `--name=value`, `--name value`, `-v2`, words anywhere.

use std::ffi::OsString;

use super::Refusal;
use super::given::{Given, nearest};
use super::options::{self, Kind, Opt};

/// Reads the flags into `given`.
///
/// # Errors
/// A flag that does not exist, has no value, or a value of another form.
pub(super) fn read(given: &mut Given, args: &[OsString]) -> Result<(), Refusal> {
    let mut words = args.iter().map(|word| word.to_str().ok_or_else(not_text));
    let mut stray = 0;
    while let Some(word) = words.next().transpose()? {
        if word == "--" {
            stray += words.by_ref().count();
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let option = named(name)?;
            let value = match (value, option.kind) {
                (Some(value), _) => value,
                (None, Kind::Bool) => "true",
                (None, _) => words.next().transpose()?.ok_or_else(|| no_value(&option.written()))?,
            };
            given.flag(option, value)?;
        } else if let Some(short) = word.strip_prefix('-').filter(|short| !short.is_empty()) {
            self::short(given, short, &mut words)?;
        } else {
            stray += 1;
        }
    }
    if stray > 0 {
        let words = if stray == 1 { "1 word".to_owned() } else { format!("{stray} words") };
        given.warnings.push(format!("{words} on the command line belong to no flag and have no effect"));
    }
    Ok(())
}

/// Short flags may stand together, the last one with its value: `-v2`, `-v=2`, `-v 2`, `-hv2`.
fn short<'a>(
    given: &mut Given,
    letters: &'a str,
    words: &mut impl Iterator<Item = Result<&'a str, Refusal>>,
) -> Result<(), Refusal> {
    let mut rest = letters;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        let found = options::all().find(|o| o.short == Some(letter) || letter == '?' && o.short == Some('h'));
        let option = found.ok_or_else(|| Refusal::usage(format!("there is no flag -{letter}")))?;
        if let Some(value) = rest.strip_prefix('=') {
            return given.flag(option, value);
        }
        if option.kind == Kind::Bool {
            given.flag(option, "true")?;
        } else if rest.is_empty() {
            let value = words.next().transpose()?.ok_or_else(|| no_value(&format!("-{letter}")))?;
            return given.flag(option, value);
        } else {
            return given.flag(option, rest);
        }
    }
    Ok(())
}

fn named(name: &str) -> Result<&'static Opt, Refusal> {
    options::named(name).filter(|o| o.is_flag()).ok_or_else(|| {
        let advice = nearest(name, options::all().filter(|o| o.is_flag()).map(|o| o.name)).replace("mean ", "mean --");
        Refusal::usage(format!("there is no flag --{name}{advice}"))
    })
}

fn no_value(flag: &str) -> Refusal {
    Refusal::usage(format!("{flag} needs a value"))
}

fn not_text() -> Refusal {
    Refusal::usage("a word on the command line is not UTF-8".to_owned())
}
