//! The final stage of `deploy/image/Dockerfile`, built and run. What its build stage leaves is made by that stage's own
//! commands from the binary under test; the base is made of this host's libraries, so nothing is pulled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Buildah, Outcome, Repo, Sshd, run, shell, version_by_hand};

const IMAGE: &str = "localhost/dagsync";
const BASE: &str = "localhost/base";
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What the image adds to its base.
const FILES: [&str; 4] =
    ["usr/bin/dagsync", "usr/bin/git-sync", "usr/share/doc/dagsync/LICENSE", "usr/share/doc/dagsync/sbom.cdx.json"];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn dockerfile() -> String {
    std::fs::read_to_string(repository().join("deploy/image/Dockerfile")).unwrap()
}

/// The default of a build argument.
fn argument(name: &str) -> String {
    let start = format!("ARG {name}=");
    dockerfile().lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_else(|| panic!("no {start}")).to_owned()
}

/// The commands of the build stage from the one that starts so, as the shell gets them.
fn commands(from: &str, end: &str) -> String {
    let text = dockerfile();
    let start = text.find(from).unwrap_or_else(|| panic!("the Dockerfile has no {from:?}"));
    let length = text[start..].find(end).unwrap_or_else(|| panic!("nothing ends with {end:?}"));
    text[start..start + length].replace("\\\n", "\n")
}

/// What is sent to the builder: a copy of the repository as the ignore file leaves it.
fn sent() -> TempDir {
    let context = tempfile::tempdir().unwrap();
    let ignored = std::fs::read_to_string(repository().join("deploy/image/Dockerfile.dockerignore")).unwrap();
    for path in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        let script = format!("cp -R --parents {path} {}", context.path().display());
        shell(repository(), &script);
    }
    context
}

/// A host with the image.
fn built(args: &[&str]) -> Buildah {
    let host = Buildah::new();
    let at = tempfile::tempdir_in(host.path()).unwrap();
    let out = at.path().join("out");
    let script = format!(
        "mkdir -p base/tmp base/proc base/dev target/{TARGET}/release
         chmod 1777 base/tmp
         strip -o target/{TARGET}/release/dagsync {dagsync}
         ldd target/{TARGET}/release/dagsync | grep -o '/[^ ]*' | while read -r library; do
             mkdir -p base$(dirname $library)
             cp -L $library base$library
         done
         printf 'FROM scratch\nCOPY base /\n' > Base
         cp {repository}/LICENSE .
         echo '{{}}' > sbom.json
         target={TARGET}
         {install}",
        dagsync = env!("CARGO_BIN_EXE_dagsync"),
        repository = repository().display(),
        install = commands("install -D \"target", "\n\nFROM").replace("/out/", &format!("{}/", out.display())),
    );
    shell(at.path(), &script);
    host.build(at.path(), BASE, &["--file", at.path().join("Base").to_str().unwrap()]);
    // Where the Dockerfile looks for /out.
    std::fs::create_dir(at.path().join("stage")).unwrap();
    std::fs::rename(&out, at.path().join("stage/out")).unwrap();
    let stage = format!("build={}", at.path().join("stage").display());
    let file = repository().join("deploy/image/Dockerfile");
    let base = format!("BASE={BASE}");
    let own = ["--file", file.to_str().unwrap(), "--build-context", &stage, "--build-arg", &base];
    host.build(at.path(), IMAGE, &[&own, args].concat());
    host
}

/// The image's configuration, as the OCI specification has it.
fn config(host: &Buildah) -> Value {
    let inspected = run(&mut host.command(&["inspect", "--type", "image", IMAGE]));
    serde_json::from_str::<Value>(&inspected).unwrap()["OCIv1"]["config"].take()
}

/// Every path below a folder that is no folder itself.
fn files(root: &Path) -> BTreeSet<String> {
    shell(root, "find . ! -type d -printf '%P\\n'").lines().map(str::to_owned).collect()
}

/// A container: the image's root, read-only, its entrypoint as a user without any capability, and the volumes of a pod.
struct Container {
    root: PathBuf,
    entrypoint: String,
    volume: TempDir,
    user: String,
}

impl Container {
    fn new(host: &Buildah, user: &str, sshd: &Sshd) -> Self {
        let root = host.container(IMAGE, &[]);
        let volume = tempfile::tempdir().unwrap();
        let group = user.split_once(':').unwrap().1;
        // An emptyDir and a Secret in a pod whose fsGroup is the user's group.
        let script = format!(
            "mkdir -p dags secret
             cp {key} secret/ssh
             cp {hosts} secret/known_hosts
             chown root:{group} secret/* {volume}
             chmod 0440 secret/*
             chmod 2775 {volume}",
            key = sshd.key().display(),
            hosts = sshd.known_hosts(sshd.port).display(),
            volume = volume.path().display(),
        );
        shell(&root, &script);
        let entrypoint = config(host)["Entrypoint"].clone();
        let [program] = entrypoint.as_array().unwrap().as_slice() else { panic!("{entrypoint}") };
        Self { root, entrypoint: program.as_str().unwrap().to_owned(), volume, user: user.to_owned() }
    }

    /// `docker run --read-only --cap-drop=ALL IMAGE args`
    fn run(&self, env: &[(&str, &str)], args: &[&str]) -> Outcome {
        self.run_program(&self.entrypoint, env, args)
    }

    fn run_program(&self, program: &str, env: &[(&str, &str)], args: &[&str]) -> Outcome {
        // Read-only before the volumes come; all of it is gone with the process.
        let script = "set -eu; root=$1 volume=$2 user=$3; shift 3
             mount --bind $root $root; mount -t proc proc $root/proc; mount --bind $volume $root/dags
             mount -o remount,bind,ro $root
             exec setpriv --no-new-privs chroot --groups= --userspec=$user $root \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]);
        command.arg(&self.root).arg(self.volume.path()).args([&self.user, program]).args(args);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(env.iter().copied());
        Outcome::of(&mut command)
    }
}

#[test]
fn the_image_says_what_it_is_and_adds_four_files_to_its_base() {
    let revision = "3f786850e387550fdab836ed7e6dc881de23001b";
    let host = built(&["--build-arg", &format!("REVISION={revision}")]);
    let config = config(&host);
    assert_eq!(config["User"], "65533:65533");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/bin/dagsync"]));
    assert_eq!((&config["Cmd"], &config["StopSignal"]), (&Value::Null, &"SIGTERM".into()));
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap().to_owned();
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), env!("CARGO_PKG_LICENSE"));
    assert_eq!(label("source"), env!("CARGO_PKG_REPOSITORY"));
    assert_eq!(label("description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!((label("title"), label("revision")), ("dagsync".to_owned(), revision.to_owned()));
    assert_eq!(label("created"), "1970-01-01T00:00:00Z");

    let (root, base) = (host.container(IMAGE, &[]), host.container(BASE, &[]));
    let added: BTreeSet<_> = files(&root).difference(&files(&base)).cloned().collect();
    assert_eq!(added, FILES.map(str::to_owned).into());
    assert_eq!(std::fs::read_link(root.join("usr/bin/git-sync")).unwrap(), Path::new("dagsync"));
    assert_eq!(shell(&root, "stat -c '%a %u %g' usr/bin/dagsync"), "755 0 0", "its user cannot write to it");
}

#[test]
fn the_image_syncs_as_its_user_and_as_any_other_on_a_read_only_root() {
    let (host, sshd) = (built(&[]), Sshd::start());
    let repo = Repo::with(&[("dags/a.py", "a = 1\n")]);
    let version = version_by_hand(&repo.work().join("dags"));
    let url = sshd.url(&repo, sshd.port);
    let own = config(&host)["User"].as_str().unwrap().to_owned();
    // OpenShift gives each namespace users of its own, all of group 0.
    let other = format!("{}:0", fastrand::u32(100_000..2_000_000_000));
    for user in [own, other] {
        let pod = Container::new(&host, &user, &sshd);
        let named = env!("CARGO_PKG_VERSION");
        pod.run(&[], &["--version"]).ended(0, &["dagsync", named]);
        pod.run_program("/usr/bin/git-sync", &[], &["--version"]).ended(0, &[named]);
        pod.run_program("/bin/sh", &[], &["-c", "true"]).ended(127, &["No such file or directory"]);
        pod.run(&[], &["once", "--source", &url, "--root", "/new"]).ended(2, &["/new", "Read-only file system"]);
        let env = [
            ("DAGSYNC_GIT__SSH_KEY_FILE", "/secret/ssh"),
            ("DAGSYNC_GIT__KNOWN_HOSTS_FILE", "/secret/known_hosts"),
            ("DAGSYNC_GIT__SUBPATH", "dags"),
        ];
        pod.run(&env, &["once", "--source", &url, "--root", "/dags/store"]).ended(0, &[&version]);
        assert_eq!(version_by_hand(&pod.volume.path().join("store/current")), version);
        // The chart's init container: no argument, and what it asks for is written nowhere.
        let env = [
            ("GITSYNC_REPO", url.as_str()),
            ("GITSYNC_ROOT", "/dags/git"),
            ("GITSYNC_LINK", "repo"),
            ("GITSYNC_ONE_TIME", "true"),
            ("GITSYNC_ADD_USER", "true"),
            ("GITSYNC_SSH_KEY_FILE", "/secret/ssh"),
            ("GITSYNC_SSH_KNOWN_HOSTS_FILE", "/secret/known_hosts"),
        ];
        pod.run(&env, &[]).ended(0, &[]);
        let brought = std::fs::read_to_string(pod.volume.path().join("git/repo/dags/a.py")).unwrap();
        assert_eq!(brought, "a = 1\n", "{user}");
    }
}

#[test]
fn the_dockerfile_builds_with_the_rust_that_the_project_asks_for() {
    assert_eq!(argument("RUST"), env!("CARGO_PKG_RUST_VERSION"));
}

/// The compile stage with a cargo that only notes how it is called: each processor has its own target and linker, and a
/// source is newer than whatever a cache holds.
#[test]
fn the_build_stage_compiles_for_the_processor_that_is_asked_for() {
    let script = commands("set -eu; \\\n", "\n\nFROM");
    for (processor, target) in [("amd64", "x86_64-unknown-linux-gnu"), ("arm64", "aarch64-unknown-linux-gnu")] {
        let (stage, linker) = (Stage::new(), target.replace("-unknown", "") + "-gcc");
        stage.build(&script, processor).ended(0, &[]);
        let said = std::fs::read_to_string(stage.0.path().join("said")).unwrap();
        let said: Vec<&str> = said.lines().collect();
        let name = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        assert_eq!(said[0], format!("rustup target add {target}"));
        let build = format!("auditable build --release --locked --bin dagsync --target {target}");
        assert_eq!(said[1], format!("cargo {build} {name}={linker}"));
        assert!(
            said[2].starts_with("cargo cyclonedx ") && said[2].contains(&format!("--target {target} ")),
            "{said:?}"
        );
        assert_eq!(files(&stage.0.path().join("out")), FILES.map(str::to_owned).into());
    }
    Stage::new().build(&script, "riscv64").ended(1, &["no build for TARGETARCH=riscv64: amd64 or arm64"]);
}

/// A folder as the compile stage has it.
struct Stage(TempDir);

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = "mkdir -p bin src strategies/core/src
             touch LICENSE
             touch -d 2001-01-01 src/main.rs strategies/core/src/lib.rs
             echo 'echo rustup \"$@\" >> said' > bin/rustup
             cat > bin/cargo <<'END'
             echo cargo \"$@\" $(env | grep ^CARGO_TARGET_.*_LINKER=) >> said
             [ -z \"$(find src strategies -name '*.rs' ! -newermt 2002-01-01)\" ] || exit 9
             for last; do true; done
             case $1 in
                 auditable) mkdir -p target/$last/release; touch target/$last/release/dagsync ;;
                 cyclonedx) touch sbom.json ;;
             esac
END
             sed -i '1i #!/bin/sh' bin/cargo bin/rustup
             chmod +x bin/*";
        shell(folder.path(), script);
        Self(folder)
    }

    fn build(&self, script: &str, processor: &str) -> Outcome {
        let out = format!("{}/out/", self.0.path().display());
        let mut command = Command::new("sh");
        command.arg("-c").arg(script.replace("/out/", &out)).current_dir(self.0.path());
        let path = std::env::join_paths([self.0.path().join("bin"), "/usr/bin".into(), "/bin".into()]).unwrap();
        Outcome::of(command.env_clear().env("PATH", path).env("TARGETARCH", processor))
    }
}

/// The command of the Dockerfile, in what is sent to the builder: it names every crate that the binary is made of, the
/// vendored OpenSSL and libgit2 too, and no version that is not in Cargo.lock.
#[test]
fn the_sbom_names_every_crate_of_the_binary() {
    let context = sent();
    let tools = repository().join("target/testdata/cargo/bin");
    let make = commands("cargo cyclonedx", "; \\\n    install");
    let script = format!("PATH={}:$PATH; export SOURCE_DATE_EPOCH=0; target={TARGET}; {make}", tools.display());
    shell(context.path(), &script);
    let sbom = std::fs::read_to_string(context.path().join("sbom.json")).unwrap();
    let sbom: Value = serde_json::from_str(&sbom).unwrap();
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let named = |c: &Value| format!("{} v{}", c["name"].as_str().unwrap(), c["version"].as_str().unwrap());
    let mut components: BTreeSet<String> = sbom["components"].as_array().unwrap().iter().map(named).collect();
    components.insert(named(&sbom["metadata"]["component"]));

    let tree =
        format!("cargo tree --locked -p dagsync -e normal,build --target {TARGET} --prefix none --format '{{p}}'");
    let tree = shell(repository(), &tree);
    let crates = tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    let crates: BTreeSet<String> = crates.filter(|name| !name.is_empty()).collect();
    assert!(crates.iter().any(|name| name.starts_with("openssl-src ")), "{crates:?}");
    assert_eq!(crates.difference(&components).collect::<Vec<_>>(), Vec::<&String>::new());
    let readme = std::fs::read_to_string(repository().join("deploy/image/README.md")).unwrap();
    for vendored in ["openssl-src", "libgit2-sys"] {
        let name = components.iter().find(|name| name.starts_with(&format!("{vendored} "))).unwrap();
        let said = format!("`{}`", name.replace(" v", " "));
        assert!(readme.contains(&said), "deploy/image/README.md does not say {said}");
    }

    let lock = std::fs::read_to_string(repository().join("Cargo.lock")).unwrap();
    for name in &components {
        let (name, version) = name.split_once(" v").unwrap();
        assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n")), "{name} {version}");
    }
    assert!(!components.iter().any(|name| name.starts_with("criterion ")), "what only tests use is not in the binary");
}
