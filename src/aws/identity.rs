//! Who the caller is, as far as messages have to say it.

/// Where the credentials come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Identity {
    /// The profile that was selected by name; `None` stands for the default one.
    pub(super) profile: Option<String>,
    /// Whether that profile signs in through IAM Identity Center.
    pub(super) is_sso: bool,
    /// Whether the keys are those of the environment, which does not change while the program runs.
    pub(super) is_environment: bool,
    /// The profile whose credentials would be used, were there no keys in the environment.
    pub(super) shadowed_profile: Option<String>,
}

impl Identity {
    /// What to do when credentials are expired or cannot be loaded.
    pub(super) fn renew_hint(&self) -> String {
        if self.is_environment {
            return "they come from environment variables, which do not change while ssmfwd runs: set \
                    new ones and start it again"
                .to_owned();
        }
        match (&self.profile, self.is_sso) {
            (Some(profile), true) => format!("run `aws sso login --profile {profile}`"),
            (None, true) => "run `aws sso login`".to_owned(),
            (Some(profile), false) => format!("renew the credentials of profile `{profile}`"),
            (None, false) => {
                "renew the credentials of the default profile, or of this machine's role".to_owned()
            }
        }
    }
}
