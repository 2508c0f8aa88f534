//! `.gitmodules`: which repository a folder of the tree stands for.

use std::collections::HashMap;

/// The submodules that a `.gitmodules` file names: path to URL.
#[derive(Debug, Default)]
pub(crate) struct Submodules(HashMap<String, String>);

impl Submodules {
    /// Reads the file as git reads its configuration files; lines that mean nothing here are skipped.
    pub(crate) fn parse(text: &str) -> Self {
        let mut modules: Vec<(Option<String>, Option<String>)> = Vec::new();
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line.strip_prefix("[submodule").is_some_and(|rest| rest.starts_with([' ', '\t']));
                modules.extend(inside.then_some((None, None)));
                continue;
            }
            let (Some(module), Some((key, value))) = (modules.last_mut().filter(|_| inside), line.split_once('='))
            else {
                continue;
            };
            match key.trim().to_ascii_lowercase().as_str() {
                "path" => module.0 = Some(unquote(value)),
                "url" => module.1 = Some(unquote(value)),
                _ => {}
            }
        }
        let named =
            |(path, url): (Option<String>, Option<String>)| Some((path?.trim_end_matches('/').to_owned(), url?));
        Self(modules.into_iter().filter_map(named).collect())
    }

    /// The URL of the submodule at `path`, as it was written.
    pub(crate) fn url(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

/// A value of a git configuration file: quotes keep spaces and comment signs, a backslash keeps the next character.
fn unquote(value: &str) -> String {
    let (mut text, mut kept) = (String::new(), 0);
    let mut quoted = false;
    let mut characters = value.trim().chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => quoted = !quoted,
            '#' | ';' if !quoted => break,
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
        if quoted || !c.is_whitespace() {
            kept = text.len();
        }
    }
    text.truncate(kept);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read_as_git_reads_them() {
        let modules = Submodules::parse(
            "# comment\n[core]\n\tpath = no\n\turl = no\n[submodule \"a\"]\n\tpath = libs/a\n\turl = ../a.git # there\n\
             \tbranch = main\n[submodule \"b b\"]\n  URL = \"https://h/b;1.git\"\n  path = \"with space/b\"\n\
             [submodule \"c\"]\n\tpath = c\n[submodulex]\npath = d\nurl = d\n",
        );
        assert_eq!(modules.url("libs/a"), Some("../a.git"));
        assert_eq!(modules.url("with space/b"), Some("https://h/b;1.git"));
        for none in ["no", "c", "d", "libs"] {
            assert_eq!(modules.url(none), None, "{none}");
        }
    }
}
