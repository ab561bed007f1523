//! Putting flags, environment and shared configuration files together.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use url::Url;

use super::credentials::CachedProvider;
use super::endpoints::{Endpoints, Service};
use super::environment::Source;
use super::{Aws, error};
use crate::failure::{Exit, Failure};
use crate::known_targets::Account;
use crate::net::connector::Connector;
use crate::net::http;
use crate::net::proxy::ProxyUrl;

/// What the user chose on the command line; everything left out comes from the environment and
/// the shared configuration files, as with the AWS CLI.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Name of a profile of the shared configuration files.
    pub profile: Option<String>,
    /// Region of the target, such as `eu-central-1`.
    pub region: Option<String>,
    /// URL of the Systems Manager API, instead of the region's public endpoint.
    pub endpoint_url: Option<String>,
    /// URLs of services, one each.
    pub endpoints: Vec<(Service, String)>,
    /// The proxy, instead of the environment's.
    pub proxy: Option<ProxyUrl>,
    /// A file with certificates to trust, instead of the environment's and the profile's.
    pub ca_bundle: Option<PathBuf>,
    /// Fixed credentials. With these the environment and the configuration files are not read
    /// at all, so that an embedded service is not affected by them.
    pub credentials: Option<Credentials>,
}

impl Aws {
    /// Tells whether the configuration files have a profile of this name.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if they cannot be parsed.
    pub async fn has_profile(name: &str) -> Result<bool, Failure> {
        let profiles = Source::machine().profiles(Some(name)).await?;
        Ok(profiles.get_profile(name).is_some())
    }

    /// Reads the configuration without calling AWS; credentials are looked up when first needed.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if the configuration cannot be parsed, the selected profile does not
    /// exist, the endpoint is not an HTTP URL, or no region can be found.
    pub async fn load(options: &Options) -> Result<Self, Failure> {
        let source = match options.credentials {
            Some(_) => Source::nothing(),
            None => Source::machine(),
        };
        let profile = options
            .profile
            .as_deref()
            .filter(|_| options.credentials.is_none());
        let profiles = source.profiles(profile).await?;
        let identity = source.identity(profile, &profiles)?;
        let connector = Arc::new(source.connector(options, &profiles)?);
        let http_client = SharedHttpClient::new(http::Client::new(Arc::clone(&connector)));
        let flag = options.region.as_deref();
        let region = source.region(flag, &profiles, &http_client).await?;

        let sdk = sdk_config(options, region.clone(), http_client.clone()).await;
        let endpoint_url = options.endpoint_url.as_deref();
        let endpoints = Endpoints::resolve(&options.endpoints, endpoint_url, &sdk, |name| {
            source.is_set(name)
        })?;
        let host = resolve_host(&sdk, endpoints.get(Service::Ssm)).await?;

        let credentials = CachedProvider::new(provider(profile, &sdk));
        let sdk = sdk
            .into_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            // `CachedProvider` is the cache: one for API calls and upgrades together.
            .identity_cache(IdentityCache::no_cache())
            .build();
        Ok(Self {
            options: options.clone(),
            client: Client::new(&endpoints.applied(&sdk, Service::Ssm)),
            sdk,
            endpoints,
            connector,
            http_client,
            credentials,
            is_signing: true,
            identity,
            region: region.to_string(),
            host,
            quotas: Arc::default(),
        })
    }

    /// Reads the configuration again for where credentials come from: what has been found there is
    /// not accepted any more, and the user may have replaced it.
    ///
    /// The chain keeps the files it has read, so that it would never see new keys in them.
    pub(crate) async fn reload_credentials(&self) {
        if self.options.credentials.is_some() {
            return;
        }
        let region = Region::new(self.region.clone());
        let sdk = sdk_config(&self.options, region, self.http_client.clone()).await;
        let provider = provider(self.options.profile.as_deref(), &sdk);
        self.credentials.replace(provider).await;
    }

    /// Tells whether upgrades are to be signed, unless their URL is already.
    pub(crate) fn is_signing(&self) -> bool {
        self.is_signing
    }

    /// The way to the services, which the data channel takes too.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// What was selected on the command line; `None` for a service that is embedded.
    pub(crate) fn account(&self) -> Option<Account> {
        if self.options.credentials.is_some() {
            return None;
        }
        let mut endpoints = self.options.endpoints.iter();
        let endpoint = endpoints
            .find(|(service, _)| *service == Service::Ssm)
            .map(|(_, url)| url);
        Some(Account {
            profile: self.options.profile.clone(),
            region: self.options.region.clone(),
            endpoint_url: endpoint.or(self.options.endpoint_url.as_ref()).cloned(),
        })
    }

    /// Returns the region sessions are started in.
    pub fn region(&self) -> &str {
        &self.region
    }
}

/// Longest wait for one answer of the API, connection included, whose steps have deadlines and errors of their own.
/// StartSession takes well under 2 s.
const API_ATTEMPT_DEADLINE: Duration = Duration::from_secs(20);

/// Longest API call with all its retries.
const API_CALL_DEADLINE: Duration = Duration::from_secs(30);

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .disable_connect_timeout()
        .operation_attempt_timeout(API_ATTEMPT_DEADLINE)
        .operation_timeout(API_CALL_DEADLINE)
        .build()
}

/// Longest wait for a connection to a service that credentials come from: less than the five seconds after which the
/// clients that the SDK makes for them give up a connection in the making, without a word about the network.
const CREDENTIALS_CONNECT_DEADLINE: Duration = Duration::from_secs(4);

fn credentials_timeouts() -> TimeoutConfig {
    let timeouts = timeouts().into_builder();
    timeouts
        .connect_timeout(CREDENTIALS_CONNECT_DEADLINE)
        .build()
}

async fn sdk_config(options: &Options, region: Region, http_client: SharedHttpClient) -> SdkConfig {
    if let Some(credentials) = &options.credentials {
        let mut config = SdkConfig::builder();
        // Whatever is embedded serves every API.
        config.set_endpoint_url(options.endpoint_url.clone());
        return config
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .http_client(http_client)
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .build();
    }
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region)
        .http_client(http_client)
        .timeout_config(credentials_timeouts())
        // It would end a connection in the making after five seconds, and not say at which step.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(profile) = &options.profile {
        loader = loader.profile_name(profile);
    }
    let sdk = loader.load().await.into_builder();
    sdk.timeout_config(timeouts()).build()
}

/// Returns where credentials come from; `profile` is the one of `--profile`.
fn provider(profile: Option<&str>, sdk: &SdkConfig) -> Option<SharedCredentialsProvider> {
    match profile {
        Some(profile) => Some(named_profile_first(profile, sdk)),
        None => sdk.credentials_provider(),
    }
}

/// Puts the profile of `--profile` before the keys in the environment, as the AWS CLI does; the
/// SDK's chain would use the environment's keys and ignore the profile without a word.
fn named_profile_first(profile: &str, sdk: &SdkConfig) -> SharedCredentialsProvider {
    let mut config = ProviderConfig::without_region()
        .with_timeout_config(credentials_timeouts())
        .with_region(sdk.region().cloned())
        .with_use_fips(sdk.use_fips())
        .with_use_dual_stack(sdk.use_dual_stack());
    if let Some(http_client) = sdk.http_client() {
        config = config.with_http_client(http_client);
    }
    let named = ProfileFileCredentialsProvider::builder()
        .configure(&config)
        .profile_name(profile)
        .build();
    let chain = CredentialsProviderChain::first_try("Profile", named);
    SharedCredentialsProvider::new(match sdk.credentials_provider() {
        Some(default) => chain.or_else("Default", default),
        None => chain,
    })
}

/// Asks the SDK's rules for the host of the Systems Manager endpoint, so that messages name the
/// one in use and combinations that do not exist are refused before anything is bound.
async fn resolve_host(sdk: &SdkConfig, user_endpoint: Option<&Url>) -> Result<String, Failure> {
    let unusable = |error: &(dyn Error + 'static)| {
        let why = error::chain(error);
        Failure::new(
            Exit::Usage,
            format!("no Systems Manager endpoint can be used: {why}"),
        )
        .with_hint("check the region, and whether it has FIPS and dual-stack endpoints if those are asked for")
    };
    let params = Params::builder()
        .set_region(sdk.region().map(ToString::to_string))
        .set_use_fips(sdk.use_fips())
        .set_use_dual_stack(sdk.use_dual_stack())
        .set_endpoint(user_endpoint.map(ToString::to_string))
        .build()
        .map_err(|error| unusable(&error))?;
    let resolver = DefaultResolver::new();
    let endpoint = ResolveEndpoint::resolve_endpoint(&resolver, &params)
        .await
        .map_err(|error| unusable(error.as_ref()))?;
    let url = Url::parse(endpoint.url()).map_err(|error| unusable(&error))?;
    Ok(url.host_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(endpoint_url: Option<&str>) -> Options {
        Options {
            region: Some("us-east-1".into()),
            endpoint_url: endpoint_url.map(str::to_owned),
            credentials: Some(Credentials::new("AKID", "S3CR3T", None, None, "test")),
            ..Options::default()
        }
    }

    #[tokio::test]
    async fn the_endpoint_in_use_is_known() {
        let public = Aws::load(&fixed(None)).await.unwrap();
        assert_eq!(public.host, "ssm.us-east-1.amazonaws.com");
        assert_eq!(public.endpoints.get(Service::Ssm), None);
        let given = Aws::load(&fixed(Some("http://127.0.0.1:4566")))
            .await
            .unwrap();
        assert_eq!(given.host, "127.0.0.1");
        assert_eq!(
            given.endpoints.get(Service::Kms).unwrap().port(),
            Some(4566)
        );
        let failure = Aws::load(&fixed(Some("127.0.0.1:4566"))).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[tokio::test]
    async fn endpoints_follow_partition_fips_and_dual_stack() {
        for (region, use_fips, use_dual_stack, expected) in [
            ("eu-west-1", false, false, "ssm.eu-west-1.amazonaws.com"),
            ("us-east-1", true, false, "ssm-fips.us-east-1.amazonaws.com"),
            ("us-east-1", false, true, "ssm.us-east-1.api.aws"),
            (
                "us-gov-west-1",
                false,
                false,
                "ssm.us-gov-west-1.amazonaws.com",
            ),
            (
                "us-gov-west-1",
                true,
                false,
                "ssm.us-gov-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                false,
                false,
                "ssm.cn-north-1.amazonaws.com.cn",
            ),
            (
                "us-iso-east-1",
                false,
                false,
                "ssm.us-iso-east-1.c2s.ic.gov",
            ),
            (
                "us-isob-east-1",
                false,
                false,
                "ssm.us-isob-east-1.sc2s.sgov.gov",
            ),
            (
                "eusc-de-east-1",
                false,
                false,
                "ssm.eusc-de-east-1.amazonaws.eu",
            ),
        ] {
            let sdk = SdkConfig::builder()
                .region(Region::new(region))
                .use_fips(use_fips)
                .use_dual_stack(use_dual_stack)
                .build();
            assert_eq!(resolve_host(&sdk, None).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn credentials_are_not_shown() {
        let aws = Aws::load(&fixed(None)).await.unwrap();
        assert!(!format!("{aws:?}").contains("S3CR3T"));
        assert!(!format!("{:?}", fixed(None)).contains("S3CR3T"));
    }
}
