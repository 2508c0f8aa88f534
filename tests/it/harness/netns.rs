//! Network namespaces as pods: each has its own address on one switch, from which it can be taken and put back.

use std::path::PathBuf;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::run;

/// A switch; whoever is in its namespace reaches every pod that is not cut off.
#[derive(Debug)]
pub(crate) struct Switch {
    name: String,
    pods: Vec<Namespace>,
}

/// A namespace on a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespace {
    name: String,
    port: String,
    pub(crate) address: String,
}

impl Switch {
    /// A switch with so many pods.
    pub(crate) fn with(pods: usize) -> Self {
        let name = format!("dagsync-{}-{:x}", std::process::id(), fastrand::u16(..));
        let mut switch = Self { name, pods: Vec::new() };
        ip(&["netns", "add", &switch.name]);
        switch.ip(&["link", "add", "switch", "type", "bridge"]);
        switch.ip(&["address", "add", "10.77.0.1/24", "dev", "switch"]);
        switch.ip(&["link", "set", "switch", "up"]);
        for number in 0..pods {
            switch.plug(number);
        }
        switch
    }

    fn plug(&mut self, number: usize) {
        let pod = Namespace {
            name: format!("{}-{number}", self.name),
            port: format!("pod{number}"),
            address: format!("10.77.0.{}", 10 + number),
        };
        ip(&["netns", "add", &pod.name]);
        self.ip(&["link", "add", &pod.port, "type", "veth", "peer", "name", "eth0", "netns", &pod.name]);
        let address = format!("{}/24", pod.address);
        for args in [
            &["address", "add", address.as_str(), "dev", "eth0"][..],
            &["link", "set", "eth0", "up"],
            &["link", "set", "lo", "up"],
        ] {
            ip(&[&["-n", pod.name.as_str()], args].concat());
        }
        self.ip(&["link", "set", &pod.port, "up"]);
        self.pods.push(pod.clone());
        self.heal(&pod);
    }

    pub(crate) fn pod(&self, number: usize) -> Namespace {
        self.pods[number].clone()
    }

    /// Takes a pod off the switch: what is sent to it is lost without a word.
    pub(crate) fn cut(&self, pod: &Namespace) {
        self.ip(&["link", "set", &pod.port, "nomaster"]);
    }

    /// Puts it back.
    pub(crate) fn heal(&self, pod: &Namespace) {
        self.ip(&["link", "set", &pod.port, "master", "switch"]);
    }

    /// Keeps two pods apart that reach everybody else, each on its side.
    pub(crate) fn part(one: &Namespace, other: &Namespace) {
        one.loses("add", other);
        other.loses("add", one);
    }

    /// Lets them have each other back.
    pub(crate) fn join(one: &Namespace, other: &Namespace) {
        one.loses("delete", other);
        other.loses("delete", one);
    }

    /// The same command at the switch.
    pub(crate) fn command(&self, command: &Command) -> Command {
        within(&self.name, command)
    }

    fn ip(&self, args: &[&str]) {
        ip(&[&["-n", self.name.as_str()], args].concat());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for name in self.pods.iter().map(|pod| &pod.name).chain([&self.name]) {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

impl Namespace {
    /// The same command in the pod.
    pub(crate) fn command(&self, command: &Command) -> Command {
        within(&self.name, command)
    }

    /// Changes the rule by which nothing leaves it for `other`.
    fn loses(&self, change: &str, other: &Self) {
        ip(&["-n", &self.name, "route", change, "blackhole", &other.address]);
    }

    /// Does `work` in the pod.
    pub(crate) fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let go = || {
            let namespace = std::fs::File::open(path).unwrap();
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(go).join().unwrap())
    }
}

fn within(namespace: &str, command: &Command) -> Command {
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args()).env_clear();
    inside.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    inside
}

fn ip(args: &[&str]) {
    run(Command::new("ip").args(args));
}
