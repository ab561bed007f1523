//! Configuration files, environment and region.

use url::Url;

use super::{Check, Finding};
use crate::aws::region::Unfamiliar;
use crate::aws::{Aws, Options, Service};
use crate::failure::{Exit, Failure};

/// Loads the configuration. Nothing is called but, without a region anywhere, the instance metadata.
pub async fn check(options: &Options) -> (Finding, Option<Aws>) {
    match Aws::load(options).await {
        Ok(aws) => match judge(&aws) {
            Ok(finding) => (finding, Some(aws)),
            Err(failure) => (Finding::fail(Check::Configuration, &failure), None),
        },
        Err(failure) => (Finding::fail(Check::Configuration, &failure), None),
    }
}

fn judge(aws: &Aws) -> Result<Finding, Failure> {
    let message = describe(aws);
    let warn = |why: String| Finding::warn(Check::Configuration, format!("{message}; {why}"));
    let has_own_endpoint = aws
        .given_endpoints()
        .iter()
        .any(|(service, _)| *service == Service::Ssm);
    if let Some(unfamiliar) = Unfamiliar::region(aws.region()) {
        let why = unfamiliar.to_string();
        // Whoever stands in for AWS may call its regions as it likes.
        if !has_own_endpoint && unfamiliar.is_impossible() {
            return Err(Failure::new(Exit::Usage, why).with_hint(unfamiliar.advice()));
        }
        if !has_own_endpoint || unfamiliar.similar.is_some() {
            return Ok(warn(why).fix(unfamiliar.advice()));
        }
    }
    if let Some(profile) = aws.shadowed_profile() {
        let why =
            format!("AWS_ACCESS_KEY_ID takes the place of the credentials of profile `{profile}`");
        let fix = format!("unset AWS_ACCESS_KEY_ID, or pass --profile {profile}");
        return Ok(warn(why).fix(fix));
    }
    Ok(Finding::pass(Check::Configuration, message))
}

fn describe(aws: &Aws) -> String {
    let mut parts = vec![format!("region {}", aws.region())];
    parts.extend(aws.profile().map(|profile| format!("profile `{profile}`")));
    parts.extend(endpoints(aws.given_endpoints()));
    parts.join(", ")
}

/// Services with the addresses given for them, those of one address together.
fn endpoints(given: Vec<(Service, Url)>) -> Vec<String> {
    let mut groups: Vec<(Url, Vec<&str>)> = Vec::new();
    for (service, url) in given {
        match groups.iter_mut().find(|(known, _)| *known == url) {
            Some((_, names)) => names.push(service.name()),
            None => groups.push((url, vec![service.name()])),
        }
    }
    let groups = groups.into_iter();
    groups
        .map(|(url, names)| format!("{} at {url}", names.join(", ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_at_one_address_are_told_together() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let given = vec![
            (Service::Ssm, url("http://a/")),
            (Service::Kms, url("http://b/")),
            (Service::Ecs, url("http://a/")),
        ];
        assert_eq!(
            endpoints(given),
            ["ssm, ecs at http://a/", "kms at http://b/"]
        );
    }
}
