//! One cause that shows in several places is one finding.

use std::net::IpAddr;

use super::{Finding, Outcome};

/// What was found of one of several.
pub(super) struct Found<'a> {
    /// Of which one.
    pub(super) subject: &'a str,
    /// The host that it is about, if it is about one: a cause is the same for each.
    pub(super) host: &'a str,
    pub(super) finding: Finding,
}

/// Makes one finding of those that tell the same, and says of each what it is about.
pub(super) fn grouped(found: Vec<Found<'_>>) -> Vec<Finding> {
    let mut groups: Vec<(Cause, Vec<&str>, Finding)> = Vec::new();
    for Found {
        subject,
        host,
        finding,
    } in found
    {
        let cause = Cause::of(&finding, host);
        match groups.iter_mut().find(|(known, ..)| *known == cause) {
            Some((_, subjects, _)) => subjects.push(subject),
            None => groups.push((cause, vec![subject], finding)),
        }
    }
    let groups = groups.into_iter();
    groups
        .map(|(_, subjects, finding)| finding.of(subjects.join(", ")))
        .collect()
}

/// What a finding tells, but for whom it tells it of.
#[derive(PartialEq)]
struct Cause {
    outcome: Outcome,
    message: String,
    /// As it is: what has to be done for one host after the other is worth two findings.
    fix: Option<String>,
}

impl Cause {
    fn of(finding: &Finding, host: &str) -> Self {
        let message = match finding.outcome {
            // Where nothing is wrong, the endpoints are what there is to tell.
            Outcome::Pass => finding.message.clone(),
            Outcome::Warn | Outcome::Fail | Outcome::Skip => {
                without_addresses(&finding.message.replace(host, ""))
            }
        };
        Self {
            outcome: finding.outcome,
            message,
            fix: finding.fix.clone(),
        }
    }
}

/// Leaves out the addresses that a name stands for, which are in brackets.
fn without_addresses(message: &str) -> String {
    let addresses = message.split_once(" (").and_then(|(before, rest)| {
        let (inside, after) = rest.split_once(')')?;
        let first = inside.split(' ').next()?;
        first.parse::<IpAddr>().ok()?;
        Some(format!("{before}{after}"))
    });
    addresses.unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{Service, ServiceAddress};
    use crate::doctor::Check;

    fn endpoint(service: Service) -> ServiceAddress {
        ServiceAddress {
            service,
            host: format!("{}.example", service.name()),
            port: 443,
            is_tls: true,
        }
    }

    /// What is told of two endpoints, which `{}` in the messages stands for.
    fn told(outcome: Outcome, messages: [&str; 2], fixes: [&str; 2]) -> Vec<String> {
        let endpoints = [Service::Ssm, Service::SsmMessages].map(endpoint);
        let found = endpoints.iter().zip(messages.into_iter().zip(fixes));
        let found = found.map(|(endpoint, (message, fix))| {
            let message = message.replace("{}", &endpoint.host);
            let finding = Finding::new(Check::Connection, outcome, message).fix(fix);
            Found {
                subject: endpoint.service.name(),
                host: &endpoint.host,
                finding,
            }
        });
        grouped(found.collect())
            .into_iter()
            .map(|finding| format!("{}: {}", finding.subject.unwrap(), finding.message))
            .collect()
    }

    #[test]
    fn one_cause_is_told_once() {
        assert_eq!(
            told(Outcome::Fail, ["{} is not trusted"; 2], ["trust it"; 2]),
            ["ssm, ssmmessages: ssm.example is not trusted"]
        );
        let silent = [
            "no connection to {}:443 (52.0.0.1 and 2 more) within 10 s",
            "no connection to {}:443 (52.0.0.7) within 10 s",
        ];
        assert_eq!(told(Outcome::Fail, silent, ["wait"; 2]).len(), 1);
    }

    #[test]
    fn two_causes_are_told_apart() {
        let signers = ["{} is signed by CN=A (1)", "{} is signed by CN=B (1)"];
        assert_eq!(told(Outcome::Warn, signers, ["look"; 2]).len(), 2);
        let hosts = ["allow ssm.example", "allow ssmmessages.example"];
        assert_eq!(told(Outcome::Fail, ["{} is forbidden"; 2], hosts).len(), 2);
        assert_eq!(
            told(Outcome::Pass, ["{} answers"; 2], [""; 2]),
            [
                "ssm: ssm.example answers",
                "ssmmessages: ssmmessages.example answers"
            ]
        );
    }
}
