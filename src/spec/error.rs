//! What can be wrong with a forward, and how to write it instead.

use thiserror::Error;

/// A forward that does not follow the grammar: which part is wrong, and an example that is right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseForwardError {
    /// There is no text at all.
    #[error("a forward is empty; name at least the remote port, as in `80`")]
    Empty,
    /// A colon with nothing in front of it.
    #[error("there is nothing in front of the first `:`; write `80:9090` or `db.internal:5432`")]
    HostMissing,
    /// Neither a DNS name nor an address.
    #[error("host `{0}` is not a DNS name or an IP address; write `db.internal:5432`")]
    Host(String),
    /// Digits and dots that are no address.
    #[error("host `{0}` is not an IPv4 address; write `10.0.1.24:5432`")]
    Ipv4(String),
    /// Brackets around something else than an IPv6 address.
    #[error("host `[{0}]` is not an IPv6 address; write `[fd00::24]:5432`")]
    Ipv6(String),
    /// An opening bracket without a closing one.
    #[error("the `[` of the IPv6 host is never closed; write `[fd00::24]:5432`")]
    UnclosedBracket,
    /// An IPv6 address whose end cannot be told from the port.
    #[error("an IPv6 address needs brackets; write `[fd00::24]:5432`")]
    BareIpv6,
    /// A host and no port.
    #[error("the remote port is missing after host `{0}`; write `{0}:5432`")]
    RemotePortMissing(String),
    /// Not a number.
    #[error("remote port `{0}` is not a number; write `80:9090`, or `db.internal:5432` for a host")]
    RemotePort(String),
    /// 0, or more than 65535.
    #[error("there is no remote port {0}; ports are 1 to 65535, as in `80:9090`")]
    RemotePortRange(String),
    /// A colon after the remote port and nothing behind it.
    #[error(
        "the local part after the last `:` is empty; write `80:9090`, or `80` for the same port on both sides"
    )]
    LocalMissing,
    /// A local port above 65535.
    #[error(
        "there is no local port {0}; ports are 1 to 65535, and 0 is any free one, as in `80:0`"
    )]
    LocalPort(String),
    /// None of the forms a local address has.
    #[error(
        "local part `{0}` is not a port, IP:PORT, or a socket path that starts with `/`, `./` or `unix:`; write `80:9090`, `80:127.0.0.1:9090` or `80:./web.sock`"
    )]
    Local(String),
    /// A directory, or nothing, where a socket's path belongs.
    #[error(
        "local socket path `{0}` names no file; write `80:/tmp/web.sock` or `80:unix:web.sock`"
    )]
    SocketName(String),
}
