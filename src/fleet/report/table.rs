//! A report for people, who may have been woken by it: first what is wrong, then each version with who is on it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use dagsync_core::{Change, ChangeKind, printable};

use super::{Finding, Group, Report, State, Verdict, revision};
use crate::fleet::reference::By;

/// Pods of one version and state that are listed.
const PODS: usize = 12;
/// Files of one version or pod that are listed.
const FILES: usize = 10;

/// Below the name of a pod.
const INDENT: &str = "                ";

/// How parts of the text are marked, such as by colours.
pub trait Paint {
    /// Something is wrong.
    fn bad(&self, text: &str) -> String;
    /// Nobody can say, or not yet.
    fn odd(&self, text: &str) -> String;
    /// All is well.
    fn good(&self, text: &str) -> String;
    /// To be seen first.
    fn strong(&self, text: &str) -> String;
}

/// The report.
pub fn text(report: &Report, paint: &impl Paint) -> String {
    let mut out = String::new();
    let headline = report.headline();
    let headline = match report.finding() {
        Finding::Drift => paint.bad(&headline),
        Finding::Incomplete => paint.odd(&headline),
        Finding::Fine => paint.good(&headline),
    };
    let _ = writeln!(out, "{}", paint.strong(&headline));
    let _ = writeln!(out, "{}\n", reference(report));
    for group in &report.groups {
        version(&mut out, report, group, paint);
    }
    let nowhere: Vec<_> = report.pods.iter().filter(|pod| pod.version.is_none()).collect();
    if !nowhere.is_empty() {
        let _ = writeln!(out, "{}  {}", paint.strong("no version  "), pods(nowhere.len()));
        listed(&mut out, report, &nowhere, paint);
    }
    out
}

/// Where everybody should be, and who says so.
pub(super) fn reference(report: &Report) -> String {
    let standard = &report.standard;
    let leaders: Vec<_> =
        report.pods.iter().filter(|pod| pod.leads).take(PODS).map(|pod| printable(&pod.name)).collect();
    let by = match standard.by {
        By::Leader => format!("the leader {}", leaders.join(", ")),
        By::Head => "the newest of the source".to_owned(),
        By::Majority => "most pods".to_owned(),
        By::Version => "the version that was asked for".to_owned(),
    };
    let note = standard.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
    let grace = humantime::format_duration(report.grace);
    match standard.candidates.as_slice() {
        [] => format!("reference: none, for no pod has a version{note}"),
        [one] => {
            let revision = one.revision.as_deref().map(|r| format!(", {}", revision(r))).unwrap_or_default();
            format!("reference: {}{revision}, by {by}{note}; grace {grace}", one.version.short())
        }
        many => {
            let versions: Vec<_> = many.iter().take(PODS).map(|candidate| candidate.version.short()).collect();
            format!("reference: {}, by {by}{note}; grace {grace}", versions.join(" or "))
        }
    }
}

fn version(out: &mut String, report: &Report, group: &Group, paint: &impl Paint) {
    let on_it: Vec<_> = report.pods.iter().filter(|pod| pod.version == Some(group.version)).collect();
    let differs = match &group.differs {
        None if group.is_reference => "the reference".to_owned(),
        None => String::new(),
        Some(Ok(differs)) if differs.count == 1 => "1 file differs".to_owned(),
        Some(Ok(differs)) => format!("{} files differ", differs.count),
        Some(Err(why)) => printable(why),
    };
    let (short, of) = (paint.strong(&group.version.short()), pods(on_it.len()));
    let _ = writeln!(out, "{short}  {of:8}  {differs}");
    listed(out, report, &on_it, paint);
    // Of a tampered pod they stand beside it.
    let are_told = on_it.iter().all(|pod| pod.state == State::Tampered && !pod.tampered.is_empty());
    if let Some(Ok(differs)) = group.differs.as_ref().filter(|_| !are_told) {
        files(out, &differs.files, differs.count, paint);
        if let Some(command) = diff(report, group).filter(|_| differs.count > FILES) {
            let _ = writeln!(out, "      all of them: {command}");
        }
    }
    out.push('\n');
}

/// The pods of one version by how they stand, what is worst first.
fn listed(out: &mut String, report: &Report, on_it: &[&Verdict], paint: &impl Paint) {
    for state in State::ALL {
        let these: Vec<_> = on_it.iter().copied().filter(|pod| pod.state == state).collect();
        let word = painted(state, &format!("{:12}", state.as_str()), paint);
        match state {
            _ if these.is_empty() => {}
            State::InSync => in_sync(out, &these, &word),
            _ => elsewhere(out, report, these, &word, paint),
        }
    }
}

/// All in one line; below it those that have an error all the same.
fn in_sync(out: &mut String, pods: &[&Verdict], word: &str) {
    let more = pods.len().saturating_sub(PODS);
    let rest = (more > 0).then(|| format!("and {more} more"));
    let names = pods.iter().take(PODS).map(|pod| printable(&pod.name)).chain(rest);
    let _ = writeln!(out, "  {word}  {}", names.collect::<Vec<_>>().join(", "));
    let ailing = pods.iter().filter_map(|pod| Some((pod, pod.cause.as_deref()?)));
    for (pod, cause) in ailing.take(PODS) {
        let _ = writeln!(out, "{INDENT}{}: {}", printable(&pod.name), printable(cause));
    }
}

/// Each in its own line; a cause that several have stands once, below them.
fn elsewhere(out: &mut String, report: &Report, mut pods: Vec<&Verdict>, word: &str, paint: &impl Paint) {
    pods.sort_by_key(|pod| &pod.cause);
    let shown = &pods[..pods.len().min(PODS)];
    for (n, pod) in shown.iter().enumerate() {
        self::pod(out, report, pod, word, paint);
        let is_last = shown.get(n + 1).is_none_or(|next| next.cause != pod.cause);
        if let Some(cause) = pod.cause.as_deref().filter(|_| is_last) {
            let _ = writeln!(out, "{INDENT}{}", printable(cause));
        }
    }
    if pods.len() > PODS {
        let _ = writeln!(out, "  {word}  and {} more", pods.len() - PODS);
    }
}

fn pod(out: &mut String, report: &Report, pod: &Verdict, word: &str, paint: &impl Paint) {
    let since = pod.since.map(|since| format!("for {}", age(report.at, since)));
    let place = [&pod.component, &pod.node].into_iter().flatten().map(printable);
    let remedy = pod.remedy.as_ref().map(|remedy| match remedy {
        Ok(()) => "asked to sync now".to_owned(),
        Err(why) => format!("could not be asked to sync: {}", printable(why)),
    });
    let known = since.into_iter().chain(place).chain(remedy).collect::<Vec<_>>().join(", ");
    let name = paint.strong(&printable(&pod.name));
    let _ = writeln!(out, "  {word}  {name}{}{known}", if known.is_empty() { "" } else { "  " });
    if pod.state == State::Tampered {
        files(out, &pod.tampered, pod.tampered.len(), paint);
    }
}

fn files(out: &mut String, files: &[Change], count: usize, paint: &impl Paint) {
    for Change { path, change } in files.iter().take(FILES) {
        let line = format!("{change:8}  {}", printable(path.as_str()));
        let line = match change {
            ChangeKind::Added => paint.good(&line),
            ChangeKind::Removed => paint.bad(&line),
            ChangeKind::Modified => paint.odd(&line),
        };
        let _ = writeln!(out, "      {line}");
    }
    if count > FILES {
        let _ = writeln!(out, "      and {} more", count - FILES);
    }
}

/// The command that lists every file that differs.
fn diff(report: &Report, group: &Group) -> Option<String> {
    let reference = report.standard.candidates.first()?.version;
    let on = |version| {
        let pod = report.pods.iter().find(|pod| pod.version == Some(version))?;
        pod.url.as_deref().map(printable)
    };
    Some(format!("dagsync diff {} {}", on(reference)?, on(group.version)?))
}

fn painted(state: State, text: &str, paint: &impl Paint) -> String {
    match state {
        _ if state.is_drift() => paint.bad(text),
        State::InSync => paint.good(text),
        State::Terminating => text.to_owned(),
        _ => paint.odd(text),
    }
}

fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

/// How long ago, in its two largest units.
pub(super) fn age(now: SystemTime, since: SystemTime) -> String {
    let seconds = now.duration_since(since).unwrap_or_default().as_secs();
    let unit = if seconds >= 86_400 {
        3_600
    } else if seconds >= 3_600 {
        60
    } else {
        1
    };
    humantime::format_duration(Duration::from_secs(seconds / unit * unit)).to_string()
}
