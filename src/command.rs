//! The commands, one verb each.

mod bridge;
pub mod completions;
pub mod exec;
pub mod forward;
#[cfg(feature = "lab")]
pub mod lab;
pub mod man;
mod outages;
pub mod plugin;
pub mod proxy;
mod service;
pub mod shell;
pub mod ssh_config;
