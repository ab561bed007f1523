//! Which checks there are, and which of them needs what another one finds.

use std::sync::Arc;

use futures_util::future::{FutureExt, LocalBoxFuture, Shared};
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::step::{Findings, Needed, Running, Step, skipped, step};
use crate::aws::{Aws, Caller, Node, Preferences, ServiceAddress, Target};
use crate::doctor::clock::{self, Skew};
use crate::doctor::identity::{self, Identity};
use crate::doctor::{Check, Finding, connection, dns, local, permissions, session, target};
use crate::failure::{Exit, Failure};
use crate::settings::{DoctorSettings, ForwardSettings};
use crate::spec::PORT_DOCUMENT;

/// Checks, whose findings come in the order in which they end.
pub(super) type Checks<'a> = FuturesUnordered<LocalBoxFuture<'a, Findings>>;

/// Everything that is to be looked at. Nothing runs before it is asked for.
pub(super) fn checks<'a>(
    aws: &'a Arc<Aws>,
    settings: &'a DoctorSettings,
    sessions: &'a Sessions,
    running: &Running,
) -> Checks<'a> {
    let mut plan = Plan {
        aws,
        settings,
        sessions,
        running: running.clone(),
        checks: Checks::new(),
    };
    let access = plan.access();
    let target = settings
        .target
        .as_ref()
        .map(|wanted| plan.target(wanted, &access));
    let denied = target.as_ref().map(|target| plan.start_session(target));
    plan.account(&access, target.as_ref());
    plan.checks.extend(local_ports(settings));
    if let (Some(target), Some(denied), Some(wanted), true) =
        (target, denied, &settings.target, settings.connects)
    {
        plan.sessions(wanted, &target, &denied);
    }
    plan.checks
}

/// What is left to look at without a configuration.
pub(super) fn without_configuration(settings: &DoctorSettings) -> Checks<'_> {
    let mut skipped = vec![
        Check::Dns,
        Check::Connection,
        Check::Clock,
        Check::Credentials,
        Check::Identity,
    ];
    if settings.target.is_some() {
        skipped.extend([Check::Target, Check::Agent, Check::StartSession]);
    }
    skipped.push(Check::OwnSessions);
    skipped.extend((!settings.forwards.is_empty()).then_some(Check::Document));
    skipped.extend([Check::Preferences, Check::Encryption]);
    if settings.connects {
        skipped.extend([Check::Session, Check::RemotePort]);
    }
    let skipped = skipped.into_iter().map(|check| {
        let finding = Finding::needs(check, Check::Configuration);
        std::future::ready(finding.into()).boxed_local()
    });
    skipped.chain(local_ports(settings)).collect()
}

fn local_ports(settings: &DoctorSettings) -> impl Iterator<Item = LocalBoxFuture<'_, Findings>> {
    let forwards = settings.forwards.iter();
    forwards.map(|forward| async { local::port(&forward.spec).into() }.boxed_local())
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

/// Checks that are being put together.
struct Plan<'a> {
    aws: &'a Arc<Aws>,
    settings: &'a DoctorSettings,
    sessions: &'a Sessions,
    running: Running,
    checks: Checks<'a>,
}

/// Whether the API can be called: the way there, and credentials that are accepted.
type Access<'a> = Shared<LocalBoxFuture<'a, Needed<Option<Caller>>>>;

impl<'a> Plan<'a> {
    fn add(&self, check: impl Future<Output = Findings> + 'a) {
        self.checks.push(check.boxed_local());
    }

    fn add_step<T: Clone + 'a>(
        &self,
        examine: impl Future<Output = (Findings, Needed<T>)> + 'a,
    ) -> Step<'a, T> {
        let step = step(examine);
        self.add(step.clone().map(|(findings, _)| findings));
        step
    }

    fn access(&self) -> Access<'a> {
        let (aws, running) = (self.aws, self.running.clone());
        let connection = self.connection();
        let clock = read_clock(connection.clone());
        self.add(clock);
        let credentials = self.add_step(async move {
            let looking = identity::credentials(aws);
            running.within(Check::Credentials, "", looking).await
        });
        let identity = self.add_step(identify(
            aws,
            self.running.clone(),
            connection.clone(),
            credentials,
        ));
        let access = async move {
            connection.await.1?;
            identity.await.1
        };
        access.boxed_local().shared()
    }

    /// The way to the endpoints. What it leads to is the API: the difference of the clocks, if it tells the time.
    fn connection(&self) -> Step<'a, Option<Skew>> {
        let aws = self.aws;
        let endpoints = [aws.api_address(), aws.gateway_address()];
        let dns = {
            let (endpoints, running) = (endpoints.clone(), self.running.clone());
            self.add_step(async move {
                let looking = dns::dns(aws, &endpoints);
                let looking = looking.map(|(findings, unknown)| (findings, Some(unknown)));
                running
                    .within(Check::Dns, &hosts(&endpoints), looking)
                    .await
            })
        };
        let running = self.running.clone();
        self.add_step(async move {
            let unknown = match dns.await.1 {
                Ok(unknown) => unknown,
                Err(cause) => return skipped(Check::Connection, cause),
            };
            let (lost, reached) = endpoints
                .into_iter()
                .partition::<Vec<_>, _>(|endpoint| unknown.contains(&endpoint.service));
            let trying = connection::connections(aws, &reached);
            let (mut findings, connected) = running
                .within(Check::Connection, &hosts(&reached), trying)
                .await;
            let has_lost_api = lost.contains(&aws.api_address());
            findings.extend(lost.into_iter().map(|endpoint| {
                Finding::needs(Check::Connection, Check::Dns).of(endpoint.service.name())
            }));
            match has_lost_api {
                true => (findings, Err(Check::Dns)),
                false => (findings, connected),
            }
        })
    }

    /// The target, its agent, and what the caller may do with them.
    fn target(&self, wanted: &'a Target, access: &Access<'a>) -> Step<'a, Node> {
        let (aws, settings) = (self.aws, self.settings);
        let (access, running) = (access.clone(), self.running.clone());
        let target = self.add_step(async move {
            match access.await {
                Ok(_) => {
                    let looking = target::target(aws, wanted);
                    running.within(Check::Target, "", looking).await
                }
                Err(cause) => skipped(Check::Target, cause),
            }
        });
        self.add(target.clone().map(|(_, node)| match node {
            Ok(node) => target::agent(&node, &settings.forwards).into(),
            Err(cause) => Finding::needs(Check::Agent, cause).into(),
        }));
        target
    }

    /// Whether sessions may be started. What it finds are the documents with which they may not.
    fn start_session(&self, target: &Step<'a, Node>) -> Step<'a, Vec<&'a str>> {
        let (aws, documents) = (self.aws, documents(self.settings));
        let (target, running) = (target.clone(), self.running.clone());
        self.add_step(async move {
            if documents.is_empty() {
                return (Findings::new(), Ok(Vec::new()));
            }
            match target.await.1 {
                Ok(node) => {
                    let examine = permissions::start_session(aws, &node.id, &documents);
                    let examine = examine.map(|(findings, denied)| (findings, Some(denied)));
                    running.within(Check::StartSession, "", examine).await
                }
                Err(cause) => {
                    let finding = Finding::needs(Check::StartSession, cause);
                    (finding.of(documents.join(", ")).into(), Err(cause))
                }
            }
        })
    }

    /// What the account says of sessions, whatever their target.
    fn account(&self, access: &Access<'a>, target: Option<&Step<'a, Node>>) {
        let aws = self.aws;
        let (own, running) = (access.clone(), self.running.clone());
        self.add(async move {
            match own.await {
                Ok(caller) => {
                    let examine = permissions::own_sessions(aws, caller.as_ref());
                    running.alone(Check::OwnSessions, "", examine).await
                }
                Err(cause) => Finding::needs(Check::OwnSessions, cause).into(),
            }
        });
        for forward in first_of_each_document(self.settings) {
            let (access, running) = (access.clone(), self.running.clone());
            let name = forward.document.as_str();
            self.add(async move {
                match access.await {
                    Ok(_) => {
                        let examine = permissions::document(aws, forward);
                        running.alone(Check::Document, name, examine).await
                    }
                    Err(cause) => Finding::needs(Check::Document, cause).of(name).into(),
                }
            });
        }
        let (access, running) = (access.clone(), self.running.clone());
        let preferences = self.add_step(async move {
            match access.await {
                Ok(_) => {
                    let examine = permissions::preferences(aws);
                    running.within(Check::Preferences, "", examine).await
                }
                Err(cause) => skipped(Check::Preferences, cause),
            }
        });
        self.encryption(preferences, target.cloned());
    }

    fn encryption(&self, preferences: Step<'a, Preferences>, target: Option<Step<'a, Node>>) {
        let (aws, settings, running) = (self.aws, self.settings, self.running.clone());
        self.add(async move {
            let preferences = match preferences.await.1 {
                Ok(preferences) => preferences,
                Err(cause) => return Finding::needs(Check::Encryption, cause).into(),
            };
            let node = match target {
                Some(target) => target.await.1.ok(),
                None => None,
            };
            let id = node.as_ref().map(|node| node.id.as_str());
            let is_forward = !settings.forwards.is_empty();
            let examine = permissions::encryption(aws, &preferences, id, is_forward);
            running.alone(Check::Encryption, "", examine).await
        });
    }

    /// A session for each forward.
    fn sessions(
        &self,
        wanted: &'a Target,
        target: &Step<'a, Node>,
        denied: &Step<'a, Vec<&'a str>>,
    ) {
        for forward in &self.settings.forwards {
            let subject = forward.spec.to_string();
            let (target, denied) = (target.clone(), denied.clone());
            let running = self.running.clone();
            let (aws, sessions, name) = (self.aws, self.sessions, subject.clone());
            let session = self.add_step(async move {
                if let Err(cause) = target.await.1 {
                    let finding = Finding::needs(Check::Session, cause).of(name);
                    return (finding.into(), Err(cause));
                }
                // A denial is certain, and would be told twice.
                if let Ok(denied) = denied.await.1
                    && denied.contains(&forward.document.as_str())
                {
                    let cause = Check::StartSession;
                    let finding = Finding::needs(Check::Session, cause).of(name);
                    return (finding.into(), Err(cause));
                }
                let examine = in_a_task(aws, wanted, forward, sessions);
                running.within(Check::Session, &name, examine).await
            });
            self.add(session.map(|(_, remote)| match remote {
                Ok(finding) => finding.into(),
                Err(cause) => Finding::needs(Check::RemotePort, cause).of(subject).into(),
            }));
        }
    }
}

fn hosts(endpoints: &[ServiceAddress]) -> String {
    let mut hosts: Vec<_> = endpoints
        .iter()
        .map(|endpoint| endpoint.host.as_str())
        .collect();
    hosts.dedup();
    hosts.join(", ")
}

async fn read_clock(connection: Step<'_, Option<Skew>>) -> Findings {
    match connection.await.1 {
        Ok(skew) => clock::clock(skew).into(),
        Err(cause) => Finding::needs(Check::Clock, cause).into(),
    }
}

/// STS has its own endpoint, and may answer where Systems Manager does not.
async fn identify(
    aws: &Aws,
    running: Running,
    connection: Step<'_, Option<Skew>>,
    credentials: Step<'_, ()>,
) -> (Findings, Needed<Option<Caller>>) {
    if let Err(cause) = credentials.await.1 {
        return skipped(Check::Identity, cause);
    }
    let looking = async {
        match identity::identity(aws).await {
            Identity::Known(finding, caller) => (finding.into(), Some(Some(caller))),
            Identity::Refused(finding) => (finding.into(), None),
            // What is in the way to other endpoints is told of them.
            Identity::Unreachable(finding) => match connection.await.1 {
                Ok(_) => (finding.into(), Some(None)),
                Err(cause) => (Findings::from(Finding::needs(Check::Identity, cause)), None),
            },
        }
    };
    running.within(Check::Identity, "", looking).await
}

/// The documents with which it is to be found out whether sessions may be started.
fn documents(settings: &DoctorSettings) -> Vec<&str> {
    if settings.forwards.is_empty() {
        return vec![PORT_DOCUMENT];
    }
    let documents = first_of_each_document(settings)
        .into_iter()
        .map(|forward| forward.document.as_str());
    documents
        // Of a document of the user's own, a session tells more.
        .filter(|document| !settings.connects || permissions::is_refusing_no_port(document))
        .collect()
}

fn first_of_each_document(settings: &DoctorSettings) -> Vec<&ForwardSettings> {
    let mut firsts: Vec<&ForwardSettings> = Vec::new();
    for forward in &settings.forwards {
        if firsts
            .iter()
            .all(|first| first.document != forward.document)
        {
            firsts.push(forward);
        }
    }
    firsts
}

/// Starts a session for a forward in a task of its own: it has to be ended even if nobody waits for it any more.
async fn in_a_task(
    aws: &Arc<Aws>,
    wanted: &Target,
    forward: &ForwardSettings,
    sessions: &Sessions,
) -> (Finding, Option<Finding>) {
    let (aws, wanted, forward) = (Arc::clone(aws), wanted.clone(), forward.clone());
    let stop = sessions.stop.clone();
    let task = sessions
        .tasks
        .spawn(async move { session::session(aws, &wanted, &forward, &stop).await });
    task.await.unwrap_or_else(|error| {
        let message = format!("the check was dropped by a fault in ssmfwd: {error}");
        let failure = Failure::new(Exit::Failure, message);
        (Finding::fail(Check::Session, &failure), None)
    })
}
