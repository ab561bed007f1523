//! Which target sessions go to: found when the first one starts, and again after one was lost.

use std::cmp::Reverse;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tracing::debug;

use super::{Aws, Node, NodeState, Selector};
use crate::failure::{Exit, Failure};

/// What a user called a target, and the node it stands for at the moment.
///
/// Clones share what was found, so that all sessions of a command go to the same node.
#[derive(Clone)]
pub struct Target(Arc<Inner>);

struct Inner {
    name: String,
    selector: Selector,
    takes_any: bool,
    suggestion: Option<String>,
    found: Mutex<Found>,
    /// Held during a lookup: whoever else needs the answer waits for it.
    lookup: tokio::sync::Mutex<()>,
}

struct Found {
    /// What sessions are started with.
    current: Option<String>,
    /// What they were started with last, which is preferred as long as it can be reached.
    previous: Option<String>,
    /// Nothing is looked up: it is an identifier, or the user has chosen one.
    is_fixed: bool,
}

/// What a target stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This id.
    One(String),
    /// One of these, and nothing tells which.
    Several(Vec<Node>),
}

impl Target {
    /// What the user calls `name`, and what that means. With `takes_any`, one of several nodes is as good as another.
    pub fn new(name: impl Into<String>, selector: Selector, takes_any: bool) -> Self {
        Self::suggesting(name, selector, takes_any, None)
    }

    /// The same, with what may have been meant if nothing has this name.
    pub fn suggesting(
        name: impl Into<String>,
        selector: Selector,
        takes_any: bool,
        suggestion: Option<String>,
    ) -> Self {
        let is_fixed = matches!(selector, Selector::Id(_));
        let current = match &selector {
            Selector::Id(id) => Some(id.clone()),
            _ => None,
        };
        Self(Arc::new(Inner {
            name: name.into(),
            takes_any: takes_any || selector.takes_any(),
            selector,
            suggestion,
            found: Mutex::new(Found {
                current,
                previous: None,
                is_fixed,
            }),
            lookup: tokio::sync::Mutex::default(),
        }))
    }

    /// The target with this identifier, which is never looked up.
    pub fn id(id: impl Into<String>) -> Self {
        let id = id.into();
        Self::new(id.clone(), Selector::Id(id), false)
    }

    /// What the user called it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What that means.
    pub fn selector(&self) -> &Selector {
        &self.0.selector
    }

    /// The identifier, if it is known without another lookup.
    pub fn current(&self) -> Option<String> {
        self.found().current.clone()
    }

    /// Has it stand for `id` from now on, whatever else has its name.
    pub fn fix(&self, id: &str) {
        let mut found = self.found();
        found.current = Some(id.to_owned());
        found.is_fixed = true;
    }

    /// Has it looked up before the next session, unless it has been since sessions went to `id`. What is fixed stays.
    pub fn forget(&self, id: &str) {
        let mut found = self.found();
        if !found.is_fixed && found.current.as_deref() == Some(id) {
            found.previous = found.current.take();
        }
    }

    fn remember(&self, id: &str) {
        self.found().current = Some(id.to_owned());
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        // Nothing panics while it is held.
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl Aws {
    /// Finds out where to start a session. Costs nothing if that is known.
    ///
    /// # Errors
    ///
    /// [`Exit::Target`] if there is no such target, or several of which none can be chosen, and as
    /// [`find`](Self::find).
    pub async fn resolve(&self, target: &Target) -> Result<String, Failure> {
        match self.choose(target).await? {
            Choice::One(id) => Ok(id),
            Choice::Several(nodes) => Err(ambiguous(target, nodes)),
        }
    }

    /// Finds out where to start a session, or between what one would have to choose.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve), except that several nodes are none.
    pub async fn choose(&self, target: &Target) -> Result<Choice, Failure> {
        if let Some(id) = target.current() {
            return Ok(Choice::One(id));
        }
        let _one_at_a_time = target.0.lookup.lock().await;
        if let Some(id) = target.current() {
            return Ok(Choice::One(id));
        }
        let found = self.find(target.selector()).await;
        let found = found.map_err(without_lookup)?;
        let choice = match <[Node; 1]>::try_from(found.nodes) {
            // Whether it can be reached, StartSession tells best.
            Ok([node]) => Choice::One(node.id),
            Err(nodes) if nodes.is_empty() => {
                return Err(self.nothing_called(target, &found.similar));
            }
            Err(nodes) => self.choose_from(target, nodes).await?,
        };
        if let Choice::One(id) = &choice {
            debug!(%target, id, "target found");
            target.remember(id);
        }
        Ok(choice)
    }

    /// Says that a target is nothing, and what might have been meant.
    pub(super) fn nothing_called(&self, target: &Target, similar: &[Node]) -> Failure {
        let failure = self.nothing_found(target.selector(), similar);
        match &target.0.suggestion {
            Some(suggestion) => failure.with_hint(format!("did you mean `{suggestion}`?")),
            None => failure,
        }
    }

    /// Chooses between several nodes: the one that can be reached or, if any will do, the best of those.
    async fn choose_from(&self, target: &Target, mut nodes: Vec<Node>) -> Result<Choice, Failure> {
        let takes_any = target.0.takes_any;
        let mut by_preference: Vec<_> = nodes.iter_mut().collect();
        if takes_any {
            let previous = target.found().previous.clone();
            // Times in RFC 3339 and in one time zone have the order of their texts.
            by_preference.sort_by_key(|node| {
                let is_previous = previous.as_ref() == Some(&node.id);
                Reverse((is_previous, node.last_ping.clone()))
            });
        }
        // The best of them, so that one which was not asked is taken only if none of those is connected.
        self.look_closer(&mut by_preference).await;
        by_preference.retain(|node| node.state == NodeState::Online);
        let online: Vec<_> = by_preference.iter().map(|node| node.id.clone()).collect();
        match &online[..] {
            [] => Err(none_online(target, nodes)),
            [_, _, ..] if !takes_any => Ok(Choice::Several(nodes)),
            [best, ..] => Ok(Choice::One(best.clone())),
        }
    }

    /// Asks of which nodes that are said to be online the agent is connected now: the inventory learns of the end of a
    /// node only after minutes.
    async fn look_closer(&self, nodes: &mut [&mut Node]) {
        let asked = nodes.iter_mut().filter(|node| {
            // Containers are described with their agents.
            node.state == NodeState::Online && !node.id.starts_with("ecs:")
        });
        let looks = asked.take(MAX_LOOKS).map(async |node: &mut &mut Node| {
            // Without an answer, the inventory's holds.
            if self.is_connected(&node.id).await == Ok(false) {
                node.state = NodeState::Lost;
            }
        });
        join_all(looks).await;
    }
}

/// Adds to a denial that a lookup, which was not permitted, can be done without.
fn without_lookup(failure: Failure) -> Failure {
    match (&failure.hint, failure.exit) {
        (Some(hint), Exit::Credentials) if failure.is_permanent => {
            let hint = format!("{hint}; or give the target's id, which needs no lookup");
            failure.with_hint(hint)
        }
        _ => failure,
    }
}

/// Says that nothing tells which of several nodes is meant.
pub fn ambiguous(target: &Target, nodes: Vec<Node>) -> Failure {
    let message = format!("{} targets match `{target}`", nodes.len());
    Failure::new(Exit::Target, message)
        .with_hint("give one of the ids, or --any for one that is online")
        .with_matches(nodes)
}

fn none_online(target: &Target, nodes: Vec<Node>) -> Failure {
    let message = format!(
        "none of the {} targets that match `{target}` is online",
        nodes.len()
    );
    Failure::new(Exit::Target, message)
        .with_hint("check that the machines run, that their agents run, and their network")
        .with_matches(nodes)
}

/// Nodes that are looked at one by one; the service answers 50 such questions a second.
const MAX_LOOKS: usize = 20;

#[cfg(test)]
#[cfg(feature = "lab")]
mod tests;
