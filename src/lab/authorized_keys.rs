//! Keys pushed with EC2 Instance Connect, as files an SSH server reads.
//!
//! `AuthorizedKeysFile DIR/INSTANCE/%u` in the server's configuration lets it see them; without a
//! directory they are only remembered.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;

/// How long a pushed key is good, as at AWS.
pub(super) const LIFETIME: Duration = Duration::from_secs(60);

/// The keys of all instances and users that are still good.
#[derive(Debug)]
pub(super) struct AuthorizedKeys {
    directory: Option<PathBuf>,
    accounts: Mutex<BTreeMap<Account, Vec<PushedKey>>>,
}

/// An instance and a user of its operating system.
type Account = (String, String);

#[derive(Debug)]
struct PushedKey {
    line: String,
    expires: Instant,
}

impl AuthorizedKeys {
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            accounts: Mutex::default(),
        }
    }

    /// Lets a key in from `now` for [`LIFETIME`]; [`AuthorizedKeys::expire`] is to be called then.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(super) fn push(
        &self,
        instance: &str,
        user: &str,
        line: &str,
        now: Instant,
    ) -> io::Result<()> {
        let mut accounts = lock(&self.accounts);
        let account = (instance.to_owned(), user.to_owned());
        let keys = accounts.entry(account).or_default();
        keys.retain(|key| key.line != line);
        keys.push(PushedKey {
            line: line.to_owned(),
            expires: now + LIFETIME,
        });
        self.write(instance, user, keys)
    }

    /// Forgets the keys that are no longer good.
    pub(super) fn expire(&self, now: Instant) {
        lock(&self.accounts).retain(|(instance, user), keys| {
            let count = keys.len();
            keys.retain(|key| key.expires > now);
            if keys.len() < count
                && let Err(error) = self.write(instance, user, keys)
            {
                tracing::warn!(%error, "cannot take back a pushed key");
            }
            !keys.is_empty()
        });
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        for ((instance, user), _) in std::mem::take(&mut *lock(&self.accounts)) {
            if let Err(error) = self.write(&instance, &user, &[]) {
                tracing::warn!(%error, "cannot take back a pushed key");
            }
        }
    }

    /// The keys of an account, one line each.
    pub(super) fn lines(&self, instance: &str, user: &str) -> Vec<String> {
        let accounts = lock(&self.accounts);
        let keys = accounts.get(&(instance.to_owned(), user.to_owned()));
        let lines = keys.into_iter().flatten().map(|key| key.line.clone());
        lines.collect()
    }

    /// Replaces an account's file in one step: a server never reads half of it.
    fn write(&self, instance: &str, user: &str, keys: &[PushedKey]) -> io::Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let directory = directory.join(instance);
        let path = directory.join(user);
        if keys.is_empty() {
            return remove(&path);
        }
        std::fs::create_dir_all(&directory)?;
        let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
        // A name no user can have.
        let unfinished = directory.join(format!("{user}~"));
        std::fs::write(&unfinished, lines)?;
        std::fs::rename(unfinished, path)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_its_account_and_a_minute() {
        let directory = tempfile::tempdir().unwrap();
        let keys = AuthorizedKeys::new(Some(directory.path().to_owned()));
        let file = directory.path().join("i-0abc/admin");
        let start = Instant::now();
        keys.push("i-0abc", "admin", "ssh-ed25519 AAAA 1", start)
            .unwrap();
        let later = start + LIFETIME / 2;
        keys.push("i-0abc", "admin", "ssh-ed25519 AAAA 2", later)
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "ssh-ed25519 AAAA 1\nssh-ed25519 AAAA 2\n"
        );
        assert!(keys.lines("i-0abc", "root").is_empty());
        keys.expire(start + LIFETIME);
        assert_eq!(keys.lines("i-0abc", "admin"), ["ssh-ed25519 AAAA 2"]);
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "ssh-ed25519 AAAA 2\n"
        );
        keys.expire(later + LIFETIME);
        assert!(keys.lines("i-0abc", "admin").is_empty() && !file.exists());
    }

    #[test]
    fn a_key_pushed_again_is_good_for_another_minute() {
        let keys = AuthorizedKeys::new(None);
        let start = Instant::now();
        for pushed in [start, start + LIFETIME / 2] {
            keys.push("i-0abc", "admin", "ssh-rsa AAAA", pushed)
                .unwrap();
        }
        keys.expire(start + LIFETIME);
        assert_eq!(keys.lines("i-0abc", "admin").len(), 1);
    }

    #[test]
    fn the_end_of_the_lab_takes_all_keys_back() {
        let directory = tempfile::tempdir().unwrap();
        let keys = AuthorizedKeys::new(Some(directory.path().to_owned()));
        keys.push("i-0abc", "admin", "ssh-rsa AAAA", Instant::now())
            .unwrap();
        keys.clear();
        assert!(!directory.path().join("i-0abc/admin").exists());
    }
}
