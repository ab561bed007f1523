//! Where the services will be looked for, for whoever wants to look at the way there.

use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use url::Url;

use super::{Aws, Service, dns_suffixes};

/// Where a service is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAddress {
    /// The service.
    pub service: Service,
    /// A DNS name or an address, IPv6 with brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub is_tls: bool,
}

impl Aws {
    /// Where the API of Systems Manager is.
    pub fn api_address(&self) -> ServiceAddress {
        self.address(Service::Ssm)
    }

    /// Where a service is: at the address the user has given, or else where AWS has it.
    pub(super) fn address(&self, service: Service) -> ServiceAddress {
        if let Some(url) = self.endpoints.get(service) {
            return address(service, url);
        }
        let name = service.name();
        let host = match self.endpoints.get(Service::Ssm) {
            Some(_) => {
                let suffixes = dns_suffixes(self.region());
                let suffix = suffixes.first().copied().unwrap_or_default();
                format!("{name}.{}.{suffix}", self.region())
            }
            // It is called as the API is, with FIPS and with dual-stack.
            None => self.host.replacen("ssm", name, 1),
        };
        public(service, host)
    }

    /// Where data channels are, as far as that is known before a stream URL is.
    pub fn gateway_address(&self) -> ServiceAddress {
        let own = self.endpoints.get(Service::SsmMessages);
        let suffixes = dns_suffixes(self.region());
        let is_of_aws = |host: &str| suffixes.iter().any(|suffix| host.ends_with(suffix));
        match (own, self.endpoints.get(Service::Ssm)) {
            // Whatever stands in for the service is its gateway, too.
            (None, Some(url)) if !url.host_str().is_some_and(is_of_aws) => {
                address(Service::SsmMessages, url)
            }
            _ => self.address(Service::SsmMessages),
        }
    }

    /// The addresses that the user has given.
    pub fn given_endpoints(&self) -> Vec<(Service, Url)> {
        self.endpoints.all()
    }

    /// The profile that was selected by name.
    pub fn profile(&self) -> Option<&str> {
        self.identity.profile.as_deref()
    }

    /// The profile that would be used, were there no keys in the environment.
    pub fn shadowed_profile(&self) -> Option<&str> {
        self.identity.shadowed_profile.as_deref()
    }

    /// What to do when credentials have expired.
    pub fn renew_hint(&self) -> String {
        self.identity.renew_hint()
    }

    /// Where credentials come from.
    pub fn credentials_source(&self, credentials: &Credentials) -> &'static str {
        let features = credentials.get_property::<Vec<AwsCredentialFeature>>();
        let features = features.map(Vec::as_slice).unwrap_or_default();
        let has = |feature| features.contains(&feature);
        use AwsCredentialFeature as Feature;
        if self.options.credentials.is_some() {
            "of the embedded lab"
        } else if has(Feature::CredentialsStsAssumeRole) {
            "of a role that is assumed"
        } else if has(Feature::CredentialsStsAssumeRoleWebId) {
            "of a role that is assumed with a web identity"
        } else if has(Feature::CredentialsSso) || has(Feature::CredentialsProfileSso) {
            "from IAM Identity Center"
        } else if has(Feature::CredentialsProcess) || has(Feature::CredentialsProfileProcess) {
            "from the credential process of the profile"
        } else if has(Feature::CredentialsHttp) {
            "from the container"
        } else if has(Feature::CredentialsImds) {
            "of the instance's role"
        } else if has(Feature::CredentialsEnvVars) {
            "from the environment"
        } else {
            "from the shared configuration files"
        }
    }
}

fn public(service: Service, host: String) -> ServiceAddress {
    ServiceAddress {
        service,
        host,
        port: 443,
        is_tls: true,
    }
}

fn address(service: Service, url: &Url) -> ServiceAddress {
    ServiceAddress {
        service,
        host: url.host_str().unwrap_or_default().to_owned(),
        port: url.port_or_known_default().unwrap_or(443),
        is_tls: url.scheme() == "https",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Options;

    async fn hosts(region: &str, endpoint_url: Option<&str>) -> (String, String) {
        let options = Options {
            region: Some(region.to_owned()),
            endpoint_url: endpoint_url.map(str::to_owned),
            credentials: Some(Credentials::new("AKID", "SECRET", None, None, "test")),
            ..Options::default()
        };
        let aws = Aws::load(&options).await.unwrap();
        (aws.api_address().host, aws.gateway_address().host)
    }

    #[tokio::test]
    async fn the_gateway_is_where_the_api_is() {
        let public = hosts("cn-north-1", None).await;
        assert_eq!(public.0, "ssm.cn-north-1.amazonaws.com.cn");
        assert_eq!(public.1, "ssmmessages.cn-north-1.amazonaws.com.cn");
        let lab = hosts("us-east-1", Some("http://127.0.0.1:4566")).await;
        assert_eq!(lab, ("127.0.0.1".to_owned(), "127.0.0.1".to_owned()));
    }
}
