//! The server as a client sees it that speaks plain HTTP.

mod client;
mod faults;
mod listing;
mod reading;
mod writing;
