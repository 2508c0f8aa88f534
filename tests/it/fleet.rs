//! A leader and those who follow it: real daemons, each with its own store.

mod follow;
mod hook;
mod many;
mod page;
mod partition;
