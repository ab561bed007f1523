//! What an address, or the text of a host, tells about where it leads.

use std::net::{IpAddr, Ipv6Addr};

/// Takes the brackets off an IPv6 address.
pub(crate) fn without_brackets(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Tells whether `host` is this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = without_brackets(host).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Tells whether `host` is an address that only this machine and its link have, such as those of the instance metadata and
/// container credentials: what a proxy finds there is its own.
pub(crate) fn is_link_local(host: &str) -> bool {
    match without_brackets(host)
        .parse::<IpAddr>()
        .map(|address| address.to_canonical())
    {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local() || is_aws_metadata(address),
        Err(_) => false,
    }
}

/// `fd00:ec2::/32`: metadata and container credentials over IPv6 (Amazon EC2 User Guide, "Instance metadata").
fn is_aws_metadata(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0xfd00, 0x0ec2, ..])
}

/// Tells whether an address is private to a network, as those of VPC endpoints are (RFC 1918, RFC 6598, RFC 4193).
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_several_names() {
        for host in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.8.9.1",
            "[::1]",
            "::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "::2", "loopback", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn metadata_and_container_credentials_are_on_the_link() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "[fd00:ec2::254]",
            "fd00:ec2::23",
            "fe80::1",
        ] {
            assert!(is_link_local(host), "{host}");
        }
        for host in [
            "169.253.0.1",
            "fd00:ec3::254",
            "ssm.us-east-1.amazonaws.com",
        ] {
            assert!(!is_link_local(host), "{host}");
        }
    }

    #[test]
    fn addresses_of_vpc_endpoints_are_private() {
        for address in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.0.1",
            "fd12::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in [
            "52.94.1.1",
            "100.128.0.1",
            "100.63.0.1",
            "2a05::1",
            "172.32.0.1",
        ] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }
}
