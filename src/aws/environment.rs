//! What the environment and the shared configuration files say: profile, region, and how the network is.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use aws_config::Region;
use aws_config::imds;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::profile::ProfileSet;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::os_shim_internal::{Env, Fs};

use super::{Identity, Options, error};
use crate::failure::{Exit, Failure};
use crate::net::connector::Connector;
use crate::net::proxy::Proxies;
use crate::net::tls::Trust;

/// The environment and the files that configuration is read from.
pub(super) struct Source {
    env: Env,
    fs: Fs,
}

impl Source {
    pub(super) fn machine() -> Self {
        Self {
            env: Env::real(),
            fs: Fs::real(),
        }
    }

    pub(super) fn nothing() -> Self {
        Self {
            env: Env::from_slice(&[(IMDS_DISABLED, "true")]),
            fs: Fs::from_slice(&[]),
        }
    }

    /// Tells whether an environment variable is set and not empty.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.var(name).is_some()
    }

    /// Puts together how hosts are reached: proxies, and whom to trust beside those the system trusts.
    pub(super) fn connector(
        &self,
        options: &Options,
        profiles: &ProfileSet,
    ) -> Result<Connector, Failure> {
        let proxies = Proxies::configured(options.proxy.as_ref(), |name| self.var(name));
        let flag = options.ca_bundle.clone().map(|file| (file, "--ca-bundle"));
        let variable = || Some((PathBuf::from(self.var("AWS_CA_BUNDLE")?), "AWS_CA_BUNDLE"));
        let profile = || {
            Some((
                PathBuf::from(profiles.get("ca_bundle")?),
                "ca_bundle in the profile",
            ))
        };
        let trust = match flag.or_else(variable).or_else(profile) {
            Some((file, origin)) => Trust::with_bundle(&file, origin)?,
            None => Trust::default(),
        };
        Ok(Connector::new(proxies, trust))
    }

    /// Returns an environment variable that is set and not empty.
    fn var(&self, name: &str) -> Option<String> {
        self.env.get(name).ok().filter(|value| !value.is_empty())
    }

    pub(super) async fn profiles(&self, selected: Option<&str>) -> Result<ProfileSet, Failure> {
        let selected = selected.map(|name| Cow::Owned(name.to_owned()));
        aws_config::profile::load(&self.fs, &self.env, &Default::default(), selected)
            .await
            .map_err(|error| {
                let why = error::chain(&error);
                Failure::new(
                    Exit::Usage,
                    format!("cannot read the AWS configuration: {why}"),
                )
                .with_hint("correct the file, or select another one with AWS_CONFIG_FILE")
            })
    }

    /// Tells whose credentials will be used; `flag` is the profile of `--profile`.
    pub(super) fn identity(
        &self,
        flag: Option<&str>,
        profiles: &ProfileSet,
    ) -> Result<Identity, Failure> {
        let name = flag.map(str::to_owned).or_else(|| self.var("AWS_PROFILE"));
        if let Some(name) = &name
            && profiles.get_profile(name).is_none()
        {
            let by = flag.map_or("AWS_PROFILE", |_| "--profile");
            return Err(Failure::new(
                Exit::Usage,
                format!("the AWS profile `{name}` (given by {by}) does not exist"),
            )
            .with_hint("`aws configure list-profiles` lists the profiles there are"));
        }
        // Keys in the environment come before any profile but that of the flag.
        if flag.is_none() && self.var("AWS_ACCESS_KEY_ID").is_some() {
            return Ok(Identity {
                is_environment: true,
                shadowed_profile: name,
                ..Identity::default()
            });
        }
        Ok(Identity {
            is_sso: is_sso(profiles, name.as_deref().unwrap_or("default")),
            profile: name,
            is_environment: false,
            shadowed_profile: None,
        })
    }

    /// Looks the region up in the SDK's order, but with the instance metadata bounded in time.
    pub(super) async fn region(
        &self,
        flag: Option<&str>,
        profiles: &ProfileSet,
        http_client: &SharedHttpClient,
    ) -> Result<Region, Failure> {
        let configured = flag
            .map(str::to_owned)
            .or_else(|| self.var("AWS_REGION"))
            .or_else(|| self.var("AWS_DEFAULT_REGION"))
            .or_else(|| profiles.get("region").map(str::to_owned));
        let region = match configured {
            Some(region) => Some(region),
            None => self.instance_region(http_client).await,
        };
        let Some(region) = region else {
            return Err(Failure::new(Exit::Usage, "no AWS region is configured")
                .with_hint("pass --region, set AWS_REGION, or add `region` to the profile"));
        };
        if region.is_empty()
            || !region
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(Failure::new(
                Exit::Usage,
                format!("`{region}` is not the name of an AWS region"),
            )
            .with_hint("a region is written as in eu-central-1"));
        }
        Ok(Region::new(region))
    }

    /// Asks the instance metadata service, which answers in milliseconds where it exists.
    ///
    /// The SDK's own lookup tries four times with a second each, and on a laptop, whose network
    /// swallows packets to the link-local address, that is how long a missing `--region` would
    /// take to be noticed.
    async fn instance_region(&self, http_client: &SharedHttpClient) -> Option<String> {
        let is_disabled = self.var(IMDS_DISABLED);
        if is_disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        let config = ProviderConfig::without_region().with_http_client(http_client.clone());
        let client = imds::Client::builder()
            .configure(&config)
            .max_attempts(1)
            .build();
        let provider = ImdsRegionProvider::builder().imds_client(client).build();
        let region = tokio::time::timeout(IMDS_REGION_DEADLINE, provider.region()).await;
        Some(region.ok()??.to_string())
    }
}

const IMDS_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// Longest wait for the instance metadata service to name the region.
const IMDS_REGION_DEADLINE: Duration = Duration::from_secs(1);

/// Tells whether a profile, or the one it assumes a role from, signs in through IAM Identity
/// Center.
fn is_sso(profiles: &ProfileSet, name: &str) -> bool {
    let Some(profile) = profiles.get_profile(name) else {
        return false;
    };
    let signs_in = |key| profile.get(key).is_some();
    signs_in("sso_session")
        || signs_in("sso_start_url")
        || profile
            .get("source_profile")
            .and_then(|source| profiles.get_profile(source))
            .is_some_and(|source| {
                source.get("sso_session").is_some() || source.get("sso_start_url").is_some()
            })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::http;

    const CONFIG: &str = "[default]\nregion = eu-west-1\n\
        [profile prod]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = r\n\
        [profile child]\nregion = eu-west-3\nrole_arn = arn\nsource_profile = prod\n\
        [sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.example\n";

    fn source(variables: &[(&str, &str)], config: &str) -> Source {
        let mut variables = variables.to_vec();
        variables.extend([("HOME", "/home/u"), (IMDS_DISABLED, "true")]);
        Source {
            env: Env::from_slice(&variables),
            fs: Fs::from_slice(&[("/home/u/.aws/config", config)]),
        }
    }

    async fn region(
        source: &Source,
        flag: Option<&str>,
        profile: Option<&str>,
    ) -> Result<String, Failure> {
        let profiles = source.profiles(profile).await?;
        let http_client = SharedHttpClient::new(http::Client::new(Arc::default()));
        let region = source.region(flag, &profiles, &http_client).await?;
        Ok(region.to_string())
    }

    async fn identity(source: &Source, flag: Option<&str>) -> Result<Identity, Failure> {
        source.identity(flag, &source.profiles(flag).await?)
    }

    #[tokio::test]
    async fn region_comes_from_flag_then_environment_then_profile() {
        let all = source(&[("AWS_REGION", "us-east-1")], CONFIG);
        assert_eq!(
            region(&all, Some("ap-east-1"), None).await.unwrap(),
            "ap-east-1"
        );
        assert_eq!(region(&all, None, None).await.unwrap(), "us-east-1");
        let old = source(
            &[("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "us-east-2")],
            CONFIG,
        );
        assert_eq!(region(&old, None, None).await.unwrap(), "us-east-2");
        let files = source(&[], CONFIG);
        assert_eq!(region(&files, None, None).await.unwrap(), "eu-west-1");
        assert_eq!(
            region(&files, None, Some("child")).await.unwrap(),
            "eu-west-3"
        );
    }

    #[tokio::test]
    async fn a_missing_or_impossible_region_is_a_usage_failure() {
        let nothing = source(&[], "");
        let failure = region(&nothing, None, None).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.hint.unwrap().contains("--region"));
        let failure = region(&nothing, Some("us-east-1.example.com"), None)
            .await
            .unwrap_err();
        assert!(
            failure.message.contains("us-east-1.example.com"),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn a_profile_that_does_not_exist_is_named() {
        let failure = identity(&source(&[], CONFIG), Some("nope"))
            .await
            .unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            failure.message.contains("`nope` (given by --profile)"),
            "{failure}"
        );
        let variable = source(&[("AWS_PROFILE", "nope")], CONFIG);
        let failure = identity(&variable, None).await.unwrap_err();
        assert!(failure.message.contains("AWS_PROFILE"), "{failure}");
    }

    #[tokio::test]
    async fn sso_is_seen_through_a_source_profile() {
        let files = source(&[], CONFIG);
        assert!(identity(&files, Some("prod")).await.unwrap().is_sso);
        assert!(identity(&files, Some("child")).await.unwrap().is_sso);
        assert!(!identity(&files, None).await.unwrap().is_sso);
        let variables = [("AWS_PROFILE", "prod"), ("AWS_ACCESS_KEY_ID", "AKID")];
        let keys = source(&variables, CONFIG);
        let environment = identity(&keys, None).await.unwrap();
        assert!(environment.is_environment && !environment.is_sso);
        assert!(environment.renew_hint().contains("start it again"));
        assert!(identity(&keys, Some("prod")).await.unwrap().is_sso);
    }
}
