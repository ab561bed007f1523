//! The commands, one verb each.

mod bridge;
pub mod completions;
pub mod doctor;
pub mod exec;
pub mod forward;
#[cfg(feature = "lab")]
pub mod lab;
pub mod man;
mod outages;
mod picker;
pub mod plugin;
pub mod proxy;
mod selection;
mod service;
pub mod shell;
pub mod ssh_config;
pub mod targets;
