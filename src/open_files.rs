//! How many files, and so connections, this process may have open.

/// Raises the limit on open files as far as the system allows and connections can need: each takes one, and the usual soft
/// limits of 256 and 1,024 are for programs that call `select`.
///
/// A command run beside the forwards inherits the raised limit.
#[cfg(unix)]
pub fn raise_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// What macOS allows, whatever its hard limit says (`OPEN_MAX`).
    const ENOUGH: u64 = 10_240;

    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    let raised = Rlimit {
        current: Some(wanted),
        ..limit
    };
    if limit.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub fn raise_limit() {}
