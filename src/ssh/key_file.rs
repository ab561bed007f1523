//! The key that is pushed: a file that `ssh` and this program both know.
//!
//! Connections share it. `ssh` may read the public half as soon as it has started the proxy, and the private half when it
//! logs in; a key that was replaced in between would be refused. A key is therefore made only where there is none, and
//! removed only when it is old and nobody uses it.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::key::{self, PublicKey};
use super::private_file::{self, Draft};
use crate::failure::{Exit, Failure};

/// How long a key is used. On an instance it is good for a minute after each push, whatever its age.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Where the key is that this program makes: in the directory of `ssh`, in one of its own.
///
/// # Errors
///
/// When the user has no home directory.
pub fn default_path() -> Result<PathBuf, Failure> {
    Ok(super::directory()?.join("ssmfwd/id_ed25519"))
}

/// Reads the public key of a file the user named: a public key, or a private one with its public key beside it.
///
/// # Errors
///
/// When there is no public key that can be pushed.
pub fn read_public(path: &Path) -> Result<PublicKey, Failure> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the key {}: {error}", path.display());
            Failure::new(Exit::Usage, message)
        })
    };
    let text = Zeroizing::new(read(path)?);
    let (path, text) = match text.contains("PRIVATE KEY-----") {
        false => (path.to_owned(), text),
        true => {
            let public = PathBuf::from(format!("{}.pub", path.display()));
            let text = read(&public).map_err(|failure| {
                let path = path.display();
                failure.with_hint(format!(
                    "make it with `ssh-keygen -y -f {path} > {path}.pub`"
                ))
            })?;
            (public, text.into())
        }
    };
    let line = text.lines().next().unwrap_or_default();
    PublicKey::parse(line).ok_or_else(|| {
        let message = format!("{} is no public key that can be pushed", path.display());
        Failure::new(Exit::Usage, message)
            .with_hint("EC2 Instance Connect takes ED25519 and RSA keys in OpenSSH's format")
    })
}

/// The key of this program, in use. Dropping it removes a key that is old, unless another process uses it.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    public: PublicKey,
    /// Locked by every process that uses the key.
    lock: File,
}

impl KeyFile {
    /// Takes the key at `path` into use, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read or stored, or is not one of this program's.
    pub fn acquire(path: PathBuf) -> Result<Self, Failure> {
        let cannot = |error: io::Error| {
            let message = format!("cannot use the key {}: {error}", path.display());
            Failure::new(Exit::Failure, message)
        };
        if let Some(directory) = path.parent() {
            private_file::create_directory(directory).map_err(cannot)?;
        }
        let lock = private_file::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.with_extension("lock"))
            .map_err(cannot)?;
        if let Err(error) = lock.lock_shared() {
            // Then the key is never removed, since that takes the lock for oneself.
            tracing::debug!(%error, "the key cannot be locked");
        }
        let text = match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => create(&path),
            read => read,
        };
        let Some(public) = key::public_key(&text.map_err(cannot)?) else {
            let message = format!("{} is not a key made by ssmfwd", path.display());
            return Err(Failure::new(Exit::Failure, message)
                .with_hint("remove it, or give the key to push as --push-key=FILE"));
        };
        Ok(Self { path, public, lock })
    }

    /// The half to push.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn remove_if_old(&self) -> io::Result<()> {
        let age = fs::metadata(&self.path)?.modified()?.elapsed();
        if age.is_ok_and(|age| age >= LIFETIME) {
            self.lock.unlock()?;
            self.lock.try_lock()?;
            fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        if let Err(error) = self.remove_if_old() {
            tracing::debug!(%error, "the key stays");
        }
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    fs::read_to_string(path).map(Zeroizing::new)
}

/// Makes a key. If another process is quicker, that one's is the key.
fn create(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = key::generate().map_err(|_| io::Error::other("no randomness"))?;
    match Draft::write(path, text.as_bytes())?.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        created => created.map(|()| text),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn path(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("ssmfwd/id_ed25519")
    }

    fn age(path: &Path, age: Duration) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn connections_share_a_key_that_outlives_them() {
        let directory = tempfile::tempdir().unwrap();
        let first = KeyFile::acquire(path(&directory)).unwrap();
        let second = KeyFile::acquire(path(&directory)).unwrap();
        assert_eq!(first.public(), second.public());
        let public = first.public().clone();
        drop((first, second));
        let third = KeyFile::acquire(path(&directory)).unwrap();
        assert_eq!(*third.public(), public);
    }

    #[test]
    fn an_old_key_is_removed_once_nobody_uses_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(&directory);
        let first = KeyFile::acquire(path.clone()).unwrap();
        age(&path, LIFETIME);
        let second = KeyFile::acquire(path.clone()).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn everyone_who_makes_the_key_at_once_gets_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = path(&directory);
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| KeyFile::acquire(path.clone()).unwrap()))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| key.public() == keys[0].public()));
        let names = fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(names.count(), 2, "the key and its lock");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_can_read_the_key() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let path = path(&directory);
        let _key = KeyFile::acquire(path.clone()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_file_of_somebody_else_is_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id_ed25519");
        fs::write(&path, "mine").unwrap();
        let failure = KeyFile::acquire(path.clone()).unwrap_err();
        assert!(failure.hint.unwrap().contains("--push-key=FILE"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn the_public_key_is_found_beside_the_private_one() {
        let directory = tempfile::tempdir().unwrap();
        let private = directory.path().join("id");
        fs::write(&private, &*key::generate().unwrap()).unwrap();
        let failure = read_public(&private).unwrap_err();
        assert!(failure.hint.unwrap().starts_with("make it with"));
        let public = key::public_key(&fs::read_to_string(&private).unwrap()).unwrap();
        fs::write(private.with_extension("pub"), format!("{public}\n")).unwrap();
        assert_eq!(read_public(&private).unwrap(), public);
        let beside = private.with_extension("pub");
        assert_eq!(read_public(&beside).unwrap(), public);
    }
}
