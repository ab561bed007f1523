//! Who the caller is, as far as messages have to say it.

/// Where the credentials come from.
#[derive(Debug, Clone, Default)]
pub(super) struct Identity {
    /// The profile that was selected by name; `None` stands for the default one.
    pub(super) profile: Option<String>,
    /// Whether that profile signs in through IAM Identity Center.
    pub(super) is_sso: bool,
}

impl Identity {
    /// What to do when credentials are expired or cannot be loaded.
    pub(super) fn renew_hint(&self) -> String {
        match (&self.profile, self.is_sso) {
            (Some(profile), true) => format!("run `aws sso login --profile {profile}`"),
            (None, true) => "run `aws sso login`".to_owned(),
            (Some(profile), false) => format!("renew the credentials of profile `{profile}`"),
            (None, false) => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or select a \
                              profile with --profile or AWS_PROFILE"
                .to_owned(),
        }
    }
}
