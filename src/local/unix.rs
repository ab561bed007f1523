//! Unix sockets: private from the first moment, and none left behind.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixStream as BlockingUnixStream};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::{UnixListener, UnixStream};

use crate::failure::{Exit, Failure};

#[cfg(test)]
mod tests;

/// A listening Unix socket of mode 0600, whose file is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file: somebody may have put another in its place.
    file: (u64, u64),
}

impl UnixSocket {
    /// Listens at `path`, replacing a socket there that nobody serves any more.
    pub(super) fn bind(path: &Path) -> Result<Self, Failure> {
        let failure = |(reason, hint): (String, &str)| {
            let message = format!("cannot listen on {}: {reason}", path.display());
            Failure::new(Exit::Address, message).with_hint(hint)
        };
        // The current directory may change, and `x.sock` has an empty parent.
        let path = std::path::absolute(path).map_err(|error| failure(explain(&error)))?;
        // The socket itself is bound under a shorter one.
        SocketAddr::from_pathname(&path).map_err(|error| failure(explain(&error)))?;
        clear_the_way(&path).map_err(failure)?;
        bind_private(&path).map_err(|error| failure(explain(&error)))
    }

    pub(super) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, String)>> {
        self.listener
            .poll_accept(cx)
            .map_ok(|(stream, _)| match process_of(&stream) {
                Some(process) => (stream, process),
                None => (stream, "a local process".to_owned()),
            })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let is_ours = identity(&self.path).is_ok_and(|file| file == self.file);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Makes sure nothing is at `path`: a socket without a listener is removed, anything else is left alone.
fn clear_the_way(path: &Path) -> Result<(), (String, &'static str)> {
    let file_type = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain(&error)),
    };
    if !file_type.is_socket() {
        return Err((
            "something that is not a socket is there".to_owned(),
            ANOTHER_PATH,
        ));
    }
    match BlockingUnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| explain(&error))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(explain(&error)),
        Err(_) => Err(("it is in use by another process".to_owned(), ANOTHER_PATH)),
        Ok(connection) => {
            let holder = server_of(connection).unwrap_or_else(|| "another process".to_owned());
            Err((format!("it is in use by {holder}"), ANOTHER_PATH))
        }
    }
}

/// Binds in a directory nobody else can enter and moves the socket to `path` once its mode is 0600.
///
/// The umask, the other way to a private socket, belongs to the whole process.
fn bind_private(path: &Path) -> io::Result<UnixSocket> {
    let parent = path.parent().unwrap_or(path);
    let directory = PrivateDirectory::create(parent)?;
    // A single letter: the path of a socket has room for about a hundred bytes.
    let first = directory.path.join("s");
    let listener = UnixListener::bind(&first)?;
    fs::set_permissions(&first, Permissions::from_mode(0o600))?;
    let file = identity(&first)?;
    fs::rename(&first, path)?;
    Ok(UnixSocket {
        listener,
        path: path.to_owned(),
        file,
    })
}

/// A new directory of mode 0700, removed with what is left of the socket when dropped.
struct PrivateDirectory {
    path: PathBuf,
}

impl PrivateDirectory {
    fn create(parent: &Path) -> io::Result<Self> {
        loop {
            let suffix: String = std::iter::repeat_with(fastrand::alphanumeric)
                .take(6)
                .collect();
            let path = parent.join(format!(".{suffix}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // Nothing is in the directory when all went well, and nothing of value when it did not.
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the directory");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Names the process that serves the socket `connection` leads to.
fn server_of(connection: BlockingUnixStream) -> Option<String> {
    connection.set_nonblocking(true).ok()?;
    process_of(&UnixStream::from_std(connection).ok()?)
}

fn process_of(stream: &UnixStream) -> Option<String> {
    let pid = stream.peer_cred().ok()?.pid()?;
    #[cfg(target_os = "linux")]
    if let Some(process) = super::owner::process(pid.unsigned_abs()) {
        return Some(process);
    }
    Some(format!("process {pid}"))
}

const ANOTHER_PATH: &str = "choose another path for the socket, or stop what uses this one";

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there are dozens of kinds, and more to come"
)]
fn explain(error: &io::Error) -> (String, &'static str) {
    match error.kind() {
        ErrorKind::NotFound => (
            "its directory does not exist".to_owned(),
            "create the directory first, or choose another path",
        ),
        ErrorKind::PermissionDenied => (
            "this user may not create it".to_owned(),
            "choose a path in a directory of your own",
        ),
        // What the standard library makes of a path that does not fit into a socket address.
        ErrorKind::InvalidInput => (
            "its path is too long for a socket".to_owned(),
            "choose a path of at most 90 bytes",
        ),
        _ => (error.to_string(), ANOTHER_PATH),
    }
}
