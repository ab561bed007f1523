//! The runtime and the commands of `ssmfwd`; the protocol itself is `ssmfwd-protocol`.

#[cfg(all(feature = "lab", not(unix)))]
compile_error!("the lab runs programs in Unix terminals: build with --no-default-features");

pub mod aws;
pub mod backoff;
pub mod cli;
pub mod command;
pub mod completion;
pub mod config_file;
pub mod doctor;
pub mod driver;
pub mod endpoint;
pub mod failure;
pub mod known_targets;
#[cfg(feature = "lab")]
pub mod lab;
pub mod local;
pub mod net;
pub mod open_files;
pub mod output;
pub mod readiness;
pub mod session;
pub mod settings;
pub mod signals;
pub mod spec;
pub mod ssh;
pub mod standard_streams;
pub mod stream;
pub mod terminal;
pub mod tunnel;
