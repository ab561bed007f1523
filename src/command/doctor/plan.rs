//! Which checks there are, and which of them needs what another one finds.

use std::sync::Arc;

use futures_util::future::{FutureExt, LocalBoxFuture, Shared};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::step::{Findings, Needed, Step, alone, finding_of, skipped, step, within};
use crate::aws::{Aws, Caller, Node, Preferences, Service as Api, ServiceAddress, Target};
use crate::doctor::clock::Skew;
use crate::doctor::{
    Check, Finding, clock, connection, dns, identity, local, permissions, session, target,
};
use crate::failure::{Exit, Failure};
use crate::settings::DoctorSettings;
use crate::spec::PORT_DOCUMENT;

/// Starts everything that is to be looked at. Nothing runs before it is asked for.
pub(super) fn checks<'a>(
    aws: &'a Arc<Aws>,
    settings: &'a DoctorSettings,
    sessions: &'a Sessions,
) -> Findings<'a> {
    let mut findings = Findings::new();
    let access = access(aws, &mut findings);
    let target = settings
        .target
        .as_ref()
        .map(|wanted| find_target(aws, wanted, &access, settings, &mut findings));
    account(aws, settings, &access, target.as_ref(), &mut findings);
    for forward in &settings.forwards {
        findings.push_back(async { local::port(&forward.spec) }.boxed_local());
    }
    if let (Some(target), Some(wanted), true) = (target, &settings.target, settings.connects) {
        sessions_of(aws, settings, wanted, &target, sessions, &mut findings);
    }
    findings
}

/// Whether the API can be called: the way there, and credentials that are accepted.
type Access<'a> = Shared<LocalBoxFuture<'a, Needed<Option<Caller>>>>;

fn access<'a>(aws: &'a Aws, findings: &mut Findings<'a>) -> Access<'a> {
    let (api, gateway) = (aws.api_address(), aws.gateway_address());
    let addresses = [api.clone(), gateway.clone()];
    let dns = step(async move {
        let looking = dns::dns(aws, &addresses);
        within(
            Check::Dns,
            looking.map(|(finding, unknown)| (finding, Some(unknown))),
        )
        .await
    });
    findings.push_back(finding_of(&dns));
    let connection = step(connect_to(aws, api, dns.clone()));
    findings.push_back(finding_of(&connection));
    let gateway = step(connect_to(aws, gateway, dns));
    findings.push_back(finding_of(&gateway));

    let clock = step(read_clock(connection.clone()));
    findings.push_back(finding_of(&clock));
    let credentials = step(within(Check::Credentials, identity::credentials(aws)));
    findings.push_back(finding_of(&credentials));
    let identity = step(identify(aws, clock, credentials));
    findings.push_back(finding_of(&identity));
    let access = async move {
        connection.await.1?;
        identity.await.1
    };
    access.boxed_local().shared()
}

async fn connect_to(
    aws: &Aws,
    address: ServiceAddress,
    dns: Step<'_, Vec<Api>>,
) -> (Finding, Needed<Option<Skew>>) {
    let is_unknown = match dns.await.1 {
        Ok(unknown) => unknown.contains(&address.service),
        Err(_) => true,
    };
    if is_unknown {
        let finding = Finding::needs(Check::Connection, Check::Dns);
        return (finding.of(address.service.name()), Err(Check::Dns));
    }
    within(Check::Connection, connection::connection(aws, &address)).await
}

async fn read_clock(connection: Step<'_, Option<Skew>>) -> (Finding, Needed<()>) {
    match connection.await.1 {
        Ok(skew) => {
            let (finding, found) = clock::clock(skew);
            (finding, found.ok_or(Check::Clock))
        }
        Err(cause) => skipped(Check::Clock, cause),
    }
}

/// STS has its own endpoint, and may answer where Systems Manager does not.
async fn identify(
    aws: &Aws,
    clock: Step<'_, ()>,
    credentials: Step<'_, ()>,
) -> (Finding, Needed<Option<Caller>>) {
    if let Err(Check::Clock) = clock.await.1 {
        return skipped(Check::Identity, Check::Clock);
    }
    match credentials.await.1 {
        Ok(()) => within(Check::Identity, identity::identity(aws)).await,
        Err(cause) => skipped(Check::Identity, cause),
    }
}

/// The target, its agent, and what the caller may do with them.
fn find_target<'a>(
    aws: &'a Aws,
    wanted: &'a Target,
    access: &Access<'a>,
    settings: &'a DoctorSettings,
    findings: &mut Findings<'a>,
) -> Step<'a, Node> {
    let access = access.clone();
    let target = step(async move {
        match access.await {
            Ok(_) => within(Check::Target, target::target(aws, wanted)).await,
            Err(cause) => skipped(Check::Target, cause),
        }
    });
    findings.push_back(finding_of(&target));
    let agent = target.clone().map(|(_, node)| match node {
        Ok(node) => target::agent(&node, &settings.forwards),
        Err(cause) => Finding::needs(Check::Agent, cause),
    });
    findings.push_back(agent.boxed_local());
    for document in documents(settings) {
        let target = target.clone();
        let start = async move {
            match target.await.1 {
                Ok(node) => {
                    let examine = permissions::start_session(aws, &node.id, document);
                    alone(Check::StartSession, examine).await
                }
                Err(cause) => Finding::needs(Check::StartSession, cause).of(document),
            }
        };
        findings.push_back(start.boxed_local());
    }
    target
}

/// The documents that sessions are started with, each once.
fn documents(settings: &DoctorSettings) -> Vec<&str> {
    let mut documents: Vec<_> = settings
        .forwards
        .iter()
        .map(|forward| forward.document.as_str())
        .collect();
    documents.sort_unstable();
    documents.dedup();
    match documents.is_empty() {
        true => vec![PORT_DOCUMENT],
        false => documents,
    }
}

/// What the account says of sessions, whatever their target.
fn account<'a>(
    aws: &'a Aws,
    settings: &'a DoctorSettings,
    access: &Access<'a>,
    target: Option<&Step<'a, Node>>,
    findings: &mut Findings<'a>,
) {
    let own = access.clone();
    let own_sessions = async move {
        match own.await {
            Ok(caller) => {
                alone(
                    Check::OwnSessions,
                    permissions::own_sessions(aws, caller.as_ref()),
                )
                .await
            }
            Err(cause) => Finding::needs(Check::OwnSessions, cause),
        }
    };
    findings.push_back(own_sessions.boxed_local());
    for name in documents(settings) {
        let Some(forward) = settings
            .forwards
            .iter()
            .find(|forward| forward.document == name)
        else {
            continue;
        };
        let access = access.clone();
        let document = async move {
            match access.await {
                Ok(_) => alone(Check::Document, permissions::document(aws, forward)).await,
                Err(cause) => Finding::needs(Check::Document, cause).of(name),
            }
        };
        findings.push_back(document.boxed_local());
    }
    let access = access.clone();
    let preferences: Step<'_, Preferences> = step(async move {
        match access.await {
            Ok(_) => within(Check::Preferences, permissions::preferences(aws)).await,
            Err(cause) => skipped(Check::Preferences, cause),
        }
    });
    findings.push_back(finding_of(&preferences));
    let target = target.cloned();
    let encryption = async move {
        let preferences = match preferences.await.1 {
            Ok(preferences) => preferences,
            Err(cause) => return Finding::needs(Check::Encryption, cause),
        };
        let node = match target {
            Some(target) => target.await.1.ok(),
            None => None,
        };
        let id = node.as_ref().map(|node| node.id.as_str());
        let is_forward = !settings.forwards.is_empty();
        let examine = permissions::encryption(aws, &preferences, id, is_forward);
        alone(Check::Encryption, examine).await
    };
    findings.push_back(encryption.boxed_local());
}

/// A session for each forward, in tasks of their own: they have to be ended even if nobody waits for them any more.
fn sessions_of<'a>(
    aws: &'a Arc<Aws>,
    settings: &'a DoctorSettings,
    wanted: &'a Target,
    target: &Step<'a, Node>,
    sessions: &'a Sessions,
    findings: &mut Findings<'a>,
) {
    for forward in &settings.forwards {
        let subject = forward.spec.to_string();
        let (target, name) = (target.clone(), subject.clone());
        let session = step(async move {
            if let Err(cause) = target.await.1 {
                return (Finding::needs(Check::Session, cause).of(name), Err(cause));
            }
            let (aws, wanted, forward) = (Arc::clone(aws), wanted.clone(), forward.clone());
            let stop = sessions.stop.clone();
            let task = sessions
                .tasks
                .spawn(async move { session::session(aws, &wanted, &forward, &stop).await });
            within(
                Check::Session,
                task.map(|ended| match ended {
                    Ok(findings) => findings,
                    Err(error) => {
                        let message =
                            format!("the check was dropped by a fault in ssmfwd: {error}");
                        (
                            Finding::fail(Check::Session, &Failure::new(Exit::Failure, message)),
                            None,
                        )
                    }
                }),
            )
            .await
        });
        findings.push_back(finding_of(&session));
        let remote_port = session.map(|(_, remote)| match remote {
            Ok(finding) => finding,
            Err(cause) => Finding::needs(Check::RemotePort, cause).of(subject),
        });
        findings.push_back(remote_port.boxed_local());
    }
}

/// What is left to look at without a configuration.
pub(super) fn without_configuration(settings: &DoctorSettings) -> Findings<'_> {
    let mut checks = vec![
        Check::Dns,
        Check::Connection,
        Check::Clock,
        Check::Credentials,
        Check::Identity,
    ];
    if settings.target.is_some() {
        checks.extend([Check::Target, Check::Agent, Check::StartSession]);
    }
    checks.extend([Check::OwnSessions, Check::Preferences, Check::Encryption]);
    let skipped = checks
        .into_iter()
        .map(|check| Finding::needs(check, Check::Configuration));
    let ports = settings
        .forwards
        .iter()
        .map(|forward| local::port(&forward.spec));
    let ready = skipped
        .chain(ports)
        .map(|finding| std::future::ready(finding).boxed_local());
    ready.collect()
}

/// The sessions of `--connect`, which are ended however the examination ends.
pub(super) struct Sessions {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Sessions {
    pub(super) fn new(shutdown: &CancellationToken) -> Self {
        Self {
            tasks: TaskTracker::new(),
            stop: shutdown.child_token(),
        }
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
