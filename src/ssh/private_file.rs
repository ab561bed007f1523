//! Files of the user's own: nobody else reads them, and nobody sees them half written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Makes a directory, and those above it, that only the user can enter. One that exists is left as it is.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Options that make a file only the user can read.
pub(crate) fn options() -> OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A complete file beside the one it is to become. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
}

impl Draft {
    /// Writes `content` to a new file in the directory of `destination`, and waits until it is on the disk.
    pub(crate) fn write(destination: &Path, content: &[u8]) -> io::Result<Self> {
        let (draft, file) = Self::create_new(destination, content)?;
        file.sync_all()?;
        Ok(draft)
    }

    /// The same for what may be lost when the machine goes down: waits for no disk.
    pub(crate) fn write_unsynced(destination: &Path, content: &[u8]) -> io::Result<Self> {
        let (draft, _file) = Self::create_new(destination, content)?;
        Ok(draft)
    }

    fn create_new(destination: &Path, content: &[u8]) -> io::Result<(Self, File)> {
        let name = destination.file_name().unwrap_or_default();
        let name = format!(".{}.{:016x}", name.to_string_lossy(), fastrand::u64(..));
        let path = destination.with_file_name(name);
        let mut file = options().write(true).create_new(true).open(&path)?;
        let draft = Self { path };
        file.write_all(content)?;
        Ok((draft, file))
    }

    /// Where the draft is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the file in the place of `destination`, whatever is there.
    pub(crate) fn replace(self, destination: &Path) -> io::Result<()> {
        fs::rename(&self.path, destination)
    }

    /// Puts the file in the place of `destination` if nothing is there; fails with `AlreadyExists` otherwise.
    pub(crate) fn create(self, destination: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, destination)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After `replace` it has another name.
        let _: io::Result<()> = fs::remove_file(&self.path);
    }
}
