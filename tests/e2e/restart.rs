//! Sessions that are gone and followed by others, behind listeners that stay.

use std::time::Duration;

use rustix::process::Signal;
use ssmfwd::lab::{Chaos, EndedBy, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Client, Fixture, TARGET, bounded, connect, eventually, expect_reset, unassigned_port,
};

async fn conversation(local: u16) -> TcpStream {
    let mut socket = connect(local).await;
    socket.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    let reading = socket.read_exact(&mut answer);
    bounded("the echo", reading).await.unwrap();
    socket
}

#[tokio::test]
async fn a_terminated_session_resets_its_connections_and_the_next_one_starts_another() {
    let fixture = Fixture::new().await;
    let (mut client, local) = fixture.forward(7).await;
    let mut sockets = [conversation(local).await, conversation(local).await];
    fixture.lab.inject(Fault::Terminate);
    for socket in &mut sockets {
        expect_reset(socket).await;
    }
    let lost = client.event("reconnecting").await;
    assert_eq!(lost["action"], "restart_on_demand", "{lost}");
    assert_eq!(fixture.lab.sessions().len(), 1);
    let mut socket = conversation(local).await;
    let restarted = client.event("restarted").await;
    assert_eq!(restarted["previous_session_id"], lost["session_id"]);
    let sessions = fixture.lab.sessions();
    assert_eq!(sessions.len(), 2);
    assert_eq!(restarted["session_id"], sessions[1].id.as_str());
    client.stop().await;
    expect_reset(&mut socket).await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn an_administrator_has_the_last_word() {
    let fixture = Fixture::new().await;
    let (mut client, local) = fixture.forward(7).await;
    for _ in 0..5 {
        fixture.lab.inject(Fault::Terminate);
        client.event("reconnecting").await;
        conversation(local).await;
        client.event("restarted").await;
    }
    fixture.lab.inject(Fault::Terminate);
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(6), "{}", exit.stderr);
    assert_eq!(fixture.lab.sessions().len(), 6);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_forward_that_is_over_is_named_and_its_port_closed() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&[&format!("7:{}", unassigned_port()), "7:0"]);
    let (one, other) = (client.connected().await, client.connected().await);
    fixture.lab.inject(Fault::Terminate);
    fixture.lab.update_chaos("deny=StartSession").unwrap();
    client.event("reconnecting").await;
    client.event("reconnecting").await;
    let mut asking = connect(one).await;
    let error = client.event("error").await;
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(" is over, others go on: "), "{message}");
    expect_reset(&mut asking).await;
    eventually("a closed port", || {
        std::net::TcpStream::connect(("127.0.0.1", one)).is_err()
    })
    .await;
    fixture.lab.set_chaos(Chaos::default());
    conversation(other).await;
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_session_that_timed_out_is_followed_by_another_one_when_it_is_needed() {
    let idle_timeout = Duration::from_millis(500);
    let fixture = Fixture::with(|config| config.idle_timeout = idle_timeout).await;
    let (mut client, local) = fixture.forward(7).await;
    for _ in 0..2 {
        let lost = client.event("reconnecting").await;
        assert_eq!(lost["action"], "restart_on_demand");
        let reason = lost["reason"].as_str().unwrap();
        assert!(reason.contains("timed out due to inactivity"), "{reason}");
        conversation(local).await;
        client.event("restarted").await;
    }
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn keep_alive_outlives_an_idle_timeout_that_ends_others() {
    // Half as long again as the interval of what counts as use.
    let idle_timeout = Duration::from_secs(15);
    let fixture = Fixture::with(|config| config.idle_timeout = idle_timeout).await;
    let mut kept = fixture.spawn(&["--keep-alive", "7:0"]);
    let kept_local = kept.connected().await;
    let (mut client, local) = fixture.forward(7).await;
    for _ in 0..2 {
        let lost = client.event("reconnecting").await;
        assert_eq!(lost["action"], "restart_on_demand", "{lost}");
        conversation(local).await;
        client.event("restarted").await;
    }
    conversation(kept_local).await;
    let exit = kept.stop().await;
    assert!(!exit.stdout.contains("\"reconnecting\""), "{}", exit.stdout);
    client.stop().await;
    // One that was kept, and one after the other.
    assert_eq!(fixture.lab.sessions().len(), 4);
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_session_that_is_gone_when_it_is_to_be_resumed_is_replaced_at_once() {
    let fixture = Fixture::with_chaos("deny=ResumeSession").await;
    let (mut client, local) = fixture.forward(7).await;
    let mut socket = conversation(local).await;
    fixture.lab.inject(Fault::Reset);
    expect_reset(&mut socket).await;
    client.event("restarted").await;
    conversation(local).await;
    // The one that could not be resumed is not left to its idle timeout.
    let sessions = fixture.lab.sessions();
    assert_eq!(sessions.len(), 2);
    let id = sessions[0].id.clone();
    assert!(!fixture.lab.end_session(&id, EndedBy::Caller), "it goes on");
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_reboot_is_waited_for() {
    let fixture = Fixture::new().await;
    let (mut client, local) = fixture.forward(7).await;
    fixture.lab.inject(Fault::Offline {
        target: None,
        length: Duration::from_secs(3),
    });
    client.event("reconnecting").await;
    conversation(local).await;
    let exit = client.stop().await;
    let names: Vec<_> = exit.events();
    let names: Vec<_> = names
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    let position = |name| names.iter().position(|found| *found == name);
    assert!(position("waiting").is_some(), "{names:?}");
    assert!(position("waiting") < position("restarted"), "{names:?}");
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_signal_while_the_target_is_waited_for_leaves_no_session() {
    for signal in [Signal::INT, Signal::TERM] {
        let fixture = Fixture::new().await;
        let (mut client, local) = fixture.forward(7).await;
        fixture.lab.inject(Fault::Offline {
            target: None,
            length: Duration::from_secs(3600),
        });
        client.event("reconnecting").await;
        let mut socket = connect(local).await;
        client.event("waiting").await;
        client.signal(signal);
        let exit = client.exit().await;
        assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
        expect_reset(&mut socket).await;
        fixture.no_session_left().await;
    }
}

#[tokio::test]
async fn permission_that_is_taken_away_is_final_for_its_forward() {
    let fixture = Fixture::new().await;
    let (mut client, local) = fixture.forward(7).await;
    fixture.lab.update_chaos("deny=StartSession").unwrap();
    fixture.lab.inject(Fault::Terminate);
    client.event("reconnecting").await;
    expect_reset(&mut connect(local).await).await;
    let exit = client.exit().await;
    assert_eq!(exit.code(), Some(3), "{}", exit.stderr);
    assert!(
        exit.stdout.contains("ssm:StartSession was denied"),
        "{}",
        exit.stdout
    );
    fixture.no_session_left().await;
}

#[tokio::test]
async fn nothing_is_started_before_it_is_needed() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["--lazy", "7:0", "80:0"]);
    let listening = client.event("listening").await;
    assert_eq!(listening["lazy"], true);
    let local = listening["port"].as_u64().unwrap().try_into().unwrap();
    conversation(local).await;
    client.event("connected").await;
    assert_eq!(fixture.lab.sessions().len(), 1);
    client.stop().await;
    fixture.no_session_left().await;
}

#[tokio::test]
async fn a_signal_before_anything_was_needed_has_nothing_to_end() {
    let fixture = Fixture::new().await;
    let mut client = fixture.spawn(&["--lazy", "7:0"]);
    client.event("listening").await;
    client.stop().await;
    assert_eq!(fixture.lab.sessions(), []);
}

#[tokio::test]
async fn an_agent_that_dies_costs_one_calm_line() {
    let fixture = Fixture::new().await;
    let mut client = Client::spawn(fixture.command(&[TARGET, "7:0"]));
    let ready = client.stderr_line(" is now ").await;
    let (_, local) = ready.trim_end().rsplit_once(':').unwrap();
    let local = local.parse().unwrap();
    fixture.lab.inject(Fault::KillAgents);
    let lost = client.stderr_line("7:0: ").await;
    assert!(
        lost.contains("any open connections were reset, the next one starts a new session"),
        "{lost}"
    );
    conversation(local).await;
    let back = client.stderr_line("7:0: ").await;
    assert!(
        back.starts_with("7:0: works again with a new session after "),
        "{back}"
    );
    let exit = client.stop().await;
    assert_eq!(exit.stderr.lines().count(), 3, "{}", exit.stderr);
    eventually("end of the sessions", || fixture.lab.sessions().len() == 2).await;
    fixture.no_session_left().await;
}
