//! What the endpoints' names stand for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::grouping::{Found, grouped};
use super::{Check, Finding};
use crate::aws::region::Unfamiliar;
use crate::aws::{Aws, Service, ServiceAddress};
use crate::failure::Failure;
use crate::net::address::is_private;
use crate::net::dial;

/// Longest wait for DNS.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Looks up the names of all endpoints, and compares what comes of them. The second half are the services whose names are not
/// known.
pub async fn dns(aws: &Aws, endpoints: &[ServiceAddress]) -> (Vec<Finding>, Vec<Service>) {
    let looks = endpoints.iter().map(|endpoint| look_up(aws, endpoint));
    let (mut places, mut failures, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (endpoint, place) in endpoints.iter().zip(join_all(looks).await) {
        match place {
            Ok(place) => places.push((endpoint, place)),
            Err(failure) => {
                unknown.push(endpoint.service);
                failures.push(Found {
                    subject: endpoint.service.name(),
                    host: &endpoint.host,
                    finding: unresolved(&failure, aws, endpoint),
                });
            }
        }
    }
    let mut findings = grouped(failures);
    if !places.is_empty() {
        findings.push(compare(&places));
    }
    (findings, unknown)
}

fn unresolved(failure: &Failure, aws: &Aws, endpoint: &ServiceAddress) -> Finding {
    let finding = Finding::fail(Check::Dns, failure);
    match Unfamiliar::region(aws.region()) {
        Some(unfamiliar) if endpoint.host.contains(aws.region()) => {
            finding.fix(unfamiliar.advice())
        }
        _ => finding,
    }
}

fn compare(places: &[(&ServiceAddress, Place)]) -> Finding {
    let told = places.iter().map(|(address, place)| place.tell(address));
    let mut told: Vec<_> = told.collect();
    told.dedup();
    let message = told.join("; ");
    let is = |wanted: Reach| {
        places
            .iter()
            .any(|(_, place)| place.reach() == Some(wanted))
    };
    if is(Reach::Mixed) || is(Reach::Private) && is(Reach::Public) {
        return Finding::warn(Check::Dns, format!("split: {message}")).fix(
            "private addresses are VPC endpoints, and work from their network alone: use one DNS for all names, and have \
             an endpoint with private DNS for each of ssm and ssmmessages",
        );
    }
    Finding::pass(Check::Dns, message)
}

/// Where a name leads.
enum Place {
    /// The proxy looks it up.
    BehindProxy(String),
    /// It is an address itself.
    Literal,
    Addresses(Vec<IpAddr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Private,
    Public,
    Mixed,
}

impl Place {
    fn reach(&self) -> Option<Reach> {
        let Self::Addresses(addresses) = self else {
            return None;
        };
        let mut private = addresses.iter().map(|address| is_private(*address));
        Some(match (private.clone().any(|is| is), private.all(|is| is)) {
            (_, true) => Reach::Private,
            (true, false) => Reach::Mixed,
            (false, false) => Reach::Public,
        })
    }

    fn tell(&self, address: &ServiceAddress) -> String {
        let host = &address.host;
        match (self, self.reach()) {
            (Self::BehindProxy(proxy), _) => format!("{host} is looked up by the proxy {proxy}"),
            (Self::Literal, _) => format!("{host} is an address"),
            (Self::Addresses(found), reach) => {
                let first = found.first().map(ToString::to_string).unwrap_or_default();
                let more = match found.len() {
                    0 | 1 => String::new(),
                    len => format!(" and {} more", len - 1),
                };
                let reach = match reach {
                    Some(Reach::Private) => "private",
                    Some(Reach::Mixed) => "private and public",
                    Some(Reach::Public) | None => "public",
                };
                format!("{host} is {first}{more} ({reach})")
            }
        }
    }
}

async fn look_up(aws: &Aws, address: &ServiceAddress) -> Result<Place, Failure> {
    let ServiceAddress {
        host, port, is_tls, ..
    } = address;
    if let Some(proxy) = aws.connector().proxy_to(host, *port, *is_tls)? {
        return Ok(Place::BehindProxy(proxy.to_string()));
    }
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Ok(Place::Literal);
    }
    let found = match timeout(ANSWER_DEADLINE, dial::resolve(host, *port)).await {
        Ok(found) => found,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "DNS did not answer within 10 s",
        )),
    };
    let found = found.map_err(|error| dial::unresolved(&error, host))?;
    Ok(Place::Addresses(found.iter().map(SocketAddr::ip).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let reach = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse().unwrap()).collect();
            Place::Addresses(addresses).reach().unwrap()
        };
        assert_eq!(reach(&["10.0.0.1", "fd00::1"]), Reach::Private);
        assert_eq!(reach(&["52.0.0.1"]), Reach::Public);
        assert_eq!(reach(&["52.0.0.1", "10.0.0.1"]), Reach::Mixed);
    }
}
