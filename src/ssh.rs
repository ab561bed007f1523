//! What OpenSSH reads and writes: keys, and the file that says how to reach a host.

pub mod config_file;
pub mod key;
pub mod key_file;
pub(crate) mod private_file;
