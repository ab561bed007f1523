use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Option<Host> {
    Some(Host::Name(text.to_owned()))
}

fn ip(text: &str) -> Option<Host> {
    Some(Host::Ip(text.parse().unwrap()))
}

fn unix(path: &str) -> Local {
    Local::Unix(PathBuf::from(path))
}

fn tcp(address: &str) -> Local {
    Local::Tcp(address.parse().unwrap())
}

#[test]
fn every_form_of_the_grammar() {
    let table = [
        ("80", None, 80, Local::Loopback(80)),
        ("80:9090", None, 80, Local::Loopback(9090)),
        ("080:09090", None, 80, Local::Loopback(9090)),
        ("80:0", None, 80, Local::Loopback(0)),
        ("80:0.0.0.0:9090", None, 80, tcp("0.0.0.0:9090")),
        ("80:127.0.0.2:0", None, 80, tcp("127.0.0.2:0")),
        ("80:[::]:9090", None, 80, tcp("[::]:9090")),
        ("80:/a:b.sock", None, 80, unix("/a:b.sock")),
        ("80:./x.sock", None, 80, unix("./x.sock")),
        ("80:unix:name", None, 80, unix("name")),
        ("80:unix:../x", None, 80, unix("../x")),
        ("80:unix:/a/b", None, 80, unix("/a/b")),
        ("80:unix:unix:x", None, 80, unix("unix:x")),
        ("80:unix:9090", None, 80, unix("9090")),
        (
            "5432:/run/user/1000/pg.sock",
            None,
            5432,
            unix("/run/user/1000/pg.sock"),
        ),
        ("db:3306", name("db"), 3306, Local::Loopback(3306)),
        ("db:3306:50003", name("db"), 3306, Local::Loopback(50003)),
        (
            "db.internal.:1:2",
            name("db.internal."),
            1,
            Local::Loopback(2),
        ),
        ("my_db-1.x:1", name("my_db-1.x"), 1, Local::Loopback(1)),
        ("0x50:1", name("0x50"), 1, Local::Loopback(1)),
        ("1st.example:1", name("1st.example"), 1, Local::Loopback(1)),
        ("unix:80", name("unix"), 80, Local::Loopback(80)),
        (
            "10.0.1.24:22:50002",
            ip("10.0.1.24"),
            22,
            Local::Loopback(50002),
        ),
        (
            "10.0.1.24:22:10.0.1.25:23",
            ip("10.0.1.24"),
            22,
            tcp("10.0.1.25:23"),
        ),
        ("[::1]:80:[::1]:90", ip("::1"), 80, tcp("[::1]:90")),
        ("[fd00::24]:80:./x:y", ip("fd00::24"), 80, unix("./x:y")),
        ("65535:65535", None, 65535, Local::Loopback(65535)),
    ];
    for (text, host, remote_port, local) in table {
        let expected = Forward {
            host,
            remote_port,
            local,
        };
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
}

#[test]
fn every_mistake_is_named() {
    use ParseForwardError as E;
    let table = [
        ("", E::Empty),
        (":80", E::HostMissing),
        (":", E::HostMissing),
        (":::", E::BareIpv6),
        ("::1:80", E::BareIpv6),
        ("fe80::1:80:9090", E::BareIpv6),
        ("2001:db8::1:80", E::BareIpv6),
        ("1:2:3:4:5:6:7:8", E::BareIpv6),
        ("[::1:80", E::UnclosedBracket),
        ("[db]:80", E::Ipv6("db".into())),
        ("[10.0.0.1]:80", E::Ipv6("10.0.0.1".into())),
        ("[::1]80", E::RemotePortMissing("[::1]".into())),
        ("[::1]", E::RemotePortMissing("[::1]".into())),
        ("[::1]:", E::RemotePortMissing("[::1]".into())),
        ("db", E::RemotePortMissing("db".into())),
        ("db:", E::RemotePortMissing("db".into())),
        ("db::80", E::BareIpv6),
        ("web::80", E::RemotePortMissing("web".into())),
        ("10.0.1.256:22", E::Ipv4("10.0.1.256".into())),
        ("1.2:22", E::Ipv4("1.2".into())),
        ("my db:22", E::Host("my db".into())),
        ("http://db:80", E::RemotePort("//db".into())),
        ("-db:80", E::Host("-db".into())),
        ("a..b:80", E::Host("a..b".into())),
        ("0", E::RemotePortRange("0".into())),
        ("0:1", E::RemotePortRange("0".into())),
        ("70000", E::RemotePortRange("70000".into())),
        ("db:0", E::RemotePortRange("0".into())),
        ("db:+80", E::RemotePort("+80".into())),
        ("db:web", E::RemotePort("web".into())),
        (
            "db:99999999999999999999",
            E::RemotePortRange("99999999999999999999".into()),
        ),
        ("80:", E::LocalMissing),
        ("db:80:", E::LocalMissing),
        ("80:70000", E::LocalPort("70000".into())),
        ("80:+90", E::Local("+90".into())),
        ("80::web", E::Local(":web".into())),
        ("80:localhost:90", E::Local("localhost:90".into())),
        ("80:10.0.0.1", E::Local("10.0.0.1".into())),
        ("80:10.0.0.1:70000", E::Local("10.0.0.1:70000".into())),
        ("80:[::1]", E::Local("[::1]".into())),
        ("80:../x", E::Local("../x".into())),
        ("80:x.sock", E::Local("x.sock".into())),
        ("80:unix:", E::SocketName(String::new())),
        ("80:/", E::SocketName("/".into())),
        ("80:./", E::SocketName("./".into())),
    ];
    for (text, error) in table {
        assert_eq!(text.parse::<Forward>(), Err(error), "{text}");
    }
}

#[test]
fn every_error_shows_an_example_that_parses() {
    for text in [
        "", ":80", "my db:1", "1.2:3", "[x]:1", "[::", "::1", "db", "0", "80:", "80:70000", "80:x",
        "80:/",
    ] {
        let message = text.parse::<Forward>().unwrap_err().to_string();
        let (_, advice) = message.split_once("; ").expect(&message);
        let examples: Vec<_> = advice.split('`').skip(1).step_by(2).collect();
        assert!(!examples.is_empty(), "{message}");
        for example in examples {
            assert!(example.parse::<Forward>().is_ok(), "{example} in {message}");
        }
    }
}

#[test]
fn loopback_hosts_are_the_target_itself() {
    let own = [
        "80",
        "localhost:80",
        "LocalHost.:80",
        "db.localhost:80",
        "127.0.0.1:80",
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
    ];
    for text in own {
        let forward: Forward = text.parse().unwrap();
        assert_eq!(
            forward.document(),
            "AWS-StartPortForwardingSession",
            "{text}"
        );
    }
    for text in [
        "db:80",
        "notlocalhost:80",
        "localhost.db:80",
        "128.0.0.1:80",
        "[::2]:80",
        "10.0.0.1:80",
    ] {
        let forward: Forward = text.parse().unwrap();
        assert_eq!(
            forward.document(),
            "AWS-StartPortForwardingSessionToRemoteHost",
            "{text}"
        );
    }
}

#[test]
fn ipv6_hosts_lose_their_brackets_as_a_parameter() {
    let forward: Forward = "[fd00::24]:80".parse().unwrap();
    assert_eq!(forward.host.unwrap().to_parameter(), "fd00::24");
}

#[test]
fn conflicts_between_local_addresses() {
    let conflicting = [
        ("9090", "9090"),
        ("9090", "127.0.0.1:9090"),
        ("9090", "[::1]:9090"),
        ("9090", "0.0.0.0:9090"),
        ("0.0.0.0:9090", "10.0.0.1:9090"),
        ("[::]:9090", "[::1]:9090"),
        ("/a", "unix:/a"),
    ];
    let compatible = [
        ("0", "0"),
        ("127.0.0.1:0", "0"),
        ("9090", "9091"),
        ("9090", "127.0.0.2:9090"),
        ("127.0.0.1:9090", "[::1]:9090"),
        ("127.0.0.1:9090", "127.0.0.2:9090"),
        ("/a", "/b"),
        ("9090", "/9090"),
    ];
    let table = conflicting
        .map(|pair| (pair, true))
        .into_iter()
        .chain(compatible.map(|pair| (pair, false)));
    for ((a, b), expected) in table {
        let (a, b): (Local, Local) = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(a.conflicts_with(&b), expected, "{a} {b}");
        assert_eq!(b.conflicts_with(&a), expected, "{b} {a}");
    }
}

#[test]
fn only_addresses_off_loopback_are_exposed() {
    for (text, expected) in [
        ("80", false),
        ("127.0.0.2:80", false),
        ("[::1]:80", false),
        ("/a", false),
        ("0.0.0.0:80", true),
        ("[::]:80", true),
        ("10.0.0.1:80", true),
    ] {
        assert_eq!(
            text.parse::<Local>().unwrap().is_exposed(),
            expected,
            "{text}"
        );
    }
}

fn any_forward() -> impl Strategy<Value = Forward> {
    let host = prop_oneof![
        any::<IpAddr>().prop_map(Host::Ip),
        "[a-z_]([a-z0-9_-]{0,20}[a-z0-9])?(\\.[a-z0-9]{1,10}){0,3}\\.?".prop_map(Host::Name),
    ];
    let local = prop_oneof![
        any::<u16>().prop_map(Local::Loopback),
        any::<(IpAddr, u16)>().prop_map(|pair| Local::Tcp(pair.into())),
        "(\\.{0,2}/)?[^/\u{0}]{1,20}(/[^/\u{0}]{1,9}){0,2}"
            .prop_filter("names a directory", |path| PathBuf::from(path)
                .file_name()
                .is_some())
            .prop_map(|path| Local::Unix(path.into())),
    ];
    (proptest::option::of(host), 1..=u16::MAX, local).prop_map(|(host, remote_port, local)| {
        Forward {
            host,
            remote_port,
            local,
        }
    })
}

proptest! {
    #[test]
    fn display_round_trips(forward in any_forward()) {
        prop_assert_eq!(forward.to_string().parse(), Ok(forward));
    }

    #[test]
    fn any_text_parses_or_is_refused_without_panic(text in "[0-9a-f.:/\\[\\]x€-]{0,24}|.*") {
        if let Ok(forward) = text.parse::<Forward>() {
            prop_assert_eq!(forward.to_string().parse(), Ok(forward));
        }
    }
}
