//! Finds the processes of a session by a mark in their environment.

use std::io::Read;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use rustix::process::Pid;

/// The environment variable that marks a session's processes: whatever they start inherits it.
///
/// Process groups do not hold them together: shells, and commands as `timeout`, put what they start
/// into groups of its own.
pub(in crate::lab::agent) const MARK: &str = "SSMFWD_LAB_SESSION";

/// Bytes that an environment has at most, unless limits are raised (execve(2): a quarter of the stack's).
const MAX_LEN: usize = 2 * 1024 * 1024;

/// How often, and after what time, an environment that is missing is looked for again.
const RETRIES: usize = 100;
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// The running processes with a session's mark. Only Linux tells them; elsewhere there seem to be
/// none, and only the group's processes are ended.
pub(super) fn marked_processes(session_id: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mark = format!("{MARK}={session_id}");
    let mut buffer = vec![0; MAX_LEN];
    let mut is_marked = |entry: &fs::DirEntry| {
        environment(&entry.path(), &mut buffer)
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
    };
    let processes = entries.flatten().filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let process = Pid::from_raw(id)?;
        is_marked(&entry).then_some(process)
    });
    processes.collect()
}

/// The environment of the process with this directory in `/proc`; empty where it cannot be read.
///
/// Read by one call: a second one gets nothing if the process became another program meanwhile.
fn environment<'a>(process: &Path, buffer: &'a mut [u8]) -> &'a [u8] {
    for _ in 0..RETRIES {
        let read = fs::File::open(process.join("environ")).and_then(|mut file| file.read(buffer));
        match read {
            Ok(0) if may_be_between_programs(process) => thread::sleep(RETRY_INTERVAL),
            read => return &buffer[..read.unwrap_or(0)],
        }
    }
    &[]
}

/// Whether a process whose environment was missing may have been becoming another program (execve(2)): it has memory, as
/// zombies and threads of the kernel have not, and it is not certain that its environment is empty.
fn may_be_between_programs(process: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(process.join("stat")) else {
        return false;
    };
    // The name of the program stands in parentheses, and may contain some; the third field follows (proc_pid_stat(5)).
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3);
    let (memory_len, code_end, begin, end) = (field(23), field(27), field(50), field(51));
    // The end of the code is 0 until the place of the environment is final.
    let is_empty = code_end != Some("0") && begin == end;
    memory_len != Some("0") && !is_empty
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn spawn(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    /// A process that ends with its test.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn a_process_is_found_while_it_becomes_another_program() {
        let session_id = format!("exec-{}", std::process::id());
        let again = r#"exec sh -c "$0" "$0""#;
        let _process = spawn(
            Command::new("sh")
                .args(["-c", again, again])
                .env(MARK, &session_id),
        );
        for _ in 0..100 {
            assert_eq!(marked_processes(&session_id).len(), 1);
        }
    }

    #[test]
    fn an_environment_that_is_empty_is_not_looked_for_again() {
        let process = spawn(Command::new("sleep").arg("600").env_clear());
        let directory = format!("/proc/{}", process.0.id());
        while may_be_between_programs(Path::new(&directory)) {
            thread::yield_now();
        }
    }
}
