//! How the response to StartSession comes to the plugin, and how its token is kept from everybody else.

use std::fs;

use crate::failure::{Exit, Failure};

use super::arguments::{DESCRIPTORS, RESPONSE_VARIABLE};

/// Returns the response: `argument` itself, unless it names an environment variable or a descriptor.
///
/// # Errors
///
/// [`Exit::Usage`] when it is not where the argument says.
pub(super) fn receive(argument: &str) -> Result<String, Failure> {
    if argument.starts_with(RESPONSE_VARIABLE) {
        return std::env::var(argument).map_err(|_| {
            let message = format!("the environment variable {argument} is not set");
            Failure::new(Exit::Usage, message)
        });
    }
    if argument.starts_with(DESCRIPTORS) {
        return fs::read_to_string(argument).map_err(|error| {
            let message = format!("cannot read the session response from {argument}: {error}");
            Failure::new(Exit::Usage, message)
        });
    }
    Ok(argument.to_owned())
}

/// Takes the response out of the arguments and the environment, where everybody who may list processes, and every
/// child, finds its token: starts this program anew with a descriptor in the place of `argument`.
///
/// Removing the variable would leave it in `/proc/PID/environ`, and the arguments cannot be changed at all. Returns
/// only if there is nothing to hide or the system refuses, which does not keep the session from working.
#[cfg(unix)]
pub(super) fn conceal(argument: &str, response: &str) {
    if argument.starts_with(DESCRIPTORS) {
        return;
    }
    if let Err(error) = start_anew(argument, response) {
        tracing::debug!(%error, "the token stays in the arguments or the environment");
    }
}

#[cfg(unix)]
fn start_anew(argument: &str, response: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};

    let (reader, mut writer) = std::io::pipe()?;
    // A pipe takes 64 KiB on Linux without a reader. What does not fit must not be waited for.
    ioctl_fionbio(&writer, true)?;
    writer.write_all(response.as_bytes())?;
    drop(writer);
    fcntl_setfd(&reader, FdFlags::empty())?;

    let descriptor = format!("{DESCRIPTORS}{}", reader.as_raw_fd());
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments = arguments.map(|given| match given == argument {
        true => descriptor.clone().into(),
        false => given,
    });
    let mut anew = Command::new(std::env::current_exe()?);
    anew.arg0(name).args(arguments);
    if argument.starts_with(RESPONSE_VARIABLE) {
        anew.env_remove(argument);
    }
    Err(anew.exec())
}

/// There is no way to do it, and no other user who sees the arguments.
#[cfg(not(unix))]
pub(super) fn conceal(_argument: &str, _response: &str) {}
