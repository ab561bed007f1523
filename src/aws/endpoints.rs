//! At which addresses the services are called.

use std::collections::BTreeMap;
use std::str::FromStr;

use aws_config::SdkConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use url::Url;

use super::Aws;
use crate::failure::{Exit, Failure};
use crate::net::address::is_loopback;

/// A service whose address can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Systems Manager: sessions, targets.
    Ssm,
    /// The message gateway, where data channels are.
    SsmMessages,
    /// The keys that sessions are encrypted with.
    Kms,
    /// Containers, as targets.
    Ecs,
    /// The service that lets keys in for a minute.
    Ec2InstanceConnect,
}

impl Service {
    const ALL: [Self; 5] = [
        Self::Ssm,
        Self::SsmMessages,
        Self::Kms,
        Self::Ecs,
        Self::Ec2InstanceConnect,
    ];

    /// The name the AWS CLI has for it, which is also the first half of an IAM action.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::SsmMessages => "ssmmessages",
            Self::Kms => "kms",
            Self::Ecs => "ecs",
            Self::Ec2InstanceConnect => "ec2-instance-connect",
        }
    }

    /// Checks an address before it is written down.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if it cannot be one, or holds a password, which is not shown.
    pub fn check_endpoint(self, text: &str) -> Result<(), Failure> {
        parse(self, text, FLAG).map(drop)
    }

    /// The service an IAM action is of, if its address can be replaced.
    pub(super) fn of_action(action: &str) -> Option<Self> {
        let (name, _) = action.split_once(':')?;
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// The name in `AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT`, and in lower case in a `services` section.
    ///
    /// Not the SDKs' id, `EC2 Instance Connect`: the Rust SDK looks for `ec2-instance-connect` in the section then, where
    /// the AWS SDKs and Tools Reference Guide has underscores.
    fn id(self) -> String {
        self.name().to_ascii_uppercase().replace('-', "_")
    }
}

impl FromStr for Service {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name == "sts" {
            return Err(
                "credentials are looked up at the address of AWS_ENDPOINT_URL_STS or of the profile: set that one"
                    .to_owned(),
            );
        }
        let found = Self::ALL.into_iter().find(|service| service.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("the service is one of {names}")
        })
    }
}

/// The addresses the user has given, by flag, environment or profile. A service without one is called where AWS has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Endpoints(BTreeMap<Service, Endpoint>);

#[derive(Debug, Clone)]
struct Endpoint {
    url: Url,
    /// The option, the variable or the file it is from.
    origin: String,
}

impl Endpoints {
    /// Puts the `flags` of `--endpoint`, and the URL of `--endpoint-url`, before what the environment and the profile say.
    /// `is_set` tells whether an environment variable is.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] if an address cannot be one, or a flag gives two for one service.
    pub(super) fn resolve(
        flags: &[(Service, String)],
        endpoint_url: Option<&str>,
        sdk: &SdkConfig,
        is_set: impl Fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let flags = flags
            .iter()
            .map(|(service, text)| (*service, text.as_str(), FLAG));
        let endpoint_url = endpoint_url.map(|text| (Service::Ssm, text, "--endpoint-url"));
        let mut endpoints = BTreeMap::new();
        for (service, text, origin) in flags.chain(endpoint_url) {
            let endpoint = parse(service, text, origin)?;
            if endpoints.insert(service, endpoint).is_some() {
                let message = format!("two endpoints are given for {}", service.name());
                return Err(Failure::new(Exit::Usage, message));
            }
        }
        for service in Service::ALL {
            if !endpoints.contains_key(&service)
                && let Some(text) = configured(service, sdk, &is_set)
            {
                let variable = format!("AWS_ENDPOINT_URL_{}", service.id());
                let origin = [variable.as_str(), "AWS_ENDPOINT_URL"]
                    .into_iter()
                    .find(|variable| is_set(variable))
                    .unwrap_or("the AWS configuration file");
                endpoints.insert(service, parse(service, &text, origin)?);
            }
        }
        Ok(Self(endpoints))
    }

    /// The address of a service, if the user has given one.
    pub(super) fn get(&self, service: Service) -> Option<&Url> {
        self.0.get(&service).map(|endpoint| &endpoint.url)
    }

    /// Every address the user has given.
    pub(super) fn all(&self) -> Vec<(Service, Url)> {
        let all = self.0.iter();
        all.map(|(service, endpoint)| (*service, endpoint.url.clone()))
            .collect()
    }

    /// `sdk` with the address of `service`.
    pub(super) fn applied(&self, sdk: &SdkConfig, service: Service) -> SdkConfig {
        let mut sdk = sdk.clone().into_builder();
        sdk.set_endpoint_url(self.get(service).map(ToString::to_string));
        // What it would find has been looked up already, and comes after the flags.
        sdk.set_service_config(None::<Nothing>);
        sdk.build()
    }
}

impl Aws {
    /// What a client of `service` is made from: region, credentials, the way through the network, and the service's
    /// address if the user has given one.
    pub(super) fn sdk_for(&self, service: Service) -> SdkConfig {
        self.endpoints.applied(&self.sdk, service)
    }

    /// Where the user has given the message gateway's address: an option, a variable or a file. `None` for the gateway's own.
    pub(crate) fn gateway_origin(&self) -> Option<&str> {
        let endpoint = self.endpoints.0.get(&Service::SsmMessages);
        endpoint.map(|endpoint| endpoint.origin.as_str())
    }
}

/// The option of which an address is, as messages name it.
const FLAG: &str = "--endpoint";

/// A configuration that says nothing about any service.
#[derive(Debug)]
struct Nothing;

impl LoadServiceConfig for Nothing {
    fn load_config(&self, _key: ServiceConfigKey<'_>) -> Option<String> {
        None
    }
}

/// Finds what the environment or the profile says, in the SDK's order: the variable of the service, `AWS_ENDPOINT_URL`, the
/// profile's `services` section, its `endpoint_url`. The SDK honours `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` underneath.
fn configured(service: Service, sdk: &SdkConfig, is_set: impl Fn(&str) -> bool) -> Option<String> {
    let id = service.id();
    let key = ServiceConfigKey::builder()
        .service_id(&id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let found = sdk
        .service_config()
        .and_then(|config| config.load_config(key));
    if service != Service::SsmMessages {
        return found.or_else(|| sdk.endpoint_url().map(str::to_owned));
    }
    // Stream URLs name their host. An address that is meant for every API does not replace it, only one for the gateway.
    found.filter(|url| is_set("AWS_ENDPOINT_URL_SSMMESSAGES") || sdk.endpoint_url() != Some(url))
}

fn parse(service: Service, text: &str, origin: &str) -> Result<Endpoint, Failure> {
    // Whatever stands before an `@` may be a password, even where it ends the authority.
    let (secret, shown) = match text.rsplit_once('@') {
        Some((secret, shown)) => (Some(secret), shown),
        None => (None, text),
    };
    let refuse = |why: &str| {
        let name = service.name();
        Failure::new(
            Exit::Usage,
            format!("the endpoint URL `{shown}` of {name} ({origin}) {why}"),
        )
        .with_hint(format!(
            "it looks like https://vpce-0123-abcd.{name}.eu-central-1.vpce.amazonaws.com"
        ))
    };
    if secret.is_some() {
        return Err(refuse("has a user or a password, which no service takes"));
    }
    let url = Url::parse(text).ok().filter(Url::has_host);
    let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return Err(refuse("is not an http or https URL"));
    };
    let is_bare = url.path() == "/" && url.query().is_none();
    if service == Service::SsmMessages && !is_bare {
        return Err(refuse(
            "has more than a host and a port, and nothing else is replaced",
        ));
    }
    if service == Service::SsmMessages
        && url.scheme() == "http"
        && !url.host_str().is_some_and(is_loopback)
    {
        return Err(refuse(
            "is not encrypted, which only data channels on loopback may be",
        ));
    }
    Ok(Endpoint {
        url,
        origin: origin.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration in which these variables and lines stand.
    #[derive(Debug, Clone, Default)]
    struct Configured(BTreeMap<&'static str, &'static str>);

    impl LoadServiceConfig for Configured {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            let specific = self.0.get(key.service_id());
            specific
                .or_else(|| self.0.get(""))
                .map(|url| url.to_string())
        }
    }

    fn resolve(
        flags: &[(Service, &str)],
        configured: &[(&'static str, &'static str)],
    ) -> Result<Endpoints, Failure> {
        let configured: BTreeMap<_, _> = configured.iter().copied().collect();
        let mut sdk = SdkConfig::builder().service_config(Configured(configured.clone()));
        sdk.set_endpoint_url(configured.get("").map(ToString::to_string));
        let flags: Vec<_> = flags
            .iter()
            .map(|(service, url)| (*service, url.to_string()))
            .collect();
        Endpoints::resolve(&flags, None, &sdk.build(), |_| false)
    }

    fn host(endpoints: &Endpoints, service: Service) -> Option<&str> {
        endpoints.get(service).and_then(Url::host_str)
    }

    #[test]
    fn a_flag_comes_first_and_a_service_before_all() {
        let configured = [
            ("", "https://all"),
            ("KMS", "https://kms"),
            ("SSM", "https://ssm"),
        ];
        let found = resolve(&[(Service::Ssm, "https://flag")], &configured).unwrap();
        assert_eq!(host(&found, Service::Ssm), Some("flag"));
        assert_eq!(host(&found, Service::Kms), Some("kms"));
        assert_eq!(host(&found, Service::Ecs), Some("all"));
        assert_eq!(host(&Endpoints::default(), Service::Ssm), None);
    }

    #[test]
    fn the_gateway_is_replaced_by_its_own_endpoint_only() {
        let all = resolve(&[], &[("", "https://all")]).unwrap();
        assert_eq!(host(&all, Service::SsmMessages), None);
        let both = [("", "https://all"), ("SSMMESSAGES", "https://gateway:8443")];
        let own = resolve(&[], &both).unwrap();
        assert_eq!(host(&own, Service::SsmMessages), Some("gateway"));
        for more in ["https://gateway/path", "https://gateway/?query"] {
            let failure = resolve(&[(Service::SsmMessages, more)], &[]).unwrap_err();
            assert!(failure.message.contains("more than a host"), "{failure}");
            assert!(failure.message.contains(" (--endpoint) "), "{failure}");
        }
        let plain = resolve(&[], &[("SSMMESSAGES", "http://gateway")]).unwrap_err();
        assert!(plain.message.contains("is not encrypted"), "{plain}");
        assert!(plain.message.contains("configuration file"), "{plain}");
        assert!(resolve(&[(Service::SsmMessages, "http://127.0.0.1:1")], &[]).is_ok());
    }

    #[test]
    fn a_password_is_refused_and_not_shown() {
        for service in Service::ALL {
            for text in [
                "https://alice:S3CRET@vpce.example",
                "https://alice:12/S3CRET@vpce.example",
                "https://S3CRET@vpce.example",
                "ftp://alice:S3CRET@vpce.example",
            ] {
                let failure = resolve(&[(service, text)], &[]).unwrap_err();
                assert_eq!(failure.exit, Exit::Usage);
                assert!(failure.message.contains("`vpce.example`"), "{failure}");
                assert!(!failure.message.contains("S3CRET"), "{failure}");
            }
        }
    }

    #[test]
    fn what_cannot_be_an_endpoint_is_refused() {
        for text in [
            "127.0.0.1:4566",
            "ftp://a",
            "https://",
            "vpce-1.ssm.example",
        ] {
            let failure = resolve(&[(Service::Ssm, text)], &[]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(text), "{failure}");
        }
        let twice = [(Service::Kms, "https://a"), (Service::Kms, "https://b")];
        let failure = resolve(&twice, &[]).unwrap_err();
        assert!(failure.message.contains("two endpoints"), "{failure}");
    }

    #[test]
    fn services_are_named_as_by_the_aws_cli() {
        for service in Service::ALL {
            assert_eq!(service.name().parse(), Ok(service));
        }
        assert!("ec2".parse::<Service>().unwrap_err().contains("kms, ecs"));
        assert!(
            "sts"
                .parse::<Service>()
                .unwrap_err()
                .contains("AWS_ENDPOINT_URL_STS")
        );
    }
}
