//! A Session Manager of one's own on loopback: the API, the message gateway, and targets with agents.
//!
//! Everything a client sees is as at AWS: requests are signed, tokens are checked, frames are
//! numbered and acknowledged by an agent that dials real sockets. Only the credentials are public
//! and the targets are this machine.

mod agent;
mod api;
mod auth;
mod authorized_keys;
mod chaos;
mod clock;
mod conditions;
mod control;
mod description;
mod destination;
mod document;
mod gateway;
mod hosts;
mod injection;
mod kms;
mod link;
mod machine;
mod pacer;
mod registry;
mod server;
mod service;
mod session;
mod stall;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::{Host, Url};

pub use self::chaos::{
    Chaos, Condition, Fault, GatewayFault, ParseChaosError, Probability, Scheduled,
};
pub use self::document::{Document, SessionType};
pub use self::kms::{KeyState, KmsKey};
pub use self::session::{EndedBy, SessionRecord, SessionState};

use self::authorized_keys::AuthorizedKeys;
use self::conditions::Conditions;
use self::injection::Schedule;
use self::kms::Keyring;
use self::machine::{Machine, Machines};
use self::registry::Registry;
use self::session::Order;

/// What a lab is like. The default listens on a free port and has no targets.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API and the gateway listen: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where clients find the API, if something in between, such as a reverse proxy with TLS, leads them here. Requests that
    /// name this host are answered too.
    pub public_url: Option<Url>,
    /// Where clients find the gateway, if it is not where they find the API.
    pub gateway_url: Option<Url>,
    /// Names, besides those of the two URLs, by which clients call the lab.
    pub aliases: Vec<String>,
    /// The machines one can reach.
    pub targets: Vec<Target>,
    /// Session documents besides AWS's own.
    pub documents: Vec<Document>,
    /// The keys that exist in KMS.
    pub kms_keys: Vec<KmsKey>,
    /// The id, alias or ARN of the key that shells and commands are encrypted with, as the account's
    /// preferences name it. A key of this name is added if there is none.
    pub kms_key: Option<String>,
    /// Where keys pushed with EC2 Instance Connect go, as files named `INSTANCE/USER` in the format of
    /// `authorized_keys`; nowhere by default.
    pub authorized_keys_dir: Option<PathBuf>,
    /// Whether agents send at most one message each 1.1 ms, as the real one does (0.87 MB/s).
    pub pace: bool,
    /// How long a session lives without input from its client; the service's default is 20 minutes.
    pub idle_timeout: Duration,
    /// What goes wrong, from the start on.
    pub chaos: Chaos,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            public_url: None,
            gateway_url: None,
            aliases: Vec::new(),
            targets: Vec::new(),
            documents: Vec::new(),
            kms_keys: Vec::new(),
            kms_key: None,
            authorized_keys_dir: None,
            pace: false,
            idle_timeout: Duration::from_secs(20 * 60),
            chaos: Chaos::default(),
        }
    }
}

/// A machine of the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As in StartSession: `i-…`, `mi-…`, or `ecs:CLUSTER_TASK_RUNTIMEID` for a container of a task.
    pub id: String,
    /// Whether its agent is connected. An offline target is listed, but sessions are refused.
    pub online: bool,
    /// The agent's version, which decides what it can do: four numbers, as `3.3.987.0`.
    pub agent_version: String,
    /// Its tags, by their keys.
    pub tags: BTreeMap<String, String>,
    /// The operating system, as DescribeInstanceInformation names it.
    pub platform_name: String,
    /// The private address that the inventory tells. Nothing listens there.
    pub ip: IpAddr,
    /// The host name that the inventory tells; without one, a name is made of the id.
    pub computer_name: Option<String>,
    /// The Availability Zone.
    pub zone: String,
    /// The service of ECS that the task belongs to.
    pub service: Option<String>,
    /// The container's name in its task.
    pub container: String,
}

impl Target {
    /// Creates an online target with a current agent.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            online: true,
            agent_version: DEFAULT_AGENT_VERSION.to_owned(),
            tags: BTreeMap::new(),
            platform_name: "Amazon Linux".to_owned(),
            ip: Ipv4Addr::LOCALHOST.into(),
            computer_name: None,
            zone: "us-east-1a".to_owned(),
            service: None,
            container: "app".to_owned(),
        }
    }
}

/// A running lab. Dropping it stops it; [`Lab::shutdown`] also waits until everything has ended.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// What the lab's tasks have in common.
#[derive(Debug)]
struct Shared {
    config: Config,
    address: SocketAddr,
    machines: Machines,
    keyring: Arc<Keyring>,
    authorized_keys: AuthorizedKeys,
    registry: Registry,
    conditions: Arc<Conditions>,
    schedule: Schedule,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl Shared {
    /// Where clients find the API.
    fn api_url(&self) -> String {
        match &self.config.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.address),
        }
    }

    /// Where clients find the gateway: scheme, host and port.
    fn gateway_url(&self) -> String {
        let public = self.config.gateway_url.as_ref();
        let Some(url) = public.or(self.config.public_url.as_ref()) else {
            return format!("ws://{}", self.address);
        };
        let scheme = match url.scheme() {
            "https" => "wss",
            _ => "ws",
        };
        let host = url.host_str().unwrap_or_default();
        match url.port() {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// Whether clients call the lab by this name.
    fn is_called(&self, host: &Host<String>) -> bool {
        let urls = [&self.config.public_url, &self.config.gateway_url];
        let mut hosts = urls.into_iter().flatten().filter_map(Url::host);
        hosts.any(|known| known.to_owned() == *host)
            || self.config.aliases.contains(&host.to_string())
    }

    fn machine(&self, id: &str) -> Option<Machine> {
        let mut machines = self.machines.all().into_iter();
        machines.find(|machine| machine.target.id == id)
    }
}

impl Lab {
    /// Starts the service and the targets' agents on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// When `listen` is not a loopback address, an agent's version is none, or an address cannot be
    /// listened on.
    pub async fn start(config: Config) -> io::Result<Self> {
        if !config.listen.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the lab listens on loopback only, not on {}: its credentials are public",
                    config.listen
                ),
            ));
        }
        let listener = TcpListener::bind(config.listen).await?;
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let stop = shutdown.clone().drop_guard();
        let mut machines = Vec::new();
        for target in &config.targets {
            machines.push(Machine::start(target.clone(), &tracker, &shutdown).await?);
        }
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            keyring: Arc::new(keyring(&config)?),
            authorized_keys: AuthorizedKeys::new(config.authorized_keys_dir.clone()),
            config,
            machines: Machines::new(machines),
            registry: Registry::default(),
            conditions: Arc::new(Conditions::new(Chaos::default())),
            schedule: Schedule::default(),
            tracker,
            shutdown: shutdown.clone(),
        });
        shared.set_chaos(shared.config.chaos.clone());
        let conditions = shared.conditions.clone();
        let closing = async move { conditions.close_after_black_holes().await };
        shared
            .tracker
            .spawn(shutdown.clone().run_until_cancelled_owned(closing));
        let serving = server::serve(listener, shared.clone());
        shared
            .tracker
            .spawn(shutdown.run_until_cancelled_owned(serving));
        Ok(Self {
            shared,
            _stop: stop,
        })
    }

    /// Where the API is, as AWS tools want it in `AWS_ENDPOINT_URL_SSM`.
    pub fn endpoint_url(&self) -> String {
        self.shared.api_url()
    }

    /// Where the lab listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The region requests must be signed for.
    pub fn region(&self) -> &'static str {
        auth::REGION
    }

    /// The credentials requests must be signed with now.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(
            auth::ACCESS_KEY_ID,
            auth::SECRET_ACCESS_KEY,
            self.shared.conditions.session_token(),
            None,
            "lab",
        )
    }

    /// The environment that makes any AWS tool use this lab.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let token = self.shared.conditions.session_token();
        let mut environment = vec![
            ("AWS_ACCESS_KEY_ID", auth::ACCESS_KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", auth::SECRET_ACCESS_KEY.to_owned()),
            ("AWS_REGION", auth::REGION.to_owned()),
            ("AWS_DEFAULT_REGION", auth::REGION.to_owned()),
            ("AWS_ENDPOINT_URL_SSM", self.endpoint_url()),
            ("AWS_ENDPOINT_URL_KMS", self.endpoint_url()),
            ("AWS_ENDPOINT_URL_ECS", self.endpoint_url()),
            ("AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT", self.endpoint_url()),
            ("AWS_ENDPOINT_URL_STS", self.endpoint_url()),
        ];
        environment.extend(token.map(|token| ("AWS_SESSION_TOKEN", token)));
        environment
    }

    /// The public keys that EC2 Instance Connect lets in as a user of an instance at the moment, each
    /// as a line of `authorized_keys`.
    pub fn pushed_keys(&self, instance: &str, user: &str) -> Vec<String> {
        self.shared.authorized_keys.lines(instance, user)
    }

    /// Every session there is or was, oldest first. Long ago ended ones are forgotten.
    pub fn sessions(&self) -> Vec<SessionRecord> {
        let sessions = self.shared.registry.all();
        sessions.iter().map(|session| session.record()).collect()
    }

    /// What goes wrong: what stands, and the faults that are still to come.
    pub fn chaos(&self) -> Chaos {
        Chaos::clone(&self.shared.conditions.chaos())
    }

    /// Changes what goes wrong, from now on. Everything from before ends, what holds for a time too.
    pub fn set_chaos(&self, chaos: Chaos) {
        self.shared.set_chaos(chaos);
    }

    /// Changes what `text` names and leaves the rest, as [`Chaos::update`] does; faults in it are added
    /// to those still to come.
    ///
    /// # Errors
    ///
    /// When `text` is not understood; nothing has changed then.
    pub fn update_chaos(&self, text: &str) -> Result<(), ParseChaosError> {
        self.shared.update_chaos(text).map(drop)
    }

    /// Has a fault begin now. What it does at once is ordered when this returns, and seen soon after.
    pub fn inject(&self, fault: Fault) {
        self.shared.inject(&fault);
    }

    /// Makes the credentials that are good so far expired ones, and returns those that are good from now
    /// on: the same keys with another session token.
    pub fn renew_credentials(&self) -> Credentials {
        self.shared.conditions.renew_credentials();
        self.credentials()
    }

    /// Terminates the target `old`, if there is one, and starts another one.
    ///
    /// # Errors
    ///
    /// When the new one's agent's version is none, or no loopback port can be had.
    pub async fn replace_target(&self, old: &str, new: Target) -> io::Result<()> {
        self.shared.replace_target(old, new).await
    }

    /// Ends a session as `by` would, with the text that the client is told then; returns whether
    /// there is a session of this id that has not ended.
    pub fn end_session(&self, id: &str, by: EndedBy) -> bool {
        let session = self.shared.registry.find(id).filter(|s| !s.is_ended());
        session
            .map(|session| session.order(Order::End(by)))
            .is_some()
    }

    /// Ends every session and waits until all sockets are closed, about a second at most.
    pub async fn shutdown(self) {
        self.shared.shutdown.cancel();
        self.shared.tracker.close();
        self.shared.tracker.wait().await;
        self.shared.authorized_keys.clear();
    }
}

/// The configured keys, with the one of the sessions among them.
fn keyring(config: &Config) -> io::Result<Keyring> {
    let mut keys = config.kms_keys.clone();
    if let Some(name) = &config.kms_key
        && !keys.iter().any(|key| key.is_called(name))
    {
        keys.push(KmsKey::new(name));
    }
    Keyring::new(keys).map_err(|_| io::Error::other("no randomness for the lab's keys"))
}

/// Locks a mutex. Nothing here panics while it holds one, so poisoning means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits after a failed `accept`: the usual cause, too many open files, needs time to pass.
async fn pause_accepting(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// A version every feature gate of the protocol is open for.
const DEFAULT_AGENT_VERSION: &str = "3.3.987.0";

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
