//! The control API: what goes wrong and which sessions there are, over HTTP beside the service.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::server::{Answer, plain};
use super::session::{EndedBy, SessionRecord, SessionState};
use super::{Fault, ParseChaosError, Shared};

/// What the paths begin with that this API answers.
pub(super) const PATH: &str = "/lab/";

/// Answers a request; `path` is what follows [`PATH`].
pub(super) fn answer(shared: &Arc<Shared>, method: &Method, path: &str, body: &[u8]) -> Answer {
    match (path, method) {
        ("chaos", &Method::GET) => chaos(shared, &[]),
        ("chaos", &Method::POST) => change(shared, body, |text| shared.update_chaos(text)),
        ("chaos", &Method::PUT) => change(shared, body, |text| Ok(shared.set_chaos(text.parse()?))),
        ("sessions", &Method::GET) => sessions(shared),
        ("chaos" | "sessions", _) => plain(StatusCode::METHOD_NOT_ALLOWED, "wrong method\n"),
        _ => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// Tells what was done just now, which leaves nothing behind, and what goes wrong from now on.
fn chaos(shared: &Shared, done: &[Fault]) -> Answer {
    let done = done.iter().map(|fault| format!("done: {fault}\n"));
    let done: String = done.collect();
    let in_force = match shared.in_force().to_string() {
        text if text.is_empty() => "nothing is in force".to_owned(),
        text => text,
    };
    with_body(StatusCode::OK, "text/plain", format!("{done}{in_force}\n"))
}

fn change(
    shared: &Shared,
    body: &[u8],
    apply: impl FnOnce(&str) -> Result<Vec<Fault>, ParseChaosError>,
) -> Answer {
    let Ok(text) = std::str::from_utf8(body) else {
        return plain(StatusCode::BAD_REQUEST, "not text\n");
    };
    match apply(text.trim()) {
        Ok(done) => chaos(shared, &done),
        Err(error) => with_body(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n")),
    }
}

fn sessions(shared: &Shared) -> Answer {
    let sessions = shared.registry.all();
    let sessions: Value = sessions.iter().map(|s| session(&s.record())).collect();
    with_body(StatusCode::OK, "application/json", format!("{sessions}\n"))
}

fn session(record: &SessionRecord) -> Value {
    let (state, ended_by) = match record.state {
        SessionState::Connecting => ("connecting", None),
        SessionState::Connected => ("connected", None),
        SessionState::Disconnected => ("disconnected", None),
        SessionState::Terminated(by) => ("terminated", Some(by)),
    };
    json!({
        "id": record.id,
        "target": record.target,
        "document": record.document,
        "parameters": record.parameters,
        "reason": record.reason,
        "state": state,
        "connection_count": record.connection_count,
        "ended_by": ended_by.map(|by| match by {
            EndedBy::Caller => "caller",
            EndedBy::Agent => "agent",
            EndedBy::IdleTimeout => "idle_timeout",
            EndedBy::MaxDuration => "max_duration",
            EndedBy::Shutdown => "shutdown",
        }),
    })
}

fn with_body(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    answer
}
