use std::collections::BTreeMap;

use super::*;

fn proxies(variables: &[(&str, &str)]) -> Proxies {
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    Proxies::configured(None, |name| variables.get(name).map(ToString::to_string))
}

/// The proxy to an encrypted host, as text.
fn to(proxies: &Proxies, host: &str, port: u16) -> Option<String> {
    proxies
        .to(host, port, true)
        .unwrap()
        .map(ToString::to_string)
}

#[test]
fn each_scheme_has_its_variable_in_both_cases() {
    let own = proxies(&[
        ("HTTPS_PROXY", "http://secure:1"),
        ("http_proxy", "plain:2"),
        ("all_proxy", "http://other:3"),
    ]);
    assert_eq!(
        to(&own, "a.example", 443).unwrap(),
        "secure:1 (HTTPS_PROXY)"
    );
    let plain = own.to("a.example", 80, false).unwrap().unwrap();
    assert_eq!(plain.to_string(), "plain:2 (http_proxy)");
    let all = proxies(&[("ALL_PROXY", "http://other")]);
    assert_eq!(to(&all, "a.example", 443).unwrap(), "other:80 (ALL_PROXY)");
    assert!(all.to("a.example", 80, false).unwrap().is_some());
    // For unencrypted requests alone.
    let http = proxies(&[("HTTP_PROXY", "http://plain:2")]);
    assert_eq!(to(&http, "a.example", 443), None);
}

#[test]
fn the_flag_comes_before_the_environment_but_not_before_exceptions() {
    let flag: ProxyUrl = "https://flag".parse().unwrap();
    let variable = |name: &str| match name {
        "HTTPS_PROXY" => Some("http://secure:1".to_owned()),
        "no_proxy" => Some("corp.example".to_owned()),
        _ => None,
    };
    let proxies = Proxies::configured(Some(&flag), variable);
    assert_eq!(
        to(&proxies, "a.example", 443).unwrap(),
        "flag:443 (--proxy)"
    );
    assert!(
        proxies
            .to("a.example", 443, true)
            .unwrap()
            .unwrap()
            .is_tls()
    );
    assert_eq!(to(&proxies, "x.corp.example", 443), None);
}

#[test]
fn exceptions_are_those_of_go_and_curl() {
    let table = [
        ("example.com", "example.com", 443, true),
        ("example.com", "EXAMPLE.com", 443, true),
        ("example.com", "a.example.com", 443, true),
        ("example.com", "notexample.com", 443, false),
        (".example.com", "a.example.com", 443, true),
        (".example.com", "notexample.com", 443, false),
        ("*.example.com", "a.example.com", 443, true),
        ("*.example.com", "notexample.com", 443, false),
        ("*", "anything", 443, true),
        ("*", "52.1.2.3", 443, true),
        ("*", "[2600::1]", 443, true),
        ("*:443", "52.1.2.3", 443, true),
        ("*:443", "52.1.2.3", 80, false),
        ("example.com:https", "example.com", 443, false),
        ("http://example.com", "http", 443, false),
        ("a, b.example  c", "b.example", 443, true),
        ("a,b.example c", "c", 443, true),
        ("example.com:8443", "example.com", 8443, true),
        ("example.com:8443", "example.com", 443, false),
        ("10.0.0.0/8", "10.1.2.3", 443, true),
        ("10.0.0.0/8", "11.1.2.3", 443, false),
        ("10.0.0.0/8", "10.example", 443, false),
        ("10.1.2.3", "10.1.2.3", 443, true),
        ("10.1.2.3:443", "10.1.2.3", 443, true),
        ("10.1.2.3:443", "10.1.2.3", 80, false),
        ("fd00::/8", "[fd00::5]", 443, true),
        ("fd00::5", "fd00::5", 443, true),
        ("[fd00::5]:443", "[fd00::5]", 443, true),
        ("[fd00::5]:443", "[fd00::5]", 444, false),
        ("[fd00::5]", "[fd00::6]", 443, false),
        (
            ".vpce.amazonaws.com",
            "vpce-1.ssm.eu-west-1.vpce.amazonaws.com",
            443,
            true,
        ),
        (",, ,", "a", 443, false),
        ("", "a", 443, false),
    ];
    for (list, host, port, is_exempt) in table {
        let proxies = proxies(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", list)]);
        assert_eq!(
            to(&proxies, host, port).is_none(),
            is_exempt,
            "{list:?}: {host}:{port}"
        );
    }
}

#[test]
fn what_is_on_this_machine_or_its_link_needs_no_proxy() {
    let all = proxies(&[("ALL_PROXY", "http://p:1")]);
    for host in [
        "localhost",
        "127.0.0.1",
        "::1",
        "[::1]",
        "169.254.169.254",
        "169.254.170.2",
        "[fd00:ec2::254]",
    ] {
        assert_eq!(to(&all, host, 80), None, "{host}");
        assert!(all.to(host, 80, false).unwrap().is_none(), "{host}");
    }
}

#[test]
fn user_and_password_are_decoded_and_not_shown() {
    let proxies = proxies(&[(
        "HTTPS_PROXY",
        "http://al%40ice:p%3Ass%2Fw%C3%B6rd@[fd00::1]:3128/ignored",
    )]);
    let proxy = proxies.to("a.example", 443, true).unwrap().unwrap();
    // printf 'al@ice:p:ss/wörd' | base64
    assert_eq!(
        proxy.authorization().unwrap(),
        "Basic YWxAaWNlOnA6c3Mvd8O2cmQ="
    );
    assert_eq!((proxy.host(), proxy.port()), ("[fd00::1]", 3128));
    let bare = self::proxies(&[("HTTPS_PROXY", "u:p@proxy:3128")]);
    let bare = bare.to("a.example", 443, true).unwrap().unwrap();
    assert_eq!(bare.authorization().unwrap(), "Basic dTpw");
    let url: ProxyUrl = "http://u:S3CRET@p".parse().unwrap();
    assert!(url.has_user());
    for shown in [
        format!("{proxies:?}"),
        format!("{proxy}"),
        format!("{url:?}"),
    ] {
        assert!(
            !shown.contains("S3CRET") && !shown.contains("Basic"),
            "{shown}"
        );
    }
}

#[test]
fn what_cannot_be_a_proxy_matters_to_those_who_need_it() {
    for (url, why) in [
        ("socks5://p:1080", "not SOCKS"),
        ("ftp://p", "not a URL"),
        ("http://u:p@ss@p:1", "%40 for @"),
        ("http://u:S3CRET#@p:1", "%23 for #"),
        ("http://", "not a URL"),
        ("http://alice:12/S3CRET@p:1", "%2F for /"),
        ("http://alice:12?S3CRET@p:1", "%3F for ?"),
        ("http://alice:12#S3CRET@p:1", "%23 for #"),
        ("alice:12/S3CRET@p:1", "%2F for /"),
        ("http://alice:12@S3CRET/@p:1", "%2F for /"),
    ] {
        let proxies = proxies(&[("ALL_PROXY", url)]);
        let failure = proxies.to("a.example", 443, true).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.is_permanent, "{failure}");
        assert!(
            failure.message.contains("the proxy of ALL_PROXY"),
            "{failure}"
        );
        assert!(failure.message.contains(why), "{url}: {failure}");
        assert!(!failure.message.contains("S3CRET"), "{failure}");
        assert_eq!(to(&proxies, "localhost", 443), None);
    }
}
