//! The API, through the real SDK.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::{
    ConnectionStatus, InstanceInformationStringFilter, PingStatus, ResourceType, SessionFilter,
    SessionFilterKey, SessionState as State, SessionStatus,
};

use super::testing::{lab, lab_with, sdk, sdk_with, start_session};
use super::*;

#[track_caller]
fn assert_error<T: std::fmt::Debug, E: ProvideErrorMetadata>(
    result: Result<T, E>,
    code: &str,
    message: &str,
) {
    let error = result.unwrap_err();
    assert_eq!((error.code(), error.message()), (Some(code), Some(message)));
}

#[tokio::test]
async fn a_session_starts_and_terminates() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 8080).await;
    let id = session.session_id().unwrap();
    assert!(session.token_value().unwrap().len() > 20);
    let url = session.stream_url().unwrap();
    let prefix = format!("{}/v1/data-channel/{id}?role=", lab.endpoint_url());
    assert!(url.starts_with(&prefix.replacen("http", "ws", 1)), "{url}");
    assert!(url.contains('+') && url.ends_with('='), "{url}");

    let [record] = lab.sessions().try_into().unwrap();
    assert_eq!((record.id.as_str(), record.target.as_str()), (id, "i-0abc"));
    assert_eq!(record.document, "AWS-StartPortForwardingSession");
    assert_eq!(record.parameters["portNumber"], ["8080"]);
    assert_eq!(record.state, SessionState::Connecting);

    let terminated = sdk(&lab).terminate_session().session_id(id).send().await;
    assert_eq!(terminated.unwrap().session_id(), Some(id));
    lab.shutdown().await;
}

#[tokio::test]
async fn a_target_that_is_unknown_or_offline_is_not_connected() {
    let lab = lab(|config| {
        config.targets.push(Target {
            online: false,
            ..Target::new("i-0off")
        });
    })
    .await;
    for id in ["i-0off", "i-0unknown"] {
        let request = sdk(&lab).start_session().target(id);
        let request = request.document_name("AWS-StartPortForwardingSession");
        let message = format!("{id} is not connected.");
        assert_error(request.send().await, "TargetNotConnected", &message);
        let status = sdk(&lab).get_connection_status().target(id).send().await;
        let status = status.unwrap().status().cloned();
        assert_eq!(status, Some(ConnectionStatus::NotConnected));
    }
    let status = sdk(&lab).get_connection_status().target("i-0abc").send();
    let status = status.await.unwrap().status().cloned();
    assert_eq!(status, Some(ConnectionStatus::Connected));
    assert!(lab.sessions().is_empty());
}

#[tokio::test]
async fn documents_and_their_parameters_are_checked() {
    let lab = lab(|_| {}).await;
    let start = |document: &'static str, port: &'static str| {
        let request = sdk(&lab).start_session().target("i-0abc");
        let request = request.document_name(document);
        request.parameters("portNumber", vec![port.to_owned()])
    };
    assert_error(
        start("Nobodys-Document", "80").send().await,
        "InvalidDocument",
        "Document with name Nobodys-Document does not exist.",
    );
    assert_error(
        start("AWS-StartPortForwardingSession", "http").send().await,
        "ValidationException",
        "Parameter \"portNumber\" does not match its allowed pattern: 'http'.",
    );
    let command = sdk(&lab).start_session().target("i-0abc");
    let command = command.document_name("AWS-StartInteractiveCommand");
    assert_error(
        command.send().await,
        "ValidationException",
        "Parameter \"command\" is required.",
    );
    let shell = sdk(&lab).start_session().target("i-0abc").send().await;
    assert!(shell.is_ok(), "the default document is a shell");
}

#[tokio::test]
async fn credentials_are_verified() {
    let lab = lab(|_| {}).await;
    let secret = lab.credentials().secret_access_key().to_owned();
    let unknown = Credentials::new("AKIAUNKNOWN000000000", secret, None, None, "test");
    assert_error(
        sdk_with(&lab, unknown)
            .describe_instance_information()
            .send()
            .await,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    );
    let id = lab.credentials().access_key_id().to_owned();
    let wrong = Credentials::new(id, "wrong", None, None, "test");
    let result = sdk_with(&lab, wrong)
        .describe_instance_information()
        .send()
        .await;
    assert_eq!(
        result.unwrap_err().code(),
        Some("InvalidSignatureException")
    );
}

#[tokio::test]
async fn a_session_token_in_the_environment_does_no_harm() {
    let lab = lab(|_| {}).await;
    let keys = lab.credentials();
    let (id, secret) = (keys.access_key_id(), keys.secret_access_key());
    let credentials = Credentials::new(id, secret, Some("left over".to_owned()), None, "test");
    let listed = sdk_with(&lab, credentials).describe_instance_information();
    assert_eq!(
        listed
            .send()
            .await
            .unwrap()
            .instance_information_list()
            .len(),
        1
    );
}

#[tokio::test]
async fn denied_operations_are_denied_and_only_those() {
    let lab = lab_with("deny=StartSession").await;
    let request = sdk(&lab).start_session().target("i-0abc");
    let error = request.send().await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDeniedException"));
    let message = error.message().unwrap();
    assert!(
        message.contains("is not authorized to perform: ssm:StartSession"),
        "{message}"
    );
    sdk(&lab)
        .describe_instance_information()
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn instances_are_listed_filtered_and_paged() {
    let lab = lab(|config| {
        config.targets = (0..7).map(|n| Target::new(format!("i-0{n}"))).collect();
        config.targets.push(Target {
            online: false,
            agent_version: "2.3.714.0".to_owned(),
            ..Target::new("mi-0off")
        });
    })
    .await;
    let mut pages = sdk(&lab)
        .describe_instance_information()
        .max_results(5)
        .into_paginator()
        .send();
    let mut page_lens = Vec::new();
    while let Some(page) = pages.next().await {
        page_lens.push(page.unwrap().instance_information_list().len());
    }
    assert_eq!(page_lens, [5, 3]);

    let filter = InstanceInformationStringFilter::builder()
        .key("InstanceIds")
        .values("mi-0off")
        .values("i-0unknown")
        .build()
        .unwrap();
    let found = sdk(&lab)
        .describe_instance_information()
        .filters(filter)
        .send();
    let found = found.await.unwrap();
    let [instance] = found.instance_information_list() else {
        panic!("{found:?}");
    };
    assert_eq!(instance.instance_id(), Some("mi-0off"));
    assert_eq!(instance.ping_status(), Some(&PingStatus::ConnectionLost));
    assert_eq!(instance.agent_version(), Some("2.3.714.0"));
    assert_eq!(
        instance.resource_type(),
        Some(&ResourceType::ManagedInstance)
    );
    assert_eq!(instance.last_ping_date_time(), None, "never heard of");
}

#[tokio::test]
async fn a_target_was_heard_of_last_when_its_outage_began() {
    let lab = lab(|_| {}).await;
    let now = || i64::try_from(clock::epoch_seconds(SystemTime::now())).unwrap();
    let before = now();
    lab.update_chaos("offline=600s").unwrap();
    let after = now();
    let found = sdk(&lab).describe_instance_information().send();
    let found = found.await.unwrap();
    let instance = &found.instance_information_list()[0];
    assert_eq!(instance.ping_status(), Some(&PingStatus::ConnectionLost));
    let last_ping = instance.last_ping_date_time().unwrap().secs();
    assert!((before..=after).contains(&last_ping));
}

#[tokio::test]
async fn sessions_are_described_by_state() {
    let lab = lab(|_| {}).await;
    let first = start_session(&lab, 80).await;
    let second = start_session(&lab, 80).await;
    let filter = SessionFilter::builder()
        .key(SessionFilterKey::SessionId)
        .value(first.session_id().unwrap())
        .build()
        .unwrap();
    let describe = |state| sdk(&lab).describe_sessions().state(state);
    let all = describe(State::Active).send().await.unwrap();
    let ids: Vec<_> = all.sessions().iter().map(|s| s.session_id()).collect();
    assert_eq!(
        ids,
        [second.session_id(), first.session_id()],
        "latest first"
    );
    let one = describe(State::Active)
        .filters(filter)
        .send()
        .await
        .unwrap();
    let [session] = one.sessions() else {
        panic!("{one:?}");
    };
    assert_eq!(session.status(), Some(&SessionStatus::Connecting));
    assert_eq!(
        session.document_name(),
        Some("AWS-StartPortForwardingSession")
    );
    assert!(session.start_date().is_some() && session.end_date().is_none());
    assert!(
        describe(State::History)
            .send()
            .await
            .unwrap()
            .sessions()
            .is_empty()
    );
}

#[tokio::test]
async fn a_session_that_does_not_exist_can_neither_resume_nor_terminate() {
    let lab = lab(|_| {}).await;
    let message = "Session someone-0 does not exist.";
    let resumed = sdk(&lab).resume_session().session_id("someone-0").send();
    assert_error(resumed.await, "DoesNotExistException", message);
    let terminated = sdk(&lab).terminate_session().session_id("someone-0").send();
    let code = terminated.await.unwrap_err().code().map(str::to_owned);
    assert_eq!(code.as_deref(), Some("DoesNotExistException"));
}

#[tokio::test]
async fn resuming_brings_a_new_token_and_url_until_the_end() {
    let lab = lab(|_| {}).await;
    let session = start_session(&lab, 80).await;
    let id = session.session_id().unwrap();
    let resume = || sdk(&lab).resume_session().session_id(id).send();
    let resumed = resume().await.unwrap();
    assert_ne!(resumed.token_value(), session.token_value());
    assert_ne!(resumed.stream_url(), session.stream_url());
    sdk(&lab)
        .terminate_session()
        .session_id(id)
        .send()
        .await
        .unwrap();
    while !matches!(lab.sessions()[0].state, SessionState::Terminated(_)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        lab.sessions()[0].state,
        SessionState::Terminated(EndedBy::Caller)
    );
    let gone = resume().await.unwrap();
    assert_eq!((gone.token_value(), gone.stream_url()), (None, None));
}

#[tokio::test]
async fn the_lab_listens_on_loopback_only() {
    let listen = |address: &str| {
        Lab::start(Config {
            listen: address.parse().unwrap(),
            ..Config::default()
        })
    };
    let error = listen("0.0.0.0:0").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let lab = listen("127.0.0.1:0").await.unwrap();
    let environment = lab.environment();
    for service in ["SSM", "KMS", "ECS", "EC2_INSTANCE_CONNECT"] {
        let name = format!("AWS_ENDPOINT_URL_{service}");
        let found = environment.iter().find(|(known, _)| *known == name);
        assert_eq!(found.unwrap().1, lab.endpoint_url());
    }
}

#[tokio::test]
async fn a_version_that_is_none_is_refused() {
    let config = Config {
        targets: vec![Target {
            agent_version: "latest".to_owned(),
            ..Target::new("i-0abc")
        }],
        ..Config::default()
    };
    let error = Lab::start(config).await.unwrap_err().to_string();
    assert!(error.starts_with("agent version 'latest': "), "{error}");
}

#[tokio::test]
async fn hostile_requests_are_refused_and_do_not_stop_the_lab() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let lab = lab(|_| {}).await;
    let status = async |request: Vec<u8>| {
        let mut socket = tokio::net::TcpStream::connect(lab.shared.address)
            .await
            .unwrap();
        // The answer may come, and the connection go, before everything is written.
        let _ = socket.write_all(&request).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer)
            .split(' ')
            .nth(1)
            .map(str::to_owned)
    };
    let request = |method: &str, path: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let host = "Host: localhost\r\n";
    for (expected, request) in [
        ("403", request("POST", "/", "Host: evil.example\r\n", b"{}")),
        ("403", request("POST", "/", host, b"{}")),
        ("404", request("POST", "/else", host, b"{}")),
        ("405", request("DELETE", "/", host, b"")),
        ("413", request("POST", "/", host, &vec![b' '; 2 << 20])),
        ("403", request("GET", "/v1/data-channel/", host, b"")),
        (
            "403",
            request("GET", "/v1/data-channel/%ff?%ff=+", host, b""),
        ),
        ("400", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\r\n\r\n".to_vec()),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert_eq!(status(request).await.as_deref(), Some(expected), "{shown}");
    }
    sdk(&lab)
        .describe_instance_information()
        .send()
        .await
        .unwrap();
}
