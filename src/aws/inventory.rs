//! The inventory of managed nodes: what a selector names, and what there is at all.

use std::cmp::Reverse;
use std::collections::HashMap;

use aws_sdk_ssm::types::{
    InstanceInformationStringFilter, InstancePropertyFilter, InstancePropertyFilterKey,
};
use tracing::debug;

use super::error::chain;
use super::selector::{ContainerSelector, Selector, TargetKind};
use super::{Aws, Node, Target};
use crate::failure::{Exit, Failure};

/// What a lookup has found.
#[derive(Debug, Default)]
pub struct Found {
    /// What the selector names.
    pub nodes: Vec<Node>,
    /// If there is nothing of that name: what has a similar one.
    pub similar: Vec<Node>,
}

impl Aws {
    /// Lists every managed node of the account in the region, by name. Containers of ECS are no managed nodes.
    ///
    /// # Errors
    ///
    /// [`Exit::Credentials`] if the call is not permitted, and [`Exit::Failure`] if the service cannot be reached or
    /// refuses.
    pub async fn nodes(&self) -> Result<Vec<Node>, Failure> {
        let mut nodes = self.inventory(None).await?;
        self.add_properties(&mut nodes).await;
        sort(&mut nodes);
        Ok(nodes)
    }

    /// Lists what a target names, by name and with all that is known of it.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find), and [`Exit::Target`] if that is nothing.
    pub async fn nodes_named(&self, target: &Target) -> Result<Vec<Node>, Failure> {
        let Found { mut nodes, similar } = self.find(target.selector()).await?;
        match nodes.len() {
            0 => return Err(self.nothing_called(target, &similar)),
            1 => self.add_properties(&mut nodes).await,
            // They are there already.
            _ => {}
        }
        Ok(nodes)
    }

    /// Finds everything that a selector names, by name. Of a single node, tag and zone are not asked for.
    ///
    /// # Errors
    ///
    /// As [`nodes`](Self::nodes), and [`Exit::Target`] if there is no such cluster of ECS.
    pub async fn find(&self, selector: &Selector) -> Result<Found, Failure> {
        let nodes = match selector {
            Selector::Id(id) => match container_of(id) {
                Some(selector) => {
                    let mut nodes = self.containers(&selector).await?;
                    nodes.retain(|node| node.id == *id);
                    nodes
                }
                None => self.inventory(Some(("InstanceIds", id))).await?,
            },
            Selector::Tag { key, value } => {
                self.inventory(Some((&format!("tag:{key}"), value))).await?
            }
            Selector::Group(group) => self.inventory(Some((GROUP_TAG, group))).await?,
            Selector::Container(selector) => self.containers(selector).await?,
            Selector::Name(name) => {
                let mut nodes = self.inventory(Some(("tag:Name", name))).await?;
                for node in &mut nodes {
                    node.name = Some(name.clone());
                }
                if nodes.is_empty() {
                    return self.search(|node| node.is_called(name), Some(name)).await;
                }
                nodes
            }
            Selector::Address(address) => {
                let is_it = |node: &Node| node.has_address(*address);
                return self.search(is_it, None).await;
            }
        };
        self.finish(nodes).await
    }

    /// Looks through all nodes for what the service cannot filter by.
    async fn search(
        &self,
        is_it: impl Fn(&Node) -> bool,
        name: Option<&str>,
    ) -> Result<Found, Failure> {
        let (nodes, others): (Vec<_>, Vec<_>) = self
            .inventory(None)
            .await?
            .into_iter()
            .partition(|node| is_it(node));
        match name {
            Some(name) if nodes.is_empty() => {
                let mut others = others;
                self.add_properties(&mut others).await;
                let similar = most_similar(others, name);
                Ok(Found { nodes, similar })
            }
            _ => self.finish(nodes).await,
        }
    }

    /// What is to be chosen from has to be told apart.
    async fn finish(&self, mut nodes: Vec<Node>) -> Result<Found, Failure> {
        if nodes.len() > 1 {
            self.add_properties(&mut nodes).await;
            sort(&mut nodes);
        }
        Ok(Found {
            nodes,
            similar: Vec::new(),
        })
    }

    /// Asks for managed nodes, all of them or those that one filter lets through, page by page.
    async fn inventory(&self, filter: Option<(&str, &str)>) -> Result<Vec<Node>, Failure> {
        // Looked up before the call, whose deadlines do not allow for a person typing a code.
        self.credentials().await?;
        let mut request = self.client.describe_instance_information();
        if let Some((key, value)) = filter {
            let filter = InstanceInformationStringFilter::builder()
                .key(key)
                .values(value)
                .build();
            request = request.filters(filter.map_err(|error| unusable(&error))?);
        }
        let mut pages = request.max_results(PAGE_LEN).into_paginator().send();
        let mut nodes = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.api_failure(DESCRIBE_NODES, &error))?;
            let list = page.instance_information_list.unwrap_or_default();
            nodes.extend(list.into_iter().filter_map(Node::of));
        }
        Ok(nodes)
    }

    /// Adds `Name` tags and zones, which the inventory does not tell. It does without where that is not permitted.
    async fn add_properties(&self, nodes: &mut [Node]) {
        let is_node = |node: &&Node| !node.id.starts_with("ecs:");
        let ids: Vec<_> = nodes.iter().filter(is_node).map(|node| &node.id).collect();
        let properties = match ids.len() {
            0 => return,
            1..=MAX_FILTER_VALUES => self.properties(Some(ids)).await,
            _ => self.properties(None).await,
        };
        let mut properties = match properties {
            Ok(properties) => properties,
            Err(why) => return debug!(why, "names and zones are not known"),
        };
        for node in nodes {
            if let Some(property) = properties.remove(&node.id) {
                node.name = property.name.or_else(|| node.name.take());
                node.zone = property.zone;
            }
        }
    }

    async fn properties(
        &self,
        ids: Option<Vec<&String>>,
    ) -> Result<HashMap<String, Properties>, String> {
        let mut request = self.client.describe_instance_properties();
        if let Some(ids) = ids {
            let filter = InstancePropertyFilter::builder()
                .key(InstancePropertyFilterKey::InstanceIds)
                .set_value_set(Some(ids.into_iter().cloned().collect()))
                .build()
                .map_err(|error| chain(&error))?;
            request = request.instance_property_filter_list(filter);
        }
        let pages = request.max_results(PROPERTIES_PAGE_LEN);
        let mut pages = pages.into_paginator().send();
        let mut properties = HashMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                let failure = self.api_failure("ssm:DescribeInstanceProperties", &error);
                failure.message
            })?;
            for property in page.instance_properties.unwrap_or_default() {
                let Some(id) = property.instance_id else {
                    continue;
                };
                let known = Properties {
                    name: property.name.filter(|name| !name.is_empty()),
                    zone: property.availability_zone.filter(|zone| !zone.is_empty()),
                };
                properties.insert(id, known);
            }
        }
        Ok(properties)
    }

    /// Says that a selector names nothing, and what might have been meant.
    pub fn nothing_found(&self, selector: &Selector, similar: &[Node]) -> Failure {
        let place = self.place();
        let message = match selector {
            Selector::Id(id) => {
                format!("{id} is not known to Systems Manager in this account {place}")
            }
            Selector::Name(name) => {
                format!("no managed node is called `{name}` in this account {place}")
            }
            Selector::Tag { key, value } => {
                format!("no managed node has the tag {key}={value} in this account {place}")
            }
            Selector::Group(group) => format!(
                "no managed node belongs to the Auto Scaling group `{group}` in this account {place}"
            ),
            Selector::Address(address) => {
                format!("no managed node has the address {address} in this account {place}")
            }
            Selector::Container(container) => {
                let ContainerSelector { cluster, owner, .. } = container;
                let what = match &container.container {
                    Some(name) => format!("container `{name}`"),
                    None => "container".to_owned(),
                };
                format!("no {what} of `{owner}` runs in the ECS cluster `{cluster}` {place}")
            }
        };
        let names: Vec<_> = similar
            .iter()
            .filter_map(|node| node.name.as_ref().or(node.computer_name.as_ref()))
            .map(|name| format!("`{name}`"))
            .collect();
        let hint = match (names.is_empty(), selector) {
            (false, _) => format!("did you mean {}?", names.join(" or ")),
            (true, Selector::Container(_)) => {
                "check the names of the service, or the task's id, and of the container".to_owned()
            }
            (true, _) => {
                "`ssmfwd targets` lists what there is; check --region and --profile, too".to_owned()
            }
        };
        Failure::new(Exit::Target, message).with_hint(hint)
    }

    /// Where was looked.
    pub(super) fn place(&self) -> String {
        match &self.identity.profile {
            Some(profile) => format!("in {} (profile {profile})", self.region),
            None => format!("in {}", self.region),
        }
    }
}

/// What the inventory does not tell of a node.
struct Properties {
    name: Option<String>,
    zone: Option<String>,
}

/// By name, those without one last; what has the same name by its id.
fn sort(nodes: &mut [Node]) {
    nodes.sort_by(|a, b| {
        let key = |node: &Node| (node.name.is_none(), node.name.clone(), node.id.clone());
        key(a).cmp(&key(b))
    });
}

/// The few nodes whose names are most like `name`, best first.
fn most_similar(nodes: Vec<Node>, name: &str) -> Vec<Node> {
    let name = name.to_lowercase();
    let score = |node: &Node| -> Option<u32> {
        let own = node.name.as_ref().or(node.computer_name.as_ref())?;
        let own = own.to_lowercase();
        let is_part = own.contains(&name) || (own.len() > 2 && name.contains(&own));
        let similarity = match is_part {
            true => 1.0,
            false => strsim::normalized_damerau_levenshtein(&own, &name),
        };
        // Percent: what is compared here needs no fractions.
        (similarity >= MIN_SIMILARITY).then_some((similarity * 100.0) as u32)
    };
    let mut scored: Vec<_> = nodes
        .into_iter()
        .filter_map(|node| Some((score(&node)?, node)))
        .collect();
    scored.sort_by_key(|(score, node)| (Reverse(*score), node.name.clone(), node.id.clone()));
    scored.dedup_by(|(_, a), (_, b)| a.name.is_some() && a.name == b.name);
    scored.truncate(MAX_SIMILAR);
    scored.into_iter().map(|(_, node)| node).collect()
}

/// The cluster and task in the id of a container.
fn container_of(id: &str) -> Option<ContainerSelector> {
    if TargetKind::of(id) != Some(TargetKind::EcsContainer) {
        return None;
    }
    let mut parts = id.strip_prefix("ecs:")?.rsplitn(3, '_');
    let (_runtime_id, task, cluster) = (parts.next()?, parts.next()?, parts.next()?);
    Some(ContainerSelector {
        cluster: cluster.to_owned(),
        owner: task.to_owned(),
        container: None,
    })
}

fn unusable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let why = chain(error);
    Failure::new(Exit::Failure, format!("cannot ask the inventory: {why}"))
}

/// The IAM action.
const DESCRIBE_NODES: &str = "ssm:DescribeInstanceInformation";

/// The tag EC2 Auto Scaling gives to its instances, as a filter.
const GROUP_TAG: &str = "tag:aws:autoscaling:groupName";

/// Entries of a page of DescribeInstanceInformation, the most there can be. Source: the API's reference.
const PAGE_LEN: i32 = 50;

/// Entries of a page of DescribeInstanceProperties, the most there can be. Source: the API's reference.
const PROPERTIES_PAGE_LEN: i32 = 1000;

/// Values of a filter, the most there can be. Source: the API's reference, `InstancePropertyFilterValueSet`.
const MAX_FILTER_VALUES: usize = 40;

/// How like a name has to be to be the one that was meant: at most two of five characters are wrong, or two neighbours of
/// three are swapped.
const MIN_SIMILARITY: f64 = 0.6;

/// Suggestions in one message.
const MAX_SIMILAR: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, name: Option<&str>) -> Node {
        Node {
            id: id.into(),
            name: name.map(str::to_owned),
            ..Node::default()
        }
    }

    fn names(nodes: &[Node]) -> Vec<&str> {
        let names = nodes.iter().map(|node| node.name.as_deref());
        names.map(Option::unwrap_or_default).collect()
    }

    #[test]
    fn nodes_are_in_the_order_of_their_names() {
        let mut nodes = vec![
            node("i-1", None),
            node("i-3", Some("web")),
            node("i-2", Some("web")),
            node("i-4", Some("db")),
        ];
        sort(&mut nodes);
        let ids: Vec<_> = nodes.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(ids, ["i-4", "i-2", "i-3", "i-1"]);
    }

    #[test]
    fn similar_names_are_suggested_and_others_are_not() {
        let all = || {
            vec![
                node("i-1", Some("web-prod-1")),
                node("i-2", Some("web-prod-2")),
                node("i-3", Some("bastion")),
                node("i-4", Some("bastion")),
                node("i-5", None),
            ]
        };
        assert_eq!(
            names(&most_similar(all(), "web")),
            ["web-prod-1", "web-prod-2"]
        );
        assert_eq!(names(&most_similar(all(), "Bastoin")), ["bastion"]);
        assert_eq!(names(&most_similar(all(), "bsation")), ["bastion"]);
        assert_eq!(names(&most_similar(all(), "mysql")), [""; 0]);
    }
}
