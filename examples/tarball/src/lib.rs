//! A strategy from outside the dagsync repository: a tar file as the source.
//!
//! Read it as a pattern; the README beside it says what each part owes.

mod plan;

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dagsync_core::tree::hash_stream;
use dagsync_core::{
    Error, ErrorKind, Factory, Filter, Interrupt, Result, Revision, Spec, Staging, Strategy, SyncContext, Tree,
    async_trait, fs,
};

use plan::{Content, Planned};

/// What a registry needs to know about this strategy. Its `source` is `tar:/path/to/dags.tar`.
pub const TAR: Factory = Factory {
    name: "tar",
    about: "a local, uncompressed tar file",
    settings: &[],
    infers: |source| source.starts_with(SCHEME),
    build: |spec| Ok(Arc::new(TarStrategy::new(spec)?)),
};

const SCHEME: &str = "tar:";

/// Reads one tar file.
#[derive(Debug, Clone)]
pub struct TarStrategy {
    path: PathBuf,
}

impl TarStrategy {
    /// Checks the source and opens nothing: a file that comes later is as good.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is no absolute path.
    pub fn new(spec: &Spec<'_>) -> Result<Self> {
        let path = Path::new(spec.source.strip_prefix(SCHEME).unwrap_or(spec.source));
        if path.is_absolute() {
            return Ok(Self { path: path.to_owned() });
        }
        Err(Error::new(ErrorKind::Config, "read source", format!("{:?} is not an absolute path", spec.source))
            .with_hint("write it as tar:/path/to/dags.tar"))
    }

    fn open(&self, operation: &'static str) -> Result<File> {
        fs::open(&self.path)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, operation, format!("{} does not exist", self.path.display()))
                .with_hint("check the path and that its volume is mounted")
        })
    }

    /// A stat would be cheaper, but equal revisions must mean equal content, and a stat does not prove that.
    fn revision(&self, file: &mut File, interrupt: &Interrupt) -> Result<Revision> {
        let shown = |e: Error| e.with_context("file", self.path.display());
        file.rewind().map_err(|e| Error::io("rewind", &self.path, e))?;
        let (digest, _) = hash_stream(file, &mut vec![0; 128 * 1024], interrupt).map_err(shown)?;
        Ok(Revision::new(format!("sha256:{digest}")))
    }

    fn expect(&self, file: &mut File, revision: &Revision, interrupt: &Interrupt) -> Result<()> {
        let found = self.revision(file, interrupt)?;
        if found == *revision {
            return Ok(());
        }
        let message = format!("{} is no longer the file that was resolved", self.path.display());
        Err(Error::new(ErrorKind::Changed, "materialize", message).with_context("wanted", revision))
    }

    fn stage(&self, revision: &Revision, filter: &Filter, staging: &Staging, interrupt: &Interrupt) -> Result<()> {
        let mut file = self.open("materialize")?;
        self.expect(&mut file, revision, interrupt)?;
        for (path, planned) in plan::read(&mut file, filter, interrupt).map_err(|e| self.named(e))? {
            interrupt.check("materialize")?;
            match planned {
                Planned::Link(target) => staging.link(&path, &target)?,
                Planned::File { content, executable } => {
                    if !staging.reuse(&path, executable, &content.digest)? {
                        staging.write(&path, executable, &mut Section { file: &file, content })?;
                    }
                }
            }
        }
        // Somebody may have written into the file meanwhile, instead of replacing it: nothing of that is published.
        self.expect(&mut file, revision, interrupt)
    }

    fn named(&self, error: Error) -> Error {
        error.with_context("file", self.path.display())
    }
}

impl fmt::Display for TarStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", dagsync_core::printable(&self.path))
    }
}

#[async_trait]
impl Strategy for TarStrategy {
    async fn resolve(&self, cx: &SyncContext) -> Result<Revision> {
        let this = self.clone();
        cx.blocking("resolve", move |interrupt| this.revision(&mut this.open("resolve")?, interrupt)).await
    }

    async fn materialize(&self, cx: &SyncContext, revision: &Revision, staging: &Staging) -> Result<Tree> {
        let (this, revision, filter, staging) = (self.clone(), revision.clone(), cx.filter.clone(), staging.clone());
        cx.blocking("materialize", move |interrupt| this.stage(&revision, &filter, &staging, interrupt)).await?;
        Ok(Tree::Staged)
    }
}

/// The bytes of one member, read where they lie in the tar file.
struct Section<'a> {
    file: &'a File,
    content: Content,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.content.bytes).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buffer[..most], self.content.offset)?;
        self.content.offset += n as u64;
        self.content.bytes -= n as u64;
        Ok(n)
    }
}
