//! How a target of the lab is written on a command line.

use super::Target;
use crate::aws::{Selector, TargetKind};

impl Target {
    /// Reads `ID[,KEY=VALUE]...[,STATE]`, as in `i-0abc,Name=web,ip=10.0.1.24,asg=blue,offline`. The README lists the
    /// keys; what is none of them is a tag's.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence without its first word's capital.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let id = parts.next().unwrap_or_default();
        if TargetKind::of(id).is_none() {
            return Err(format!(
                "`{id}` is not the id of a target: it is i-…, mi-… or ecs:CLUSTER_TASKID_RUNTIMEID"
            ));
        }
        let mut target = Self::new(id);
        for part in parts {
            match part.split_once('=') {
                Some((key, value)) => target.describe(key, value)?,
                None if matches!(part, "offline" | "lost") => target.online = false,
                None if part == "online" => target.online = true,
                None => {
                    return Err(format!(
                        "`{part}` says nothing: write KEY=VALUE, online or offline"
                    ));
                }
            }
        }
        Ok(target)
    }

    fn describe(&mut self, key: &str, value: &str) -> Result<(), String> {
        let value = value.to_owned();
        match key {
            "" => return Err(format!("`={value}` has no key")),
            "ip" => {
                let address = value.parse();
                self.ip = address.map_err(|_| format!("`{value}` is not an IP address"))?;
            }
            "computer" => self.computer_name = Some(value),
            "platform" => self.platform_name = value,
            "agent" => {
                self.agent_version = value;
            }
            "zone" => self.zone = value,
            "asg" => self.set_tag(GROUP_TAG, value),
            "service" => self.service = Some(value),
            "container" => self.container = value,
            key => self.set_tag(key.strip_prefix("tag:").unwrap_or(key), value),
        }
        Ok(())
    }

    fn set_tag(&mut self, key: &str, value: String) {
        self.tags.insert(key.to_owned(), value);
    }

    /// A target that `selector` names, and nothing else about it is remarkable.
    pub fn named(selector: &Selector) -> Self {
        let mut target = Self::new(DEFAULT_ID);
        match selector {
            Selector::Id(id) => return Self::new(id),
            Selector::Tag { key, value } => target.set_tag(key, value.clone()),
            Selector::Group(group) => target.set_tag(GROUP_TAG, group.clone()),
            Selector::Address(address) => target.ip = *address,
            Selector::Name(name) => target.set_tag("Name", name.clone()),
            Selector::Container(selector) => {
                let (task, service) = match selector.is_task() {
                    true => (selector.owner.as_str(), None),
                    false => (DEFAULT_TASK, Some(selector.owner.clone())),
                };
                let cluster = &selector.cluster;
                let container = selector.container.clone();
                return Self {
                    service,
                    container: container.unwrap_or(target.container),
                    ..Self::new(format!("ecs:{cluster}_{task}_{task}-265927825"))
                };
            }
        }
        target
    }
}

/// The id of a target that is called something else.
const DEFAULT_ID: &str = "i-0abc";

/// The task of a service that is named.
const DEFAULT_TASK: &str = "0123456789abcdef0123456789abcdef";

/// The tag EC2 Auto Scaling gives to its instances.
const GROUP_TAG: &str = "aws:autoscaling:groupName";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_described_in_one_word() {
        let text = "i-0abc,Name=web,tag:ip=x,ip=10.0.1.24,computer=web.corp,platform=Ubuntu,\
                    agent=3.0.0.0,zone=us-east-1c,asg=blue,Empty=,offline";
        let target = Target::parse(text).unwrap();
        assert_eq!(
            target,
            Target {
                online: false,
                agent_version: "3.0.0.0".into(),
                tags: [
                    ("Name", "web"),
                    ("ip", "x"),
                    ("aws:autoscaling:groupName", "blue"),
                    ("Empty", ""),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
                platform_name: "Ubuntu".into(),
                ip: [10, 0, 1, 24].into(),
                computer_name: Some("web.corp".into()),
                zone: "us-east-1c".into(),
                ..Target::new("i-0abc")
            }
        );
        let container = Target::parse("ecs:c_0af1_0af1-1,service=web,container=db").unwrap();
        assert_eq!(container.service.as_deref(), Some("web"));
        assert_eq!(container.container, "db");
    }

    #[test]
    fn what_is_no_description_is_refused() {
        for (text, why) in [
            ("", "not the id"),
            ("web", "not the id"),
            ("i-0abc,", "says nothing"),
            ("i-0abc,away", "says nothing"),
            ("i-0abc,=x", "no key"),
            ("i-0abc,ip=web", "not an IP address"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
