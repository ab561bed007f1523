//! Who the service takes the caller for.

use aws_sdk_sts::Client;

use super::{Aws, error};
use crate::failure::{Exit, Failure};

/// Whom the credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The ARN of the user, or of the session of a role.
    pub arn: String,
    /// The account, 12 digits.
    pub account: String,
}

impl Caller {
    /// What the ids of the caller's sessions begin with: the name of the user, or of the role's session.
    pub fn session_prefix(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }
}

/// Why the caller is not known.
#[derive(Debug)]
pub enum CallerError {
    /// The credentials are no good.
    Refused(Failure),
    /// STS did not answer, which sessions can do without.
    Unreachable(Failure),
}

impl Aws {
    /// Asks STS whom the credentials belong to. No policy can forbid that, so a refusal means the credentials.
    ///
    /// # Errors
    ///
    /// Whether they were refused, or STS could not be asked.
    pub async fn caller(&self) -> Result<Caller, CallerError> {
        self.credentials().await.map_err(CallerError::Refused)?;
        let answer = Client::new(&self.sdk).get_caller_identity().send().await;
        let identity = answer.map_err(|error| {
            let failure = self.api_failure("sts:GetCallerIdentity", &error);
            match failure.exit {
                Exit::Credentials => CallerError::Refused(failure),
                _ => CallerError::Unreachable(failure),
            }
        })?;
        let text = |text: Option<String>| text.map(|text| error::one_line(&text));
        match (text(identity.arn), text(identity.account)) {
            (Some(arn), Some(account)) => Ok(Caller { arn, account }),
            _ => Err(CallerError::Unreachable(
                Failure::new(
                    Exit::Failure,
                    "the answer to sts:GetCallerIdentity has no ARN",
                )
                .with_hint("something else than STS may have given it: check its endpoint URL"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_begin_with_the_callers_name() {
        for (arn, name) in [
            ("arn:aws:iam::123456789012:user/team/alice", "alice"),
            (
                "arn:aws:sts::123456789012:assumed-role/Admin/bob@example.com",
                "bob@example.com",
            ),
        ] {
            let caller = Caller {
                arn: arn.into(),
                account: "123456789012".into(),
            };
            assert_eq!(caller.session_prefix(), name);
        }
    }
}
