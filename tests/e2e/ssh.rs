//! OpenSSH's own programs through the stanza that `ssh-config` writes.

mod failures;
mod keys;
mod pipe;
pub(crate) mod server;
mod sessions;
mod transfers;
