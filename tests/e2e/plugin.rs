//! The binary as the AWS CLI's plugin: by the real AWS CLI, and by what other programs do in its place.

mod arguments;
pub(crate) mod cli;
mod consoles;
mod endings;
mod outages;
mod ports;
mod ssh;
mod streams;
