//! The publisher: uploads a version and moves the pointer, so that whoever reads sees the old version or the new one.
//!
//! Order is everything: packs and blobs first, then the manifest, then the record, the pointer last and by
//! compare-and-swap. A publisher that is killed leaves things that nothing names, which `--prune` finds.

mod catalog;
mod plan;
mod pointer;
mod probe;
mod upload;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use dagsync_core::{Digest, Error, ErrorKind, HashedTree, Interrupt, Limits, Progress, Result, Spec, Tally, Version};

use crate::location::Location;
use crate::record::{MAX_RECORD, Record};
use crate::requests::{Bucket, Requests};
use crate::settings::{ConditionalWrites, Settings};
use pointer::Pointer;

pub use catalog::{Keep, Release, Swept};

/// Publishes to one prefix of a bucket.
pub struct Publisher {
    requests: Requests,
    limits: Limits,
    progress: Progress,
    allow_empty: bool,
}

/// A tree on this host that was hashed.
#[derive(Debug)]
pub struct Local {
    /// Its folder.
    pub folder: PathBuf,
    /// What is in it.
    pub tree: HashedTree,
    /// What to say where it comes from, such as a commit.
    pub revision: Option<String>,
}

/// What a publish did, or would do.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// The version that was published.
    pub version: Version,
    /// What was current before.
    pub previous: Option<Version>,
    /// Whether the pointer moved.
    pub published: bool,
    /// Files of the version.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were written, the pointer and the record aside.
    pub uploaded_objects: u64,
    /// Bytes of those.
    pub uploaded_bytes: u64,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("to", self.requests.location()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher to `spec.source` with the settings of the section `s3`, which refuses an empty tree. Asks nothing yet.
    pub fn new(spec: &Spec<'_>, limits: Limits, interrupt: Interrupt, progress: Progress) -> Result<Self> {
        let settings = Settings::of(spec)?;
        if settings.at.is_some() || settings.version.is_some() {
            let message = "s3.at and s3.version say what to read, and not what to publish";
            return Err(Error::new(ErrorKind::Config, "read settings", message));
        }
        let bucket = Bucket::new(Location::parse(spec.source)?, settings);
        let requests = Requests::with(Arc::new(bucket), interrupt, Tally::default());
        Ok(Self { requests, limits, progress, allow_empty: false })
    }

    /// Whether a tree without any file may be published.
    #[must_use]
    pub fn allow_empty(self, allow_empty: bool) -> Self {
        Self { allow_empty, ..self }
    }

    /// Uploads what is missing of `local` and makes it current. With `dry_run` nothing is written.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] when somebody else moved the pointer meanwhile: both versions are there, theirs is
    /// current. [`ErrorKind::Changed`] when the folder changed since it was hashed.
    pub async fn publish(&self, local: Local, dry_run: bool) -> Result<Outcome> {
        let version = local.tree.manifest.version();
        self.check(&local)?;
        let pointer = Pointer::read(&self.requests).await?;
        self.refuse_foreign(&pointer).await?;
        let previous = pointer.version();
        let (files, bytes) = (local.tree.manifest.len() as u64, local.tree.bytes);
        let base =
            Outcome { version, previous, published: false, files, bytes, uploaded_objects: 0, uploaded_bytes: 0 };
        match self.whole(&version).await? {
            Some(_) if previous == Some(version) => return Ok(base),
            Some(mut record) => {
                record.revision = local.revision.clone().or(record.revision);
                return self.point(pointer, record, base, dry_run).await;
            }
            // What somebody took away of it is uploaded again, also when it is current.
            None => {}
        }
        let plan = self.plan(&local, pointer.record.as_ref()).await?;
        let (uploaded_objects, uploaded_bytes) = plan.uploads();
        let outcome = Outcome { uploaded_objects, uploaded_bytes, ..base };
        if dry_run {
            return Ok(outcome);
        }
        let dialect = self.dialect().await?;
        self.upload(&local, &plan).await?;
        let record = plan.record(&local, rfc3339(SystemTime::now()));
        self.make_current(pointer, &record, dialect).await?;
        Ok(Outcome { published: true, ..outcome })
    }

    /// Makes a version current that was published before: a rollback, or a roll forward.
    pub async fn select(&self, version: &Version, dry_run: bool) -> Result<Outcome> {
        let pointer = Pointer::read(&self.requests).await?;
        let record = self.whole(version).await?.ok_or_else(|| {
            let message = format!("{} has no whole version {version}", self.requests.location());
            Error::new(ErrorKind::NotFound, "publish", message)
                .with_hint("`dagsync publish --list` shows what there is; publish its folder again")
        })?;
        let (files, bytes, previous) = (record.files, record.bytes, pointer.version());
        let base = Outcome {
            version: *version,
            previous,
            published: false,
            files,
            bytes,
            uploaded_objects: 0,
            uploaded_bytes: 0,
        };
        if previous == Some(*version) {
            return Ok(base);
        }
        self.point(pointer, record, base, dry_run).await
    }

    /// Moves the pointer to a version that is there.
    async fn point(&self, pointer: Pointer, record: Record, base: Outcome, dry_run: bool) -> Result<Outcome> {
        if dry_run {
            return Ok(base);
        }
        let dialect = self.dialect().await?;
        self.make_current(pointer, &record, dialect).await?;
        Ok(Outcome { published: true, ..base })
    }

    /// Writes the record, anew where it is there, so that a prune that goes on at the same time sees that it is in use; then
    /// moves the pointer.
    async fn make_current(&self, pointer: Pointer, record: &Record, dialect: probe::Dialect) -> Result<()> {
        let bytes = record.to_bytes().len() as u64;
        if bytes > MAX_RECORD {
            let message = format!("its record has {bytes} bytes, and may have {MAX_RECORD}");
            return Err(Error::new(ErrorKind::LimitExceeded, "publish", message).with_hint("raise s3.pack_below"));
        }
        self.put_record(record).await?;
        pointer.move_to(&self.requests, record, dialect).await?;
        if self.whole(&record.version).await?.is_some() {
            return Ok(());
        }
        let message = format!("parts of {} were removed while it became current", record.version);
        Err(Error::new(ErrorKind::Changed, "publish", message)
            .with_hint("publish its folder again, and prune at another time"))
    }

    async fn dialect(&self) -> Result<probe::Dialect> {
        let settings = &self.requests.bucket.settings;
        probe::probe(&self.requests, settings.conditional_writes == ConditionalWrites::Required).await
    }

    /// What no reader could publish is not uploaded.
    fn check(&self, local: &Local) -> Result<()> {
        let manifest = &local.tree.manifest;
        if manifest.is_empty() && !self.allow_empty {
            let message = format!("{} holds no file", local.folder.display());
            return Err(Error::new(ErrorKind::Refused, "publish", message)
                .with_hint("check the folder and the globs; set allow_empty to publish an empty tree"));
        }
        let sizes: HashMap<Digest, u64> = manifest
            .entries()
            .iter()
            .filter_map(|entry| Some((entry.digest, local.tree.index.get(entry.path.as_str())?.0.size)))
            .collect();
        let mut bytes = 0;
        for entry in manifest.entries() {
            let size = sizes.get(&entry.digest).copied().unwrap_or_default();
            bytes += size;
            self.limits.check_path(&entry.path)?;
            self.limits.check_file(&entry.path, size)?;
        }
        self.limits.check_total(manifest.len() as u64, bytes)
    }

    /// A folder that DAGs were copied into is in use by somebody; mixed with ours, its readers would see strange files.
    async fn refuse_foreign(&self, pointer: &Pointer) -> Result<()> {
        if pointer.record.is_some() {
            return Ok(());
        }
        match catalog::foreign(&self.requests).await? {
            None => Ok(()),
            Some(key) => {
                let message = format!("{} holds other objects, such as {key}", self.requests.location());
                Err(Error::new(ErrorKind::Refused, "publish", message)
                    .with_hint("publish to a prefix of its own; who reads this one would take its objects for DAGs"))
            }
        }
    }
}

pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
