//! EC2 Instance Connect: SendSSHPublicKey.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use crate::lab::{Shared, authorized_keys};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendSshPublicKey {
    instance_id: Option<String>,
    #[serde(rename = "InstanceOSUser")]
    instance_os_user: Option<String>,
    #[serde(rename = "SSHPublicKey")]
    ssh_public_key: Option<String>,
    availability_zone: Option<String>,
}

pub(super) fn send(shared: &Arc<Shared>, request: SendSshPublicKey) -> Result<Value, ApiError> {
    let instance = required(request.instance_id, "instanceId")?;
    let user = required(request.instance_os_user, "instanceOSUser")?;
    let key = required(request.ssh_public_key, "sSHPublicKey")?;
    let is_known = instance.starts_with("i-") && shared.machine(&instance).is_some();
    // A file name is made of it.
    if !is_known || instance.contains(['/', '\\']) {
        return Err(ApiError::new(
            "EC2InstanceNotFoundException",
            "The specified EC2 instance was not found.",
        ));
    }
    if let Some(zone) = request.availability_zone
        && zone != AVAILABILITY_ZONE
    {
        let message = "The instance is not in the specified Availability Zone.";
        return Err(ApiError::new("InvalidArgsException", message));
    }
    if !is_user(&user) {
        let message = "The OS user name is not valid.";
        return Err(ApiError::new("InvalidArgsException", message));
    }
    let key = key.trim();
    if !is_public_key(key) {
        let message = "The SSH public key is not valid.";
        return Err(ApiError::new("InvalidArgsException", message));
    }
    let keys = &shared.authorized_keys;
    keys.push(&instance, &user, key, Instant::now())
        .map_err(|error| {
            let message = format!("The lab cannot store the key: {error}");
            ApiError::new("ServiceException", message)
        })?;
    expire_later(shared);
    Ok(json!({"RequestId": super::request_id(), "Success": true}))
}

fn expire_later(shared: &Arc<Shared>) {
    let keys = shared.clone();
    let expiring = async move {
        tokio::time::sleep(authorized_keys::LIFETIME).await;
        keys.authorized_keys.expire(Instant::now());
    };
    let expiring = shared.shutdown.clone().run_until_cancelled_owned(expiring);
    shared.tracker.spawn(expiring);
}

fn required(field: Option<String>, name: &str) -> Result<String, ApiError> {
    field.ok_or_else(|| ApiError::missing(name))
}

/// Whether the API's pattern accepts the name of a user.
fn is_user(name: &str) -> bool {
    let mut characters = name.chars();
    let begins = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let continues = |c: char| c.is_ascii_alphanumeric() || "@._-$".contains(c);
    begins && name.len() <= 32 && characters.all(continues)
}

/// Whether a text is one public key: a type, the key in base64, and perhaps a comment.
fn is_public_key(text: &str) -> bool {
    let mut words = text.split(' ');
    let algorithm = words.next().unwrap_or_default();
    let key = BASE64_STANDARD.decode(words.next().unwrap_or_default());
    // The key repeats its type, after the type's length in four bytes.
    let is_of_type = key.is_ok_and(|key| {
        let length = u32::try_from(algorithm.len()).unwrap_or(u32::MAX);
        key.strip_prefix(&length.to_be_bytes())
            .is_some_and(|rest| rest.starts_with(algorithm.as_bytes()))
    });
    ["ssh-ed25519", "ssh-rsa"].contains(&algorithm)
        && is_of_type
        && text.len() <= 4096
        && !text.contains(char::is_control)
}

/// Where all instances of the lab are.
const AVAILABILITY_ZONE: &str = "us-east-1a";

#[cfg(test)]
mod tests {
    use aws_sdk_ec2instanceconnect::config::{BehaviorVersion, Region};
    use aws_sdk_ec2instanceconnect::error::ProvideErrorMetadata;

    use super::*;
    use crate::lab::testing::lab;
    use crate::net::http::Client;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[tokio::test]
    async fn the_sdk_pushes_a_key_into_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let lab = lab(|config| {
            config.authorized_keys_dir = Some(directory.path().to_owned());
        })
        .await;
        let config = aws_sdk_ec2instanceconnect::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(Client::new(Arc::default()))
            .region(Region::new(lab.region()))
            .credentials_provider(lab.credentials())
            .endpoint_url(lab.endpoint_url())
            .build();
        let client = aws_sdk_ec2instanceconnect::Client::from_conf(config);
        let push = async |instance: &str, user: &str, key: &str| {
            let request = client.send_ssh_public_key().instance_id(instance);
            let request = request.instance_os_user(user).ssh_public_key(key);
            let pushed = request.send().await;
            pushed.map(|pushed| pushed.success())
        };
        assert!(push("i-0abc", "admin", &format!("{KEY}\n")).await.unwrap());
        assert_eq!(lab.pushed_keys("i-0abc", "admin"), [KEY]);
        let file = directory.path().join("i-0abc/admin");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{KEY}\n"));
        for (instance, user, key, code) in [
            ("i-0none", "admin", KEY, "EC2InstanceNotFoundException"),
            ("i-0abc", "../admin", KEY, "InvalidArgsException"),
            ("i-0abc", "admin", "no key", "InvalidArgsException"),
        ] {
            let error = push(instance, user, key).await.unwrap_err();
            assert_eq!(error.code(), Some(code));
        }
        lab.shutdown().await;
        assert!(!file.exists());
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for name in ["ec2-user", "_apt", "a", "user@example.com"] {
            assert!(is_user(name), "{name}");
        }
        let long = "x".repeat(33);
        for name in ["", "..", "../root", "a/b", "-x", "1st", "a b", &long] {
            assert!(!is_user(name), "{name}");
        }
    }

    #[test]
    fn one_public_key_is_accepted() {
        assert!(is_public_key(KEY) && is_public_key(&format!("{KEY} me@home")));
        let two = format!("{KEY}\n{KEY}");
        let with_option = format!("command=\"x\" {KEY}");
        let other_type = KEY.replace("ssh-ed25519", "ssh-rsa");
        for text in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 AAAA",
            &two,
            &with_option,
            &other_type,
        ] {
            assert!(!is_public_key(text), "{text}");
        }
    }
}
