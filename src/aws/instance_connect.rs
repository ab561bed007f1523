//! EC2 Instance Connect: a public key with which one can log in for the next minute.

use aws_sdk_ec2instanceconnect::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use aws_sdk_ssm::types::{InstanceInformation, PlatformType};

use super::unreachable::explain_unknown;
use super::{Aws, Service};
use crate::failure::{Exit, Failure, SEE_DOCTOR};

/// The IAM action.
const SEND_SSH_PUBLIC_KEY: &str = "ec2-instance-connect:SendSSHPublicKey";

impl Aws {
    /// Lets the holder of a key log in to an EC2 instance as `user` for 60 seconds. `public_key` is a line of
    /// `authorized_keys`. The service finds the instance's zone by itself.
    ///
    /// # Errors
    ///
    /// [`Exit::Target`] if there is no such instance, [`Exit::Credentials`] if the call is not permitted, and [`Exit::Failure`] if the service cannot be reached or
    /// refuses.
    pub async fn send_ssh_public_key(
        &self,
        target: &str,
        user: &str,
        public_key: &str,
    ) -> Result<(), Failure> {
        // Looked up before the call, whose deadlines do not allow for a person typing a code.
        self.credentials().await?;
        let sent = Client::new(&self.sdk_for(Service::Ec2InstanceConnect))
            .send_ssh_public_key()
            .instance_id(target)
            .instance_os_user(user)
            .ssh_public_key(public_key)
            .send()
            .await;
        match sent {
            Ok(output) if output.success() => Ok(()),
            Ok(_) => Err(Failure::new(
                Exit::Failure,
                format!("EC2 Instance Connect did not push the key to {target}"),
            )
            .with_hint(SEE_DOCTOR)),
            Err(error) if is_unknown_instance(error.code()) => Err(Failure::new(
                Exit::Target,
                format!("there is no EC2 instance {target} in {}", self.region),
            )
            .with_hint("check the identifier, --region and --profile")),
            Err(error) => Err(self.api_failure(SEND_SSH_PUBLIC_KEY, &error)),
        }
    }

    /// Finds out as whom one logs in to a target, from what its agent says it runs.
    ///
    /// # Errors
    ///
    /// [`Exit::Failure`] if that cannot be told.
    pub async fn default_user(&self, target: &str) -> Result<&'static str, Failure> {
        let node = self.describe(target).await.map_err(|why| {
            let message = format!("the user to log in as is not known: {why}");
            Failure::new(Exit::Failure, message).with_hint("give --user, as in --user ec2-user")
        })?;
        let node = node.ok_or_else(|| explain_unknown(target, &self.region))?;
        user_of(&node).ok_or_else(|| {
            let platform = node.platform_name().unwrap_or("an unnamed platform");
            let message = format!("{target} runs {platform}, whose usual user is not known");
            Failure::new(Exit::Failure, message).with_hint("give --user, as in --user ec2-user")
        })
    }
}

fn is_unknown_instance(code: Option<&str>) -> bool {
    code.is_some_and(|code| code.starts_with("EC2InstanceNotFound"))
}

/// The user that the platform's images come with.
///
/// Source: Amazon EC2 User Guide, "Default usernames for AMIs".
fn user_of(node: &InstanceInformation) -> Option<&'static str> {
    if node.platform_type() == Some(&PlatformType::Windows) {
        return None;
    }
    let name = node.platform_name()?.to_ascii_lowercase();
    let (_, user) = USERS.iter().find(|(part, _)| name.contains(part))?;
    Some(user)
}

/// Part of the platform's name, in lower case, and user. Images of CentOS have one of two, so that it is not listed.
const USERS: [(&str, &str); 11] = [
    ("amazon", "ec2-user"),
    ("ubuntu", "ubuntu"),
    ("debian", "admin"),
    ("red hat", "ec2-user"),
    ("fedora", "fedora"),
    ("rocky", "rocky"),
    ("alma", "ec2-user"),
    ("oracle", "ec2-user"),
    ("suse", "ec2-user"),
    ("sles", "ec2-user"),
    ("macos", "ec2-user"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn user(kind: PlatformType, name: &str) -> Option<&'static str> {
        let node = InstanceInformation::builder()
            .platform_type(kind)
            .platform_name(name)
            .build();
        user_of(&node)
    }

    #[test]
    fn images_come_with_a_user() {
        for (name, expected) in [
            ("Amazon Linux", "ec2-user"),
            ("Amazon Linux AMI", "ec2-user"),
            ("Ubuntu", "ubuntu"),
            ("Debian GNU/Linux", "admin"),
            ("Red Hat Enterprise Linux Server", "ec2-user"),
            ("SLES", "ec2-user"),
        ] {
            assert_eq!(user(PlatformType::Linux, name), Some(expected), "{name}");
        }
        assert_eq!(user(PlatformType::Macos, "macOS"), Some("ec2-user"));
    }

    #[test]
    fn nobody_is_guessed() {
        assert_eq!(user(PlatformType::Linux, "CentOS Linux"), None);
        let windows = "Microsoft Windows Server 2022 Datacenter";
        assert_eq!(user(PlatformType::Windows, windows), None);
    }
}
