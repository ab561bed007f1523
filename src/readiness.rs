//! Telling whoever started the process that every forward works: `--ready-fd` and the service manager.

use std::fs::File;
use std::io::Write;

use crate::failure::{Exit, Failure};

/// Who is to be told, opened before anything else can occupy the descriptor's number.
#[derive(Debug)]
pub struct Readiness {
    descriptor: Option<File>,
}

impl Readiness {
    /// Opens descriptor `number`, which must have been inherited.
    ///
    /// # Errors
    ///
    /// When the descriptor is not open, or is a socket.
    pub fn open(number: Option<u32>) -> Result<Self, Failure> {
        let descriptor = number.map(open_descriptor).transpose()?;
        Ok(Self { descriptor })
    }

    /// Announces that every forward works, to the descriptor and to systemd if it is waiting.
    ///
    /// # Errors
    ///
    /// When the reader is gone. The forwards work all the same.
    pub fn announce(self) -> Result<(), Failure> {
        let failure =
            |error| Failure::new(Exit::Failure, format!("cannot announce readiness: {error}"));
        if let Some(mut descriptor) = self.descriptor {
            descriptor.write_all(b"READY\n").map_err(failure)?;
        }
        #[cfg(unix)]
        sd_notify::notify(&[sd_notify::NotifyState::Ready]).map_err(failure)?;
        Ok(())
    }
}

/// Opens the file behind an inherited descriptor anew, because adopting the descriptor itself would be `unsafe`.
#[cfg(unix)]
fn open_descriptor(number: u32) -> Result<File, Failure> {
    use std::io::ErrorKind;
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;

    // Appending matters for a plain file, whose new description would start at offset 0 otherwise. Whoever does not read
    // must not stop the tunnels.
    let opened = File::options()
        .append(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(format!("/dev/fd/{number}"));
    opened.map_err(|error| {
        let reason = match error.kind() == ErrorKind::NotFound {
            true => "it is not open".to_owned(),
            false => error.to_string(),
        };
        Failure::new(
            Exit::Usage,
            format!("cannot write to file descriptor {number}: {reason}"),
        )
        .with_hint(format!(
            "hand down a pipe or a file, as in `--ready-fd {number} {number}>ready`"
        ))
    })
}

#[cfg(not(unix))]
fn open_descriptor(_number: u32) -> Result<File, Failure> {
    Err(Failure::new(
        Exit::Usage,
        "--ready-fd needs inherited file descriptors, which this system does not have",
    )
    .with_hint("wait for the `connected` events of --json instead"))
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn ready_reaches_the_pipe() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let number = writer.as_raw_fd().try_into().unwrap();
        let readiness = Readiness::open(Some(number)).unwrap();
        drop(writer);
        readiness.announce().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "READY\n");
    }

    #[test]
    fn ready_is_appended_to_a_file() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, "before\n").unwrap();
        let number = path.as_raw_fd().try_into().unwrap();
        Readiness::open(Some(number)).unwrap().announce().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\nREADY\n");
    }

    #[test]
    fn a_closed_descriptor_is_a_usage_error() {
        let failure = Readiness::open(Some(65_535)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.message,
            "cannot write to file descriptor 65535: it is not open"
        );
    }

    #[test]
    fn a_socket_is_refused() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let number = socket.as_raw_fd().try_into().unwrap();
        let failure = Readiness::open(Some(number)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nothing_up() {
        let (_reader, mut writer) = std::io::pipe().unwrap();
        let readiness = Readiness::open(Some(writer.as_raw_fd().try_into().unwrap())).unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while writer.write(&[0; 4096]).is_ok() {}
        assert!(readiness.announce().is_err());
    }

    #[test]
    fn a_reader_that_left_is_reported() {
        let (reader, writer) = std::io::pipe().unwrap();
        let readiness = Readiness::open(Some(writer.as_raw_fd().try_into().unwrap())).unwrap();
        drop((reader, writer));
        assert!(readiness.announce().is_err());
    }
}
