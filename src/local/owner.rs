//! Which process holds a local port, as far as Linux tells this user.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// Names the process whose listening socket keeps others from listening on `address`.
///
/// `None` when it belongs to another user or is gone.
pub(super) fn of_port(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, address))
        .collect();
    let links: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    process(pid_with_descriptor(&links)?)
}

/// Names process `pid`: its command and its number.
pub(super) fn process(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    // A process names itself: the name must not be able to steer a terminal.
    let name: String = name
        .trim_end()
        .chars()
        .filter(|char| !char.is_control())
        .collect();
    Some(format!("{name} (process {pid})"))
}

/// The inodes of the sockets in `table`, a `/proc/net/tcp` or `tcp6`, that listen where `address` would.
fn listening_inodes(table: &str, address: SocketAddr) -> Vec<u64> {
    let lines = table.lines().skip(1);
    lines
        .filter_map(|line| listening_inode(line, address))
        .collect()
}

/// Columns, separated by spaces: slot, local address, remote address, state, queues, timer, retransmits, user, timeout, inode.
fn listening_inode(line: &str, address: SocketAddr) -> Option<u64> {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let local = decode_address(columns.next()?)?;
    let state = columns.nth(1)?;
    let inode = columns.nth(5)?;
    (state == LISTEN && stands_in_the_way(local, address)).then(|| inode.parse().ok())?
}

/// TCP_LISTEN of the kernel, in hexadecimal.
const LISTEN: &str = "0A";

/// Decodes `0100007F:2382`: 32-bit groups in the machine's byte order, a big-endian port.
fn decode_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::with_capacity(16);
    for group in ip.as_bytes().chunks(8) {
        let group = u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok()?;
        octets.extend(group.to_ne_bytes());
    }
    let ip = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
    };
    Some((ip, port).into())
}

fn stands_in_the_way(listening: SocketAddr, wanted: SocketAddr) -> bool {
    let [listening_ip, wanted_ip] = [listening, wanted].map(|address| address.ip().to_canonical());
    let is_any =
        |ip| ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    listening.port() == wanted.port()
        && (listening_ip == wanted_ip || is_any(listening_ip) || is_any(wanted_ip))
}

/// Finds the process that has one of `links` open, among those whose descriptors this user may see.
fn pid_with_descriptor(links: &[String]) -> Option<u32> {
    if links.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        descriptors.is_ok_and(|mut descriptors| {
            descriptors.any(|entry| entry.is_ok_and(|entry| leads_to(&entry.path(), links)))
        })
    })
}

fn leads_to(descriptor: &Path, links: &[String]) -> bool {
    let link = fs::read_link(descriptor);
    link.is_ok_and(|link| {
        links
            .iter()
            .any(|wanted| link.as_os_str() == wanted.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 101 1 0 100 0 0 10 0
   1: 0500000A:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 102 1 0 100 0 0 10 0
   2: 0100007F:2382 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 103 1 0 20 4 30 10 -1
   3: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 104 1 0 100 0 0 10 0
";
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:2382 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 201 1 0 100 0 0 10 0
   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 202 1 0 100 0 0 10 0
";

    // The kernel writes addresses in the machine's byte order; these lines are from a little-endian one.
    #[cfg(target_endian = "little")]
    #[test]
    fn sockets_that_stand_in_the_way() {
        let table = [
            (TCP, "127.0.0.1:9090", vec![101]),
            (TCP, "0.0.0.0:9090", vec![101, 102]),
            (TCP, "127.0.0.1:80", vec![104]),
            (TCP, "127.0.0.1:81", vec![]),
            (TCP6, "[::1]:9090", vec![201]),
            (TCP6, "127.0.0.1:9090", vec![]),
            (TCP6, "127.0.0.1:8080", vec![202]),
        ];
        for (text, address, inodes) in table {
            assert_eq!(
                listening_inodes(text, address.parse().unwrap()),
                inodes,
                "{address}"
            );
        }
    }

    #[test]
    fn a_table_of_another_shape_names_nobody() {
        let lines = [
            "",
            "x",
            "0: zz:zz",
            "0: 0100007F:2382 0:0 0A",
            "0: 01:2382 0:0 0A 0 0 0 0 0 7",
            "é: é:é é é é",
        ];
        for line in lines {
            assert_eq!(
                listening_inode(line, "127.0.0.1:9090".parse().unwrap()),
                None,
                "{line}"
            );
        }
    }

    #[test]
    fn this_process_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = of_port(listener.local_addr().unwrap()).unwrap();
        assert!(
            holder.ends_with(&format!("(process {})", std::process::id())),
            "{holder}"
        );
    }
}
