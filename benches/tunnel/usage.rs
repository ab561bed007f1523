//! What a process uses, where the system has /proc.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use crate::Result;

/// Processor time in user and kernel mode so far; `None` without /proc.
pub(crate) fn cpu(pid: u32) -> Result<Option<Duration>> {
    let Some(stat) = read(pid, "stat")? else {
        return Ok(None);
    };
    // The command's name, in parentheses, may contain anything; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').ok_or("a stat file without a name")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u32>);
    let ticks = ticks.sum::<std::result::Result<u32, _>>()?;
    Ok(Some(TICK * ticks))
}

/// Resident bytes; `None` without /proc.
///
/// Counted page by page: the figure of the status file is kept per processor and off by up to half a megabyte.
pub(crate) fn memory(pid: u32) -> Result<Option<u64>> {
    let Some(rollup) = read(pid, "smaps_rollup")? else {
        return Ok(None);
    };
    let kibibytes = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"))
        .ok_or("a smaps_rollup file without Rss")?;
    Ok(Some(kibibytes.parse::<u64>()? * 1024))
}

fn read(pid: u32, name: &str) -> Result<Option<String>> {
    let directory = PathBuf::from(format!("/proc/{pid}"));
    match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && !Path::new("/proc/self").exists() =>
        {
            Ok(None)
        }
        Err(error) => Err(format!("/proc/{pid}/{name}: {error}").into()),
    }
}

/// The unit of times in /proc, `USER_HZ`: the same on every Linux that Rust supports.
const TICK: Duration = Duration::from_millis(10);
