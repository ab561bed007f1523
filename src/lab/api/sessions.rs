//! StartSession, ResumeSession, TerminateSession and DescribeSessions.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ApiError, Parameters, document, documents};
use crate::lab::document::Content;
use crate::lab::session::{NewSession, Session, SessionState};
use crate::lab::{Machine, Shared, gateway};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartSession {
    target: Option<String>,
    document_name: Option<String>,
    parameters: Option<Parameters>,
    reason: Option<String>,
}

pub(super) fn start(shared: &Arc<Shared>, request: StartSession) -> Result<Value, ApiError> {
    let id = request.target.ok_or_else(|| ApiError::missing("target"))?;
    let document = request
        .document_name
        .unwrap_or_else(|| document::DEFAULT_DOCUMENT.to_owned());
    let parameters = request.parameters.unwrap_or_default();
    let machine = shared
        .machine(&id)
        .filter(|machine| machine.target.online)
        .ok_or_else(|| ApiError::new("TargetNotConnected", format!("{id} is not connected.")))?;
    documents::must_exist(shared, &document)?;
    let custom_documents = &shared.config.documents;
    let version = machine.agent_version;
    let content = document::content(&document, parameters.clone(), version, custom_documents)?;
    let new = NewSession {
        target: id,
        document,
        parameters,
        reason: request.reason,
    };
    open(shared, &machine, new, content)
}

/// Opens a session in which the machine's agent does what `content` says.
pub(super) fn open(
    shared: &Arc<Shared>,
    machine: &Machine,
    new: NewSession,
    content: Content,
) -> Result<Value, ApiError> {
    if shared.registry.is_full() {
        let message = "Too many sessions at a time.";
        return Err(ApiError::new("ThrottlingException", message));
    }
    let (session, inbox) = Session::new(new, shared.shutdown.clone());
    let answer = connection(shared, &session);
    gateway::start(shared, machine, session, inbox, content);
    Ok(answer)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SessionRequest {
    session_id: Option<String>,
}

impl SessionRequest {
    fn find(self, shared: &Shared) -> Result<Arc<Session>, ApiError> {
        let id = self
            .session_id
            .ok_or_else(|| ApiError::missing("sessionId"))?;
        let session = shared.registry.find(&id);
        session.ok_or_else(|| {
            let message = format!("Session {id} does not exist.");
            ApiError::new("DoesNotExistException", message)
        })
    }
}

pub(super) fn resume(shared: &Shared, request: SessionRequest) -> Result<Value, ApiError> {
    Ok(connection(shared, &*request.find(shared)?))
}

pub(super) fn terminate(shared: &Shared, request: SessionRequest) -> Result<Value, ApiError> {
    let session = request.find(shared)?;
    session.terminate();
    Ok(json!({"SessionId": session.id}))
}

/// What a client needs to open the data channel; of an ended session only the id is left.
fn connection(shared: &Shared, session: &Session) -> Value {
    let id = &session.id;
    match session.renew_token() {
        Some(token) => json!({
            "SessionId": id,
            "TokenValue": token,
            "StreamUrl": stream_url(shared, session),
        }),
        None => json!({"SessionId": id, "TokenValue": null, "StreamUrl": null}),
    }
}

/// A stream URL as the service makes them; it differs from one to the next.
fn stream_url(shared: &Shared, session: &Session) -> String {
    format!(
        "{}{}{}?role=publish_subscribe&cell-number={}",
        shared.gateway_url(),
        gateway::PATH,
        session.id,
        session.new_cell(),
    )
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeSessions {
    state: Option<String>,
    #[serde(default)]
    filters: Vec<SessionFilter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SessionFilter {
    key: String,
    value: String,
}

impl SessionFilter {
    fn matches(&self, session: &Session) -> Result<bool, ApiError> {
        let actual = match self.key.as_str() {
            "Target" => session.request.target.as_str(),
            "SessionId" => session.id.as_str(),
            "Status" => status(session.state()),
            "Owner" => OWNER,
            key => {
                let message = format!("The filter {key} is not valid.");
                return Err(ApiError::new("InvalidFilterKey", message));
            }
        };
        Ok(actual == self.value)
    }
}

pub(super) fn describe(shared: &Shared, request: DescribeSessions) -> Result<Value, ApiError> {
    let wants_ended = match request.state.as_deref() {
        Some("Active") => false,
        Some("History") => true,
        Some(_) => {
            return Err(ApiError::new(
                "ValidationException",
                "State is Active or History.",
            ));
        }
        None => return Err(ApiError::missing("state")),
    };
    let mut sessions = Vec::new();
    for session in shared.registry.all().iter().rev() {
        let mut is_wanted = session.is_ended() == wants_ended;
        for filter in &request.filters {
            is_wanted &= filter.matches(session)?;
        }
        if is_wanted {
            sessions.push(summary(session));
        }
    }
    let next_token = request.next_token.as_deref();
    let (sessions, next_token) = super::page(
        sessions,
        super::MAX_PAGE_LEN,
        request.max_results,
        next_token,
    )?;
    Ok(json!({"Sessions": sessions, "NextToken": next_token}))
}

fn summary(session: &Session) -> Value {
    json!({
        "SessionId": session.id,
        "Target": session.request.target,
        "Status": status(session.state()),
        "StartDate": super::date(session.started),
        "EndDate": session.ended().map(super::date),
        "DocumentName": session.request.document,
        "Owner": OWNER,
        "Reason": session.request.reason,
    })
}

fn status(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "Connecting",
        SessionState::Connected => "Connected",
        SessionState::Disconnected => "Disconnected",
        SessionState::Terminated(_) => "Terminated",
    }
}

const OWNER: &str = "arn:aws:iam::000000000000:user/lab-user";
