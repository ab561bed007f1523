//! Adds a block to a configuration file of `ssh`, and replaces it later.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::private_file::{self, Draft};
use crate::failure::{Exit, Failure};

/// Text between two marks that tell it from what others have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    begin: String,
    end: String,
    body: String,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// The block was there, as it should be.
    Already,
    /// The block was added or replaced.
    Changed {
        /// The copy of the file as it was before, if there was one.
        backup: Option<PathBuf>,
    },
}

impl Block {
    /// Creates a block; `name` tells it from other blocks of this program. `body` ends with a line feed.
    pub fn new(name: &str, body: String) -> Self {
        Self {
            begin: format!("# >>> {name} >>>"),
            end: format!("# <<< {name} <<<"),
            body,
        }
    }

    /// The block with its marks.
    pub fn text(&self) -> String {
        format!("{}\n{}{}\n", self.begin, self.body, self.end)
    }

    /// Puts the block into the file at `path`: in its own place if it was there, at the end otherwise.
    ///
    /// The file is replaced as a whole, keeps its permissions, and is created if it does not exist. A symbolic link
    /// stays one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, or the marks in it do not make sense. It is untouched then.
    pub fn install(&self, path: &Path) -> Result<Installed, Failure> {
        let cannot = |error: io::Error| {
            let message = format!("cannot change {}: {error}", path.display());
            Failure::new(Exit::Failure, message)
        };
        let path = &resolve(path).map_err(cannot)?;
        let old = match fs::read(path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(cannot(error)),
        };
        let new = self.placed_in(old.as_deref().unwrap_or_default());
        let new = new.ok_or_else(|| {
            let message = format!("{} has only one of two marks", path.display());
            Failure::new(Exit::Failure, message).with_hint(format!(
                "remove what is left of the block between `{}` and `{}`",
                self.begin, self.end
            ))
        })?;
        if old.as_ref() == Some(&new) {
            return Ok(Installed::Already);
        }
        let backup = self.replace(path, old.as_deref(), &new).map_err(cannot)?;
        Ok(Installed::Changed { backup })
    }

    /// The file's content with the block; `None` if it has one mark without the other.
    fn placed_in(&self, old: &[u8]) -> Option<Vec<u8>> {
        let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
        let find = |mark: &str| {
            let is_mark = |line: &&[u8]| line.trim_ascii() == mark.as_bytes();
            lines.iter().position(is_mark)
        };
        let text = self.text();
        match (find(&self.begin), find(&self.end)) {
            (None, None) => {
                let separator: &[u8] = match old {
                    [] => b"",
                    [.., b'\n'] => b"\n",
                    _ => b"\n\n",
                };
                Some([old, separator, text.as_bytes()].concat())
            }
            (Some(begin), Some(end)) if begin < end => {
                let (before, after) = (lines.get(..begin)?, lines.get(end + 1..)?);
                Some([&before.concat(), text.as_bytes(), &after.concat()].concat())
            }
            _ => None,
        }
    }

    fn replace(&self, path: &Path, old: Option<&[u8]>, new: &[u8]) -> io::Result<Option<PathBuf>> {
        let Some(old) = old else {
            if let Some(directory) = path.parent() {
                private_file::create_directory(directory)?;
            }
            Draft::write(path, new)?.create(path)?;
            return Ok(None);
        };
        let permissions = fs::metadata(path)?.permissions();
        let backup = backup_path(path);
        for (destination, content) in [(&*backup, old), (path, new)] {
            let draft = Draft::write(destination, content)?;
            fs::set_permissions(draft.path(), permissions.clone())?;
            draft.replace(destination)?;
        }
        Ok(Some(backup))
    }
}

fn backup_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.before-ssmfwd"))
}

/// The file itself, behind whatever links lead to it.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
            std::path::absolute(path)
        }
        resolved => resolved,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn block(body: &str) -> Block {
        Block::new("ssmfwd", format!("{body}\n"))
    }

    const BLOCK: &str = "# >>> ssmfwd >>>\nHost i-*\n# <<< ssmfwd <<<\n";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_missing_file_is_made_with_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".ssh/config");
        let installed = block("Host i-*").install(&path).unwrap();
        assert_eq!(installed, Installed::Changed { backup: None });
        assert_eq!(fs::read_to_string(&path).unwrap(), BLOCK);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn the_block_is_added_once_and_replaced_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        // No line feed at the end, and not UTF-8.
        fs::write(&path, b"Host caf\xe9\n  Port 1").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let backup = directory.path().join("config.before-ssmfwd");
        let changed = Installed::Changed {
            backup: Some(backup.clone()),
        };
        assert_eq!(block("Host i-*").install(&path).unwrap(), changed);
        let mut expected = b"Host caf\xe9\n  Port 1\n\n".to_vec();
        expected.extend_from_slice(BLOCK.as_bytes());
        assert_eq!(fs::read(&path).unwrap(), expected);
        assert_eq!(fs::read(&backup).unwrap(), b"Host caf\xe9\n  Port 1");
        assert_eq!((mode(&path), mode(&backup)), (0o640, 0o640));

        let already = block("Host i-*").install(&path).unwrap();
        assert_eq!(already, Installed::Already);

        let text = [&expected[..], b"Host z\n"].concat();
        fs::write(&path, text).unwrap();
        assert_eq!(block("Host mi-*").install(&path).unwrap(), changed);
        let text = fs::read(&path).unwrap();
        assert!(text.ends_with(b"\n\n# >>> ssmfwd >>>\nHost mi-*\n# <<< ssmfwd <<<\nHost z\n"));
        let names = fs::read_dir(directory.path()).unwrap();
        assert_eq!(names.count(), 2, "the file and its backup");
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (link, file) = (directory.path().join("config"), directory.path().join("f"));
        fs::write(&file, "Host a\n").unwrap();
        symlink("f", &link).unwrap();
        block("Host i-*").install(&link).unwrap();
        assert!(link.is_symlink());
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("Host a\n\n{BLOCK}"));

        fs::remove_file(&file).unwrap();
        let failure = block("Host i-*").install(&link).unwrap_err();
        assert!(failure.message.contains("No such file"), "{failure}");
    }

    #[test]
    fn half_a_block_is_left_to_the_user() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        for text in [
            "# >>> ssmfwd >>>\nHost i-*\n",
            "# <<< ssmfwd <<<\n# >>> ssmfwd >>>\n",
        ] {
            fs::write(&path, text).unwrap();
            let failure = block("Host i-*").install(&path).unwrap_err();
            assert!(failure.hint.unwrap().contains("# >>> ssmfwd >>>"));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn blocks_with_other_names_are_others() {
        let first = block("Host i-*").text();
        let second = Block::new("ssmfwd prod", "Host i-*.prod\n".to_owned());
        let both = second.placed_in(first.as_bytes()).unwrap();
        let expected = format!("{first}\n{}", second.text());
        assert_eq!(String::from_utf8(both).unwrap(), expected);
    }
}
