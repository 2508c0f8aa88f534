//! The check's container as the kubelet starts it: its command and arguments, its volumes where they are mounted, its user,
//! a read-only root with nothing else in it, no capability; the account's token only if the pod asks for it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::discovery::api::{Api, NAMESPACE, TOKEN};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// One container and its volumes.
pub(super) struct Container {
    spec: Value,
    objects: Vec<Value>,
    secrets: Value,
    port: u16,
    folder: TempDir,
}

impl Container {
    /// That of the one CronJob or Deployment among `objects`; `secrets`: each with its keys.
    pub(super) fn of(objects: &[Value], secrets: &Value, hosts: &str, api: &Api) -> Self {
        let spec = objects.iter().find_map(|each| match each["kind"].as_str()? {
            "CronJob" => each.pointer("/spec/jobTemplate/spec/template/spec"),
            "Deployment" => each.pointer("/spec/template/spec"),
            _ => None,
        });
        let container = Self {
            spec: spec.unwrap().clone(),
            objects: objects.to_vec(),
            secrets: secrets.clone(),
            port: api.port(),
            folder: tempfile::tempdir().unwrap(),
        };
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(container.folder.path(), mode).unwrap();
        std::fs::write(container.folder.path().join("hosts"), hosts).unwrap();
        let ca = std::fs::read_to_string(api.ca()).unwrap();
        container.files("account", 0o440, &json!({"ca.crt": ca, "namespace": NAMESPACE, "token": TOKEN}));
        container
    }

    pub(super) fn has_token(&self) -> bool {
        self.spec["automountServiceAccountToken"].as_bool().unwrap()
    }

    /// What starts it.
    pub(super) fn command(&self) -> Command {
        let [container] = self.spec["containers"].as_array().unwrap().as_slice() else { panic!("one container") };
        assert!(container.get("envFrom").is_none(), "no such environment is known here");
        let mut command = Command::new("bwrap");
        command.args(["--die-with-parent", "--unshare-pid", "--unshare-ipc", "--clearenv", "--as-pid-1"]);
        command.args(["--setenv", "PATH", "/usr/bin", "--setenv", "KUBERNETES_SERVICE_HOST", "127.0.0.1"]);
        command.args([
            "--setenv",
            "KUBERNETES_SERVICE_PORT",
            &self.port.to_string(),
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]);
        for variable in container["env"].as_array().into_iter().flatten() {
            let [name, value] = ["name", "value"].map(|part| variable[part].as_str().unwrap());
            command.args(["--setenv", name, value]);
        }
        self.root(&mut command);
        if self.has_token() {
            command.arg("--ro-bind").arg(self.folder.path().join("account")).arg(ACCOUNT);
        }
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert_eq!(mount["readOnly"], true);
            command.arg("--ro-bind").arg(self.volume(&mount["name"])).arg(mount["mountPath"].as_str().unwrap());
        }
        command.args(["--remount-ro", "/", "/setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
        let user = |name: &str| self.spec["securityContext"][name].as_u64().unwrap().to_string();
        command.args(["--reuid", &user("runAsUser"), "--regid", &user("runAsGroup"), "--groups", &user("fsGroup")]);
        let words = ["command", "args"].iter().flat_map(|name| container[*name].as_array().unwrap());
        command.args(words.map(|word| word.as_str().unwrap()));
        command
    }

    /// An image of the binary and the libraries that a debug build needs. Folders that bwrap makes by itself are closed to
    /// others, so each is named.
    fn root(&self, command: &mut Command) {
        for folder in ["/usr", "/usr/bin", "/etc", "/var", "/var/run", "/var/run/secrets"] {
            command.args(["--dir", folder]);
        }
        command.args(["--dir", "/var/run/secrets/kubernetes.io"]);
        for folder in ["/usr/lib", "/usr/lib64", "/lib", "/lib64"] {
            match std::fs::read_link(folder) {
                Ok(to) => command.arg("--symlink").arg(to).arg(folder),
                Err(_) => command.args(["--ro-bind-try", folder, folder]),
            };
        }
        command.args(["--ro-bind", "/usr/bin/setpriv", "/setpriv", "--ro-bind"]).arg(self.folder.path().join("hosts"));
        command.args(["/etc/hosts", "--ro-bind-try", "/etc/ssl", "/etc/ssl"]);
        command.args(["--ro-bind", env!("CARGO_BIN_EXE_dagsync"), "/usr/bin/dagsync"]);
    }

    fn volume(&self, name: &Value) -> PathBuf {
        let volume = self.spec["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == *name).unwrap();
        if let Some(source) = volume.get("configMap") {
            let is_it = |each: &&Value| each["kind"] == "ConfigMap" && each["metadata"]["name"] == source["name"];
            return self.files("config", 0o644, &self.objects.iter().find(is_it).unwrap()["data"]);
        }
        let mode = volume["projected"]["defaultMode"].as_u64().unwrap();
        let sources = volume["projected"]["sources"].as_array().unwrap();
        for source in sources {
            let name = source["secret"]["name"].as_str().unwrap();
            self.files("secrets", u32::try_from(mode).unwrap(), &self.secrets[name]);
        }
        self.folder.path().join("secrets")
    }

    /// Files as the kubelet writes them for a pod with this fsGroup.
    fn files(&self, volume: &str, mode: u32, content: &Value) -> PathBuf {
        let (folder, group) =
            (self.folder.path().join(volume), self.spec["securityContext"]["fsGroup"].as_u64().unwrap());
        let group = u32::try_from(group).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in content.as_object().unwrap() {
            write(&folder.join(name), text.as_str().unwrap(), mode, group);
        }
        folder
    }
}

fn write(path: &Path, text: &str, mode: u32, group: u32) {
    std::fs::write(path, text).unwrap();
    std::os::unix::fs::chown(path, Some(0), Some(group)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
