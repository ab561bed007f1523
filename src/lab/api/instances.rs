//! DescribeInstanceInformation and GetConnectionStatus.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use crate::lab::machine::Machine;
use crate::lab::{Shared, Target};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeInstanceInformation {
    #[serde(default)]
    filters: Vec<Filter>,
    /// The older form of `Filters`.
    #[serde(default)]
    instance_information_filter_list: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Filter {
    #[serde(rename = "Key", alias = "key")]
    key: String,
    #[serde(rename = "Values", alias = "valueSet")]
    values: Vec<String>,
}

impl Filter {
    fn matches(&self, target: &Target) -> Result<bool, ApiError> {
        let actual = match self.key.as_str() {
            "InstanceIds" => target.id.as_str(),
            "PingStatus" => ping_status(target),
            "AgentVersion" => target.agent_version.as_str(),
            "PlatformTypes" => "Linux",
            "ResourceType" => resource_type(target),
            "tag-key" => return Ok(self.values.iter().any(|key| target.tags.contains_key(key))),
            key if key.starts_with("tag:") => {
                let tag = key
                    .strip_prefix("tag:")
                    .and_then(|key| target.tags.get(key));
                return Ok(tag.is_some_and(|value| self.values.contains(value)));
            }
            key => {
                let message = format!("The filter {key} is not valid.");
                return Err(ApiError::new("InvalidFilterKey", message));
            }
        };
        Ok(self.values.iter().any(|value| value == actual))
    }
}

pub(super) fn describe(
    shared: &Shared,
    request: DescribeInstanceInformation,
) -> Result<Value, ApiError> {
    let older = &request.instance_information_filter_list;
    let mut instances = Vec::new();
    let machines = shared.machines.all();
    for machine in &machines {
        // Tasks are no managed nodes.
        let mut is_wanted = !machine.target.id.starts_with("ecs:");
        for filter in request.filters.iter().chain(older) {
            is_wanted &= filter.matches(&machine.target)?;
        }
        if is_wanted {
            instances.push(information(machine));
        }
    }
    let next_token = request.next_token.as_deref();
    let (instances, next_token) = super::page(instances, request.max_results, next_token)?;
    Ok(json!({"InstanceInformationList": instances, "NextToken": next_token}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetConnectionStatus {
    target: Option<String>,
}

pub(super) fn connection_status(
    shared: &Shared,
    request: GetConnectionStatus,
) -> Result<Value, ApiError> {
    let id = request.target.ok_or_else(|| ApiError::missing("target"))?;
    let is_online = shared
        .machine(&id)
        .is_some_and(|machine| machine.target.online);
    let status = if is_online {
        "connected"
    } else {
        "notconnected"
    };
    Ok(json!({"Target": id, "Status": status}))
}

fn information(machine: &Machine) -> Value {
    let target = &machine.target;
    json!({
        "InstanceId": target.id,
        "PingStatus": ping_status(target),
        "LastPingDateTime": machine.last_heard().map(super::date),
        "AgentVersion": target.agent_version,
        "IsLatestVersion": false,
        "PlatformType": "Linux",
        "PlatformName": target.platform_name,
        "PlatformVersion": "2023",
        "ResourceType": resource_type(target),
        "IPAddress": "127.0.0.1",
        "ComputerName": format!("{}.lab.internal", target.id),
    })
}

fn ping_status(target: &Target) -> &'static str {
    match target.online {
        true => "Online",
        false => "ConnectionLost",
    }
}

fn resource_type(target: &Target) -> &'static str {
    match target.id.starts_with("mi-") {
        true => "ManagedInstance",
        false => "EC2Instance",
    }
}
