//! The arguments as plain structs: parsing them has no effect.

mod drift;

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, Parser, Subcommand, ValueEnum};
use dagsync_core::{Registry, Version};

use super::answer::Style;
use crate::config::{Flag, LogFormat};
pub(crate) use drift::DriftArgs;

const EXIT_STATUS: &str = "\
Exit status:
  0   fine
  1   drift or mismatch
  2   failed
  3   no drift seen, but some pods could not be asked
  64  usage or configuration
  130 interrupted";

const EXAMPLES: &str = "\
Examples:
  dagsync run --source https://github.com/team/dags.git --root /dags
  dagsync status
  dagsync hash /dags/current
  dagsync diff /dags http://10.0.0.7:8466";

const RUN_EXAMPLES: &str = "\
Examples:
  dagsync run --source https://github.com/team/dags.git --ref main --root /dags
  dagsync run --config /etc/dagsync.yaml --period 30s --set keep.age=2h
  DAGSYNC_SOURCE=ssh://git@host/dags.git dagsync run

Airflow's dags_folder is ROOT/LINK, by default /dags/current, never ROOT itself.
`dagsync config` lists every setting, its value and where it came from.";

/// Keeps the DAG folder of every Airflow pod on one and the same version, and proves it.
///
/// A version is the SHA-256 of the sorted `sha256sum` lines of all files: equal for equal DAGs, whatever source and
/// strategy brought them, and checkable with coreutils alone.
#[derive(Debug, Parser)]
#[command(name = "dagsync", version, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten, next_help_heading = "Global options")]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Configuration file, TOML or YAML by its extension [env: DAGSYNC_CONFIG]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// error, warn, info, debug or trace, also per module: info,dagsync_strategy_git=debug
    #[arg(long, value_name = "LEVEL", global = true)]
    pub(crate) log_level: Option<String>,
    /// How log lines look; auto is text on a terminal and JSON elsewhere
    #[arg(long, value_name = "FORMAT", global = true, value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// When to use colour; auto is on a terminal unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", global = true, value_enum, default_value = "auto")]
    pub(crate) color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Global {
    /// Whether to use colour on a stream.
    pub(crate) fn style(&self, stream: Stream) -> Style {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        Style(match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let terminal = match stream {
                    Stream::Out => std::io::stdout().is_terminal(),
                    Stream::Err => std::io::stderr().is_terminal(),
                };
                terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
            }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[value(alias = "table")]
    Text,
    /// For machines
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keep a folder on the source's version: the sidecar
    ///
    /// Syncs at every period, checks what is published, and serves probes, metrics and status over HTTP. SIGHUP syncs
    /// now; SIGTERM ends cleanly with exit status 0.
    Run(Box<SyncArgs>),
    /// Sync once, then exit: the init container
    ///
    /// Tries again after errors that may pass, until `timeout` is over. Prints the version that is published.
    Once(Box<OnceArgs>),
    /// Be git-sync: its flags, its variables, its tree; for pods that were made for it
    ///
    /// Also when the program is called git-sync, and without arguments where GITSYNC_* is set. `dagsync git-sync --help`
    /// lists the flags.
    #[command(name = crate::gitsync::NAME)]
    GitSync {
        /// git-sync's own flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// Show what a daemon or a store is on
    ///
    /// Exit status 1 means that a daemon answered, and that it is stale or tampered, or starting with an error; of a
    /// store only what is published is shown, and 2 means that nothing is.
    Status(StatusArgs),
    /// Print the version of a folder
    ///
    /// The same by hand, with coreutils and findutils alone:
    ///
    ///   find -L . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum -- | sha256sum
    ///
    /// which is right where the folder holds nothing that is always left out:
    /// .git, __pycache__/, *.pyc, *.pyo, .dagsync/, .nfs*, lost+found/.
    #[command(verbatim_doc_comment)]
    Hash(HashArgs),
    /// List the files that differ between two trees
    ///
    /// Each side is a folder, a store, a manifest file or a daemon's URL. A folder is read; for the others their
    /// manifest is taken as it is (`dagsync verify` reads a store's files).
    Diff(DiffArgs),
    /// Read every file of a tree and compare it with its seal, a manifest or a version
    ///
    /// A store's current version is compared with its own manifest, a sealed folder with its seal. What it should be
    /// besides may be said by --expect, by another daemon or by the label of an image in a registry.
    Verify(Box<VerifyArgs>),
    /// Write down what a folder is, when the image that holds it is built
    ///
    /// Writes DIR/.dagsync/manifest and DIR/.dagsync/seal.json, the same bytes for the same tree, and prints the version,
    /// which the image's label io.dagsync.version should have.
    #[cfg(feature = "image")]
    Seal(SealArgs),
    /// Upload a folder as a version to S3 and make it current; or list, choose and remove versions
    ///
    /// What readers see changes in one step, when the pointer moves. Prints the version. Exit status 1 means that another
    /// publisher moved the pointer meanwhile: both versions are there, theirs is current.
    #[cfg(feature = "s3")]
    Publish(PublishArgs),
    /// Ask the whole fleet whether every pod is on one version
    ///
    /// Exit status 0 means that every pod is where it should be, or on its way there within the grace period; 1 that
    /// one is not, or that its files were touched; 3 that nothing of that was seen, but some pods could not be asked, do
    /// not run dagsync, or count other files. With --watch it runs until it is stopped.
    Drift(Box<DriftArgs>),
    /// Show every setting, its value and where it came from; secrets are hidden
    Config(ConfigArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct SyncArgs {
    /// Where DAGs come from
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// The strategy; by default the source implies it
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,
    /// The store's folder
    #[arg(long, value_name = "DIR")]
    root: Option<String>,
    /// The link in the store that Airflow reads
    #[arg(long, value_name = "NAME")]
    link: Option<String>,
    /// Time between two syncs, such as 30s
    #[arg(long, value_name = "DURATION")]
    period: Option<String>,
    /// The longest that one sync may take
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Where the HTTP listener listens; empty: nowhere
    #[arg(long, value_name = "ADDRESS:PORT")]
    http_bind: Option<String>,
    /// Exit after so many failures in a row; negative: never
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    max_failures: Option<String>,
    /// Branch, tag or commit to follow (git.ref)
    #[arg(long = "ref", value_name = "REF")]
    git_ref: Option<String>,
    /// The only folder of the repository that is brought (git.subpath)
    #[arg(long, value_name = "PATH")]
    subpath: Option<String>,
    #[command(flatten)]
    globs: Globs,
    /// Publish an empty tree over one that is not
    #[arg(long)]
    allow_empty: bool,
    /// Any other setting; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OnceArgs {
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Globs {
    /// Glob of files that belong to the tree; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,
    /// Glob of files and folders that do not; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,
}

impl Globs {
    /// The flags that stand for settings.
    fn flags(&self) -> impl Iterator<Item = Flag> {
        let given = [("--include", "include", &self.include), ("--exclude", "exclude", &self.exclude)];
        let given = given.into_iter().filter(|(_, _, globs)| !globs.is_empty());
        given.map(|(name, setting, globs)| flag(name, setting, globs.clone()))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// A daemon's URL or a store's folder; by default the daemon on this host
    #[arg(value_name = "URL|ROOT")]
    pub(crate) target: Option<String>,
    /// The store's link; by default the one that the store was written with last
    #[arg(long, value_name = "PATH")]
    pub(crate) link: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HashArgs {
    /// The folder
    pub(crate) dir: PathBuf,
    /// Print the manifest instead, for `sha256sum -c`
    #[arg(long)]
    pub(crate) manifest: bool,
    #[command(flatten)]
    pub(crate) globs: Globs,
    /// Remember stats in this file (outside DIR), so that an unchanged file is not read the next time
    #[arg(long, value_name = "FILE")]
    pub(crate) index: Option<PathBuf>,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// A folder, a store, a manifest file or a daemon's URL
    pub(crate) a: String,
    /// The same
    pub(crate) b: String,
    #[command(flatten)]
    pub(crate) globs: Globs,
    /// The link of a store; by default the one that it was written with last
    #[arg(long, value_name = "PATH")]
    pub(crate) link: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A folder or a store
    pub(crate) dir: PathBuf,
    /// The version that it should have
    #[arg(long, value_name = "VERSION", group = "wanted")]
    pub(crate) expect: Option<Version>,
    /// The manifest that it should match
    #[arg(long, value_name = "FILE", group = "wanted")]
    #[cfg_attr(feature = "image", arg(conflicts_with = "key"))]
    pub(crate) manifest: Option<PathBuf>,
    #[cfg(feature = "image")]
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    #[command(flatten)]
    pub(crate) globs: Globs,
    /// The link of a store; by default the one that it was written with last
    #[arg(long, value_name = "PATH")]
    pub(crate) link: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// What is known of an image, and who says what it should hold.
#[cfg(feature = "image")]
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// The URL of a daemon that has the version that it should have
    #[arg(long, value_name = "URL", group = "wanted")]
    pub(crate) expect_from: Option<String>,
    /// The image in a registry whose label io.dagsync.version it should have, by tag or digest
    #[arg(long, value_name = "IMAGE", group = "wanted")]
    pub(crate) expect_image: Option<String>,
    /// The public key in PEM with which the seal must be signed
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// What drift does: exit with status 1, or only say so
    #[arg(long, value_name = "WHAT", value_enum, default_value = "fail")]
    pub(crate) on_drift: OnDrift,
    /// The registry's credentials: a Docker config.json, or a mounted Secret of type kubernetes.io/dockerconfigjson
    #[arg(long, value_name = "FILE")]
    pub(crate) docker_config: Option<PathBuf>,
    /// Certificate authorities to trust besides the system's, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Speak plain HTTP with the registry
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Of an image for several platforms, which, such as linux/arm64; by default this host's
    #[arg(long, value_name = "PLATFORM", default_value = "")]
    pub(crate) platform: String,
}

#[cfg(feature = "image")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnDrift {
    Fail,
    Warn,
}

#[cfg(feature = "image")]
#[derive(Debug, clap::Args)]
pub(crate) struct SealArgs {
    /// The folder
    pub(crate) dir: PathBuf,
    /// What the source calls it, such as a commit id
    #[arg(long, value_name = "TEXT")]
    pub(crate) revision: Option<String>,
    /// An ed25519 key in PEM to sign the seal with
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) globs: Globs,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[cfg(feature = "s3")]
#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    /// The folder, and where to publish it; without a folder with --version, --list and --prune
    #[arg(value_name = "[DIR] s3://BUCKET/PREFIX", num_args = 1..=2, required = true)]
    pub(crate) places: Vec<String>,
    /// Make this version current, which was published before
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["list", "prune"])]
    pub(crate) version: Option<Version>,
    /// List what was published, the newest first
    #[arg(long, conflicts_with = "prune")]
    pub(crate) list: bool,
    /// Remove old versions, and what no version names
    #[arg(long)]
    pub(crate) prune: bool,
    /// With --prune: the newest versions that stay, the current one included
    #[arg(long, value_name = "N", default_value_t = 10, requires = "prune", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: u32,
    /// With --prune: what is younger stays, also what no version names, for it may be on its way
    #[arg(long, value_name = "DURATION", default_value = "7d", requires = "prune", value_parser = humantime::parse_duration)]
    pub(crate) keep_age: std::time::Duration,
    /// What to say where the folder comes from, such as a commit id
    #[arg(long, value_name = "TEXT")]
    pub(crate) revision: Option<String>,
    /// Say what would be done and do nothing
    #[arg(long, conflicts_with = "list")]
    pub(crate) dry_run: bool,
    /// The bucket's region (s3.region)
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// The URL of an S3 server other than Amazon's (s3.endpoint)
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint_url: Option<String>,
    /// The profile of the AWS configuration (s3.profile)
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    #[command(flatten)]
    pub(crate) globs: Globs,
    /// Any other setting; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_set)]
    pub(crate) set: Vec<(String, String)>,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[cfg(feature = "s3")]
impl PublishArgs {
    /// The flags that stand for settings; `source` is where to publish.
    pub(crate) fn flags(&self, source: &str) -> Vec<Flag> {
        let mut flags: Vec<_> = self.set.iter().map(|(name, value)| flag("--set", name, value.as_str())).collect();
        flags.push(flag("s3://…", "source", source));
        flags.push(flag("publish", "strategy", "s3"));
        for (name, setting, value) in [
            ("--region", "s3.region", &self.region),
            ("--endpoint-url", "s3.endpoint", &self.endpoint_url),
            ("--profile", "s3.profile", &self.profile),
        ] {
            flags.extend(value.as_ref().map(|value| flag(name, setting, value.as_str())));
        }
        flags.extend(self.globs.flags());
        flags
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    /// How the answer looks
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
    /// Print the table of all settings for the README
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    pub(crate) markdown: bool,
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as keep.age=2h".to_owned()),
    }
}

impl SyncArgs {
    /// The flags that were given, as settings.
    pub(crate) fn flags(&self, global: &Global) -> Vec<Flag> {
        let mut flags: Vec<_> =
            self.set.iter().map(|(name, value)| flag(&format!("--set {name}"), name, value.as_str())).collect();
        let format = global.log_format.and_then(|f| f.to_possible_value()).map(|v| v.get_name().to_owned());
        let allow_empty = self.allow_empty.then(|| "true".to_owned());
        for (name, setting, value) in [
            ("--source", "source", &self.source),
            ("--strategy", "strategy", &self.strategy),
            ("--root", "root", &self.root),
            ("--link", "link", &self.link),
            ("--period", "period", &self.period),
            ("--timeout", "timeout", &self.timeout),
            ("--http-bind", "http.bind", &self.http_bind),
            ("--max-failures", "max_failures", &self.max_failures),
            ("--ref", "git.ref", &self.git_ref),
            ("--subpath", "git.subpath", &self.subpath),
            ("--allow-empty", "allow_empty", &allow_empty),
            ("--log-level", "log.level", &global.log_level),
            ("--log-format", "log.format", &format),
        ] {
            flags.extend(value.as_ref().map(|value| flag(name, setting, value.as_str())));
        }
        flags.extend(self.globs.flags());
        flags
    }
}

fn flag(flag: &str, name: &str, value: impl Into<::config::ValueKind>) -> Flag {
    Flag { origin: format!("flag {flag}"), name: name.to_owned(), value: value.into(), is_private: false }
}

/// The command with what only the registry knows: the strategies that are compiled in.
pub(crate) fn command(registry: &Registry) -> clap::Command {
    let list: Vec<_> = registry.factories().iter().map(|f| format!("  {:8} {}", f.name, f.about)).collect();
    let strategies = format!("Strategies compiled in:\n{}", list.join("\n"));
    let sync = format!("{strategies}\n\n{RUN_EXAMPLES}\n\n{EXIT_STATUS}");
    let mut command = Args::command().after_help(format!("{strategies}\n\n{EXAMPLES}\n\n{EXIT_STATUS}"));
    for (name, examples) in super::examples::ALL {
        command = command.mut_subcommand(*name, |c| c.after_help(format!("{examples}\n\n{EXIT_STATUS}")));
    }
    ["run", "once"]
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |c| c.after_help(sync.clone())))
}
