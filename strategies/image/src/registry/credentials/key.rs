//! The keys of `auths`, as Docker writes them and Kubernetes reads them: `host`, `host/path`, `*.host`, and of old
//! `https://host/v1/`.

use super::Reference;

/// Which images an entry is for.
pub(super) struct Key<'a> {
    host: &'a str,
    path: &'a str,
}

impl<'a> Key<'a> {
    pub(super) fn of(key: &'a str) -> Self {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = key.split_once('/').unwrap_or((key, ""));
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            host => host,
        };
        let path = path.trim_end_matches('/');
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        Self { host, path: if matches!(first, "v1" | "v2") { rest } else { path } }
    }

    /// Whether its host is the image's registry, and its path the image's repository or a folder above it.
    pub(super) fn is_for(&self, image: &Reference) -> bool {
        let below = image.repository().strip_prefix(self.path);
        let is_below = self.path.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        is_below && is_host(self.host, image.registry())
    }

    /// The greatest is the one that says most.
    pub(super) fn rank(&self) -> (usize, bool) {
        (self.path.len(), !self.host.contains('*'))
    }
}

/// A `*` stands for anything within one part of a name, and for no port.
fn is_host(glob: &str, host: &str) -> bool {
    let (glob, host) = (glob.to_ascii_lowercase(), host.to_ascii_lowercase());
    let ((glob, glob_port), (host, port)) = (split(&glob), split(&host));
    let (globs, parts) = (glob.split('.'), host.split('.'));
    glob_port == port && globs.clone().count() == parts.clone().count() && globs.zip(parts).all(|(g, p)| is_match(g, p))
}

fn split(host: &str) -> (&str, &str) {
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    host.rsplit_once(':').filter(|(_, port)| is_port(port)).unwrap_or((host, ""))
}

fn is_match(glob: &str, part: &str) -> bool {
    let Some((start, rest)) = glob.split_once('*') else { return glob == part };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inner = part.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    inner.is_some_and(|inner| {
        let left = middle.split('*').try_fold(inner, |left, piece| Some(left.split_once(piece)?.1));
        left.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Kubernetes' documentation of images, and more.
    #[test]
    fn keys_are_matched_as_kubernetes_does() {
        for (key, image, is_for) in [
            ("*.kubernetes.io", "abc.kubernetes.io/x", true),
            ("*.kubernetes.io", "kubernetes.io/x", false),
            ("*.kubernetes.io", "a.b.kubernetes.io/x", false),
            ("*.*.kubernetes.io", "abc.def.kubernetes.io/x", true),
            ("prefix.*.io", "prefix.kubernetes.io/x", true),
            ("*-good.kubernetes.io", "prefix-good.kubernetes.io/x", true),
            ("*-good.kubernetes.io", "prefix-bad.kubernetes.io/x", false),
            ("a*b*c.io", "a1b2c.io/x", true),
            ("a*b*c.io", "ac.io/x", false),
            ("*", "h.io/x", false),
            ("h.io", "h.io:443/x", false),
            ("h.*", "h.io:443/x", false),
            ("*.io:443", "h.io:443/x", true),
            ("H.io", "h.io/x", true),
            ("[::1]:5000", "[::1]:5000/x", true),
            ("my.io/images", "my.io/images", true),
            ("my.io/images/", "my.io/images/x", true),
            ("my.io/images", "my.io/images2/x", false),
            ("https://h.io/v2/", "h.io/x", true),
            ("https://h.io/v1/team", "h.io/team/x", true),
            ("https://index.docker.io/v1/", "airflow", true),
            ("docker.io/library", "airflow", true),
            ("docker.io/library", "apache/airflow", false),
        ] {
            assert_eq!(Key::of(key).is_for(&image.parse().unwrap()), is_for, "{key} for {image}");
        }
    }
}
