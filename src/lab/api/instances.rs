//! The inventory of managed nodes: DescribeInstanceInformation, DescribeInstanceProperties and GetConnectionStatus.

use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use crate::lab::machine::Machine;
use crate::lab::{Shared, Target};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeInstances {
    /// Of DescribeInstanceInformation.
    #[serde(default)]
    filters: Vec<Filter>,
    /// The older form of `Filters`.
    #[serde(default)]
    instance_information_filter_list: Vec<Filter>,
    /// Of DescribeInstanceProperties.
    #[serde(default)]
    instance_property_filter_list: Vec<Filter>,
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
        if self.values.iter().any(String::is_empty) {
            let message = "Member must have length greater than or equal to 1";
            return Err(ApiError::new("ValidationException", message));
        }
        let actual = match self.key.as_str() {
            "InstanceIds" => target.id.as_str(),
            "PingStatus" => ping_status(target),
            "AgentVersion" => target.agent_version.as_str(),
            "PlatformTypes" | "PlatformType" => platform_type(target),
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

pub(super) fn describe(shared: &Shared, request: DescribeInstances) -> Result<Value, ApiError> {
    let older = request.instance_information_filter_list;
    let filters: Vec<_> = request.filters.into_iter().chain(older).collect();
    let nodes = nodes(shared, &filters, information)?;
    let next_token = request.next_token.as_deref();
    let (nodes, next_token) =
        super::page(nodes, super::MAX_PAGE_LEN, request.max_results, next_token)?;
    Ok(json!({"InstanceInformationList": nodes, "NextToken": next_token}))
}

pub(super) fn describe_properties(
    shared: &Shared,
    request: DescribeInstances,
) -> Result<Value, ApiError> {
    let nodes = nodes(shared, &request.instance_property_filter_list, properties)?;
    let next_token = request.next_token.as_deref();
    let (nodes, next_token) = super::page(nodes, MAX_PROPERTIES, request.max_results, next_token)?;
    Ok(json!({"InstanceProperties": nodes, "NextToken": next_token}))
}

/// What `describe` says of the managed nodes that all filters let through.
fn nodes(
    shared: &Shared,
    filters: &[Filter],
    describe: impl Fn(&Machine) -> Value,
) -> Result<Vec<Value>, ApiError> {
    let mut nodes = Vec::new();
    let machines = shared.machines.all();
    for machine in &machines {
        // Tasks are no managed nodes.
        let mut is_wanted = !machine.target.id.starts_with("ecs:");
        for filter in filters {
            is_wanted &= filter.matches(&machine.target)?;
        }
        if is_wanted {
            nodes.push(describe(machine));
        }
    }
    Ok(nodes)
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
    let default_computer_name = || format!("{}.lab.internal", target.id);
    let computer_name = target.computer_name.clone();
    json!({
        "InstanceId": target.id,
        "PingStatus": ping_status(target),
        "LastPingDateTime": machine.last_heard().map(super::date),
        "AgentVersion": target.agent_version,
        "IsLatestVersion": false,
        "PlatformType": platform_type(target),
        "PlatformName": target.platform_name,
        "PlatformVersion": "2023",
        "ResourceType": resource_type(target),
        "IPAddress": target.ip.to_string(),
        "ComputerName": computer_name.unwrap_or_else(default_computer_name),
    })
}

/// The same, with what the service asks EC2 for.
fn properties(machine: &Machine) -> Value {
    let target = &machine.target;
    let mut properties = information(machine);
    if !target.id.starts_with("mi-") {
        properties["AvailabilityZone"] = target.zone.as_str().into();
    }
    properties["Name"] = target.tags.get("Name").cloned().into();
    // Here it is the public address.
    properties["IPAddress"] = Value::Null;
    properties
}

/// Properties in one answer. Source: the API's reference.
const MAX_PROPERTIES: usize = 1000;

fn ping_status(target: &Target) -> &'static str {
    match target.online {
        true => "Online",
        false => "ConnectionLost",
    }
}

fn platform_type(target: &Target) -> &'static str {
    match target.platform_name.as_str() {
        name if name.contains("Windows") => "Windows",
        name if name.contains("macOS") => "MacOS",
        _ => "Linux",
    }
}

fn resource_type(target: &Target) -> &'static str {
    match target.id.starts_with("mi-") {
        true => "ManagedInstance",
        false => "EC2Instance",
    }
}
