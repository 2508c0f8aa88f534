//! What the scenarios are told with: real servers, a repository, pods, and a reader that never looks away.

mod authority;
mod bindfs;
mod browser;
mod faultfs;
mod gate;
mod net;
mod nginx;
mod pod;
mod process;
mod proxy;
mod reader;
mod repo;
mod s3;
mod seccomp;
mod sshd;
mod tmpfs;
mod tree;
mod web;

pub(crate) use authority::{Authority, Secret, s_client, showing};
pub(crate) use bindfs::Bindfs;
pub(crate) use browser::Browser;
pub(crate) use faultfs::FaultFs;
pub(crate) use gate::Gate;
pub(crate) use net::{free_port, http, raw_get, request};
pub(crate) use nginx::{Nginx, PASSWORD, USER};
pub(crate) use pod::{Outcome, Pod, dagsync};
pub(crate) use process::{PATIENCE, Process, eventually, shell};
pub(crate) use proxy::Proxy;
pub(crate) use repo::Repo;
pub(crate) use s3::{Bucket, Server as S3Server};
pub(crate) use seccomp::refusing;
pub(crate) use sshd::Sshd;
pub(crate) use tmpfs::Tmpfs;
pub(crate) use tree::{contents, example_dags, generate, swap_in, version_by_hand, version_of};
pub(crate) use web::{Reply, Web};
