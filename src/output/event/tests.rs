use serde_json::json;

use super::*;
use crate::failure::Exit;
use crate::local::Address;

fn connected(forward: &str, address: Address) -> Event {
    Event::Connected {
        mapping: Mapping::new("i-0abc", &forward.parse().unwrap(), &address),
        target_id: "i-0abc".into(),
        session_id: "me-0123".into(),
        agent_version: "3.3.987.0".into(),
    }
}

#[test]
fn a_forward_is_announced_the_way_it_is_used() {
    let tcp = |text: &str| Address::Tcp(text.parse().unwrap());
    let table = [
        (
            "80:9090",
            Address::Localhost(9090),
            "80 of i-0abc is now http://localhost:9090",
        ),
        (
            "443:0",
            Address::Localhost(4443),
            "443 of i-0abc is now https://localhost:4443",
        ),
        (
            "localhost:5432",
            Address::Localhost(5432),
            "5432 of i-0abc is now localhost:5432",
        ),
        (
            "80:[::1]:90",
            tcp("[::1]:90"),
            "80 of i-0abc is now http://[::1]:90",
        ),
        (
            "80:/a.sock",
            Address::Unix("/a.sock".into()),
            "80 of i-0abc is now /a.sock",
        ),
        (
            "db.internal:5432:15432",
            Address::Localhost(15432),
            "db.internal:5432 through i-0abc is now localhost:15432",
        ),
        (
            "[fd00::1]:80:1",
            Address::Localhost(1),
            "[fd00::1]:80 through i-0abc is now http://localhost:1",
        ),
    ];
    for (forward, address, sentence) in table {
        assert_eq!(connected(forward, address).to_string(), sentence);
    }
    let named = Event::Connected {
        mapping: Mapping::new(
            "web",
            &"80:9090".parse().unwrap(),
            &Address::Localhost(9090),
        ),
        target_id: "i-0abc".into(),
        session_id: "me-0123".into(),
        agent_version: "3.3.987.0".into(),
    };
    assert_eq!(
        named.to_string(),
        "80 of web (i-0abc) is now http://localhost:9090"
    );
}

#[test]
fn json_names_are_stable() {
    let listening = Event::Listening {
        mapping: Mapping::new(
            "i-0abc",
            &"5432:./x".parse().unwrap(),
            &Address::Unix("./x".into()),
        ),
        lazy: false,
    };
    let opened = Event::ConnectionOpened {
        forward: "80".into(),
        connection: 1,
        peer: "127.0.0.1:5".into(),
    };
    let closed = |outcome, reason| Event::ConnectionClosed {
        forward: "80".into(),
        connection: 1,
        sent: 2,
        received: 3,
        outcome,
        reason,
    };
    let table = [
        (
            listening,
            json!({"event": "listening", "target": "i-0abc", "forward": "5432:./x", "remote_port": 5432,
                   "address": "./x"}),
        ),
        (
            connected("db:1:2", Address::Localhost(2)),
            json!({"event": "connected", "target": "i-0abc", "forward": "db:1:2", "remote_host": "db",
                   "remote_port": 1, "address": "localhost:2", "port": 2, "target_id": "i-0abc", "session_id": "me-0123",
                   "agent_version": "3.3.987.0"}),
        ),
        (
            opened,
            json!({"event": "connection_opened", "forward": "80", "connection": 1, "peer": "127.0.0.1:5"}),
        ),
        (
            closed(Outcome::Closed, None),
            json!({"event": "connection_closed", "forward": "80", "connection": 1, "sent": 2, "received": 3,
                   "outcome": "closed"}),
        ),
        (
            closed(Outcome::Refused, Some("refused".into())),
            json!({"event": "connection_closed", "forward": "80", "connection": 1, "sent": 2, "received": 3,
                   "outcome": "refused", "reason": "refused"}),
        ),
        (
            Event::SessionStarted {
                forward: "80".into(),
                session_id: "me-4567".into(),
                reason: "a stream is stalled".into(),
            },
            json!({"event": "session_started", "forward": "80", "session_id": "me-4567",
                   "reason": "a stream is stalled"}),
        ),
        (
            Event::SessionLost {
                forward: "80".into(),
                session_id: "me-4567".into(),
                reason: "terminated".into(),
                connections: 2,
            },
            json!({"event": "session_lost", "forward": "80", "session_id": "me-4567", "reason": "terminated",
                   "connections": 2}),
        ),
        (Event::Delivering, json!({"event": "delivering"})),
        (
            Event::Closed {
                session_id: "me-0123".into(),
                reason: "timed out".into(),
            },
            json!({"event": "closed", "session_id": "me-0123", "reason": "timed out"}),
        ),
        (
            Event::Reconnecting {
                forward: Some("80".into()),
                session_id: "me-0123".into(),
                reason: "cut".into(),
                action: Action::RestartOnDemand,
            },
            json!({"event": "reconnecting", "forward": "80", "session_id": "me-0123", "reason": "cut",
                   "action": "restart_on_demand"}),
        ),
        (
            Event::Waiting {
                forward: Some("80".into()),
                session_id: None,
                reason: "expired".into(),
                hint: Some("log in".into()),
            },
            json!({"event": "waiting", "forward": "80", "reason": "expired", "hint": "log in"}),
        ),
        (
            Event::Resumed {
                forward: Some("80".into()),
                session_id: "me-0123".into(),
                gap: 1.5,
                planned: false,
            },
            json!({"event": "resumed", "forward": "80", "session_id": "me-0123", "gap": 1.5, "planned": false}),
        ),
        (
            Event::Restarted {
                forward: "80".into(),
                session_id: "me-4567".into(),
                previous_session_id: "me-0123".into(),
                reason: "terminated".into(),
                gap: 2.0,
            },
            json!({"event": "restarted", "forward": "80", "session_id": "me-4567",
                   "previous_session_id": "me-0123", "reason": "terminated", "gap": 2.0}),
        ),
        (
            Event::from(&Failure::new(Exit::Address, "busy").with_hint("another")),
            json!({"event": "error", "message": "busy", "hint": "another", "exit_code": 5}),
        ),
        (
            Event::from(&Failure::new(Exit::Failure, "broken")),
            json!({"event": "error", "message": "broken", "exit_code": 1}),
        ),
    ];
    for (event, expected) in table {
        assert_eq!(serde_json::to_value(&event).unwrap(), expected);
    }
}

#[test]
fn only_a_refused_connection_is_worth_a_line() {
    let closed = |outcome, reason: Option<&str>| Event::ConnectionClosed {
        forward: "80".into(),
        connection: 1,
        sent: 0,
        received: 0,
        outcome,
        reason: reason.map(str::to_owned),
    };
    assert_eq!(
        closed(Outcome::Closed, None).verbosity(),
        Verbosity::Verbose
    );
    let lost = closed(Outcome::Lost, Some("the session ended"));
    assert_eq!(lost.verbosity(), Verbosity::Verbose);
    let refused = closed(Outcome::Refused, Some("refused\n"));
    assert_eq!(refused.verbosity(), Verbosity::Normal);
    assert_eq!(refused.to_string(), "connection 1 of 80 was reset: refused");
    let held = closed(Outcome::HeldTooLong, Some("nothing came"));
    assert_eq!(
        held.to_string(),
        "connection 1 of 80 closed: 0 bytes sent, 0 bytes received; nothing came"
    );
}

#[test]
fn the_end_of_a_session_names_it_once() {
    let closed = |reason: &str| Event::Closed {
        session_id: "me-0a".into(),
        reason: reason.into(),
    };
    assert_eq!(
        closed("terminated").to_string(),
        "session me-0a ended: terminated"
    );
    assert_eq!(
        closed("session me-0a was ended by the service").to_string(),
        "session me-0a was ended by the service"
    );
}

#[test]
fn a_sentence_of_the_services_is_part_of_a_line() {
    let reconnecting = Event::Reconnecting {
        forward: Some("80".into()),
        session_id: "me-0a".into(),
        reason: "session me-0a was ended: Your session timed out.\n".into(),
        action: Action::RestartOnDemand,
    };
    assert_eq!(
        reconnecting.to_string(),
        "80: session me-0a was ended: Your session timed out; any open connections were reset, the next one starts a new \
         session"
    );
}
