//! The AWS side: configuration and credentials, the sessions API, and what a stream URL may be.

mod addresses;
mod caller;
pub mod config;
mod credentials;
mod denial;
pub mod document;
mod ecs;
mod endpoints;
mod environment;
mod error;
mod identity;
mod instance_connect;
pub mod inventory;
pub mod kms;
mod node;
mod pace;
mod partition;
mod permission;
pub(crate) mod region;
mod repeatable;
pub mod selector;
pub mod session;
mod sign;
pub mod stream_url;
pub mod target;
mod unreachable;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_ssm::Client;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::net::connector::Connector;

pub use addresses::ServiceAddress;
pub use caller::{Caller, CallerError};
pub use config::Options;
pub use document::{DocumentDescription, DocumentParameter, PREFERENCES_DOCUMENT, Preferences};
pub use endpoints::Service;
pub use inventory::Found;
pub use kms::DataKeyRequest;
pub use node::{Node, NodeState};
pub use permission::Permission;
pub use selector::{Selector, TargetKind};
pub use session::{NotStarted, ResumeError, Resumption, StartSession, StartedSession, Token};
pub use stream_url::StreamUrl;
pub use target::{Choice, Target};

use credentials::CachedProvider;
use endpoints::Endpoints;
use identity::Identity;
use session::Quotas;

pub(crate) use error::find_cause;
pub(crate) use partition::dns_suffixes;
pub(crate) use sign::sign_upgrade;

/// One account and region, as the user selected them: everything that is needed to start
/// sessions there and to sign their upgrades.
///
/// Cloning is cheap; clones share the connection pool and the credentials.
#[derive(Clone)]
pub struct Aws {
    /// What the user selected, for looking it up anew.
    options: Options,
    client: Client,
    /// What clients of other services are made from, credentials included.
    sdk: SdkConfig,
    credentials: CachedProvider,
    /// Whether upgrades are signed, unless their URL is already.
    is_signing: bool,
    identity: Identity,
    region: String,
    /// The addresses the user has given, by flag, environment or profile.
    endpoints: Endpoints,
    /// How hosts are reached, by API calls and data channels alike.
    connector: Arc<Connector>,
    /// The API's side of it.
    http_client: SharedHttpClient,
    /// Host of the Systems Manager endpoint in use, for messages.
    host: String,
    quotas: Arc<Quotas>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("region", &self.region)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
