//! What OpenSSH reads and writes: keys, and the file that says how to reach a host.

pub mod config_block;
pub mod key;
pub mod key_file;
pub(crate) mod private_file;

use std::path::PathBuf;

use crate::failure::{Exit, Failure};

/// The directory of the user's `ssh`.
///
/// # Errors
///
/// When the user has no home directory.
pub fn directory() -> Result<PathBuf, Failure> {
    match std::env::home_dir() {
        Some(home) if !home.as_os_str().is_empty() => Ok(home.join(".ssh")),
        _ => Err(Failure::new(
            Exit::Failure,
            "there is no home directory with a configuration of ssh",
        )
        .with_hint("set HOME")),
    }
}
