//! How the services are reached.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::parse_endpoint_url;
use crate::aws::Service;
use crate::net::proxy::ProxyUrl;

/// Where the services are, and the way to them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network options")]
pub struct NetworkArgs {
    /// The address of a service, such as a VPC endpoint's; may be repeated.
    ///
    /// SERVICE is ssm, ssmmessages, kms, ecs or ec2-instance-connect. That of ssmmessages takes the place of host and port
    /// in the URL of every data channel. AWS_ENDPOINT_URL_SERVICE and a services section of the profile do the same.
    #[arg(long = "endpoint", value_name = "SERVICE=URL", value_parser = parse_endpoint)]
    pub endpoints: Vec<(Service, String)>,

    /// The proxy to the services, as http://PROXY:PORT or https://PROXY:PORT.
    ///
    /// Without this option it is that of HTTPS_PROXY, or else of ALL_PROXY; for endpoints that are not encrypted, HTTP_PROXY. Hosts
    /// of NO_PROXY are reached directly. Other users of this machine can see what is typed here: a password belongs in
    /// HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT.
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub proxy: Option<ProxyUrl>,

    /// A file of certificates to trust beside those the system trusts, in PEM format.
    ///
    /// For proxies that inspect TLS, and services with a CA of their own. AWS_CA_BUNDLE and ca_bundle of the profile do the same.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_bundle: Option<PathBuf>,
}

fn parse_endpoint(text: &str) -> Result<(Service, String), String> {
    let Some((service, url)) = text.split_once('=') else {
        return Err("write SERVICE=URL, such as `ssmmessages=https://vpce-0123-abcd.ssmmessages.eu-west-1.vpce.amazonaws.com`".to_owned());
    };
    Ok((service.parse()?, parse_endpoint_url(url)?))
}
