//! Configuration files, environment and region.

use super::{Check, Finding};
use crate::aws::{Aws, Options};

/// Loads the configuration. Nothing is called but, without a region anywhere, the instance metadata.
pub async fn check(options: &Options) -> (Finding, Option<Aws>) {
    match Aws::load(options).await {
        Ok(aws) => (describe(&aws), Some(aws)),
        Err(failure) => (Finding::fail(Check::Configuration, &failure), None),
    }
}

fn describe(aws: &Aws) -> Finding {
    let mut parts = vec![format!("region {}", aws.region())];
    parts.extend(aws.profile().map(|profile| format!("profile `{profile}`")));
    let given = aws.given_endpoints();
    let given = given
        .iter()
        .map(|(service, url)| format!("{} at {url}", service.name()));
    parts.extend(given);
    let message = parts.join(", ");
    match aws.shadowed_profile() {
        Some(profile) => Finding::warn(
            Check::Configuration,
            format!("{message}; AWS_ACCESS_KEY_ID takes the place of the credentials of profile `{profile}`"),
        )
        .fix(format!("unset AWS_ACCESS_KEY_ID, or pass --profile {profile}")),
        None => Finding::pass(Check::Configuration, message),
    }
}
