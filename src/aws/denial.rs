//! Which policy denies a call, as the message of a denial tells, and who can change that.

use super::error::one_line;
use crate::failure::Denial;

/// Policies, as denials name them behind "with an explicit deny in" and "because no … allows", with what to do about an
/// explicit deny and about a missing permission.
///
/// Source: IAM User Guide, "Troubleshoot access denied error messages".
const POLICIES: [(&str, &str, &str); 7] = [
    (
        "service control policy",
        "a service control policy of the organization forbids it: no policy of the account can allow it, only the organization's \
         administrators can",
        "the service control policies of the organization have to allow it, too: ask its administrators",
    ),
    (
        "resource control policy",
        "a resource control policy of the organization forbids it: only the organization's administrators can change that",
        "the resource control policies of the organization have to allow it, too: ask its administrators",
    ),
    (
        "permissions boundary",
        "the caller's permissions boundary forbids it: its Deny statement has to go",
        "the caller's permissions boundary has to allow it, as well as a policy of the caller",
    ),
    (
        "session policy",
        "the session policy that the role was assumed with forbids it: assume it without that policy",
        "the session policy that the role was assumed with does not allow it: assume it with one that does, or with none",
    ),
    (
        "VPC endpoint policy",
        "the policy of the VPC endpoint forbids it: its Deny statement has to go",
        "the policy of the VPC endpoint has to allow it, too",
    ),
    (
        "resource-based policy",
        "the resource's own policy forbids it: its Deny statement has to go",
        "the resource's own policy has to allow it for the caller, as a key policy of KMS does",
    ),
    (
        "identity-based policy",
        "a Deny statement in the caller's IAM policies forbids it, perhaps but for certain targets or tags: an Allow elsewhere does not help",
        "",
    ),
];

/// What an explicit denial says before it names the policy.
const FORBIDDEN: &str = "with an explicit deny in ";

/// How a call is denied, as the service tells.
pub(super) fn of(message: &str) -> Denial {
    match message.contains(FORBIDDEN) {
        true => Denial::Forbidden,
        false => Denial::Unallowed,
    }
}

/// What to do about a denial of `action`, such as `ssm:StartSession`.
pub(super) fn hint(action: &str, message: &str) -> String {
    // Newer services say in which policy, and after it in brackets which one.
    let denied = message.split(FORBIDDEN).nth(1);
    let missing = message.split("because no ").nth(1);
    let find = |text: &str| {
        let text = text.to_ascii_lowercase();
        let is_named = |(name, ..): &&(&str, &str, &str)| {
            let start: String = text.chars().take(MAX_DISTANCE).collect();
            start.contains(&name.to_ascii_lowercase())
        };
        POLICIES.iter().find(is_named)
    };
    match (denied.and_then(find), missing.and_then(find)) {
        (Some((_, forbidden, _)), _) => (*forbidden).to_owned(),
        (None, Some((_, _, unallowed))) if !unallowed.is_empty() => (*unallowed).to_owned(),
        (None, _) => match resource(message) {
            Some(resource) => format!("allow {action} on {resource} in the caller's IAM policies"),
            None => format!("allow {action} for the caller on that resource in its IAM policies"),
        },
    }
}

/// How far behind the words that announce it a policy is named, in characters: an article stands before it.
const MAX_DISTANCE: usize = 32;

/// The ARN a denial names.
fn resource(message: &str) -> Option<String> {
    let rest = message.split("on resource: ").nth(1)?;
    let arn = rest.split_whitespace().next()?;
    arn.starts_with("arn:").then(|| one_line(arn))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "User: arn:aws:iam::123456789012:user/u is not authorized to perform: ssm:StartSession on resource: \
                         arn:aws:ec2:us-east-1:123456789012:instance/i-0abc";

    fn hint_for(rest: &str) -> String {
        hint("ssm:StartSession", &format!("{START} {rest}"))
    }

    #[test]
    fn the_policy_that_denies_is_told() {
        for (rest, expected) in [
            (
                "with an explicit deny in a service control policy",
                "only the organization's",
            ),
            (
                "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/p",
                "only the organization's",
            ),
            (
                "with an explicit deny in a permissions boundary",
                "boundary forbids it",
            ),
            (
                "with an explicit deny in an identity-based policy",
                "Deny statement in the caller's",
            ),
            (
                "with an explicit deny in a VPC endpoint policy",
                "VPC endpoint forbids",
            ),
            (
                "because no VPC endpoint policy allows the ssm:StartSession action",
                "VPC endpoint has to allow",
            ),
            (
                "because no session policy allows the ssm:StartSession action",
                "assume it with one",
            ),
            (
                "because no resource-based policy allows the kms:Decrypt action",
                "key policy",
            ),
            (
                "because no service control policy allows the ssm:StartSession action",
                "ask its administrators",
            ),
        ] {
            let hint = hint_for(rest);
            assert!(hint.contains(expected), "{rest}: {hint}");
        }
    }

    #[test]
    fn a_missing_permission_is_named_with_its_resource() {
        let allow = "allow ssm:StartSession on arn:aws:ec2:us-east-1:123456789012:instance/i-0abc in the caller's IAM policies";
        assert_eq!(
            hint_for("because no identity-based policy allows the ssm:StartSession action"),
            allow
        );
        assert_eq!(hint_for(""), allow);
        assert!(hint("ssm:X", "no").contains("on that resource"));
    }
}
