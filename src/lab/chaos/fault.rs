//! Faults that happen at a moment or hold for a time, and when they do: `black-hole=5s@10s/60s`.

use std::fmt;
use std::time::Duration;

use super::ParseChaosError;
use super::value::{format_duration, parse_duration};

/// Something that goes wrong, beginning at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The gateway closes every data channel with code 1000, the client's and the agent's, as it does
    /// about every hour (PROTOCOL 2.5).
    Cut,
    /// The clients' connections are reset.
    Reset,
    /// The agents' session workers are killed: their connections break and their sessions end.
    KillAgents,
    /// The agents lose the gateway and come back after this time; nothing of the sessions is lost.
    LoseAgents(Duration),
    /// Every session is terminated, as an administrator does it.
    Terminate,
    /// Something holds for this time from now on, instead of what is left of an earlier time. Zero
    /// ends it.
    Holds(Condition, Duration),
}

/// Something that goes wrong for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Condition {
    /// No byte of the service arrives, and none is taken; nothing is closed either. New connections
    /// and requests wait. What waited goes on afterwards.
    BlackHole,
    /// The lab's port refuses connections. Those that exist stay.
    RefuseConnections,
    /// Data channels are refused with status 403.
    RefuseUpgrades,
    /// Data channels are refused with status 500.
    FailUpgrades,
}

impl Condition {
    pub(in crate::lab) const ALL: [Self; 4] = [
        Self::BlackHole,
        Self::RefuseConnections,
        Self::RefuseUpgrades,
        Self::FailUpgrades,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::BlackHole => "black-hole",
            Self::RefuseConnections => "refuse-connections",
            Self::RefuseUpgrades => "refuse-upgrades",
            Self::FailUpgrades => "fail-upgrades",
        }
    }
}

impl Fault {
    /// Parses a fault; nothing when no fault has this name.
    fn parse(name: &str, value: Option<&str>) -> Option<Result<Self, ParseChaosError>> {
        let momentary = [Self::Cut, Self::Reset, Self::KillAgents, Self::Terminate];
        if let Some(fault) = momentary.into_iter().find(|fault| fault.name() == name) {
            return Some(match value {
                None => Ok(fault),
                Some(_) => Err(ParseChaosError::UnexpectedValue(fault.name())),
            });
        }
        if name == LOSE_AGENTS {
            return Some(length(LOSE_AGENTS, value).map(Self::LoseAgents));
        }
        let condition = Condition::ALL.into_iter().find(|c| c.name() == name)?;
        Some(length(condition.name(), value).map(|length| Self::Holds(condition, length)))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::KillAgents => "kill-agents",
            Self::LoseAgents(_) => LOSE_AGENTS,
            Self::Terminate => "terminate",
            Self::Holds(condition, _) => condition.name(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Cut | Self::Reset | Self::KillAgents | Self::Terminate => Ok(()),
            Self::LoseAgents(length) | Self::Holds(_, length) => {
                write!(f, "={}", format_duration(*length))
            }
        }
    }
}

/// A fault and when it begins: at once, `@AFTER` a time, and again `/EVERY` so often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// What happens.
    pub fault: Fault,
    /// How long after it was asked for, at most a day.
    pub after: Duration,
    /// How long after each beginning it begins anew, 100 ms to a day; without `after`, the first time
    /// too.
    pub every: Option<Duration>,
}

impl From<Fault> for Scheduled {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            after: Duration::ZERO,
            every: None,
        }
    }
}

impl Scheduled {
    /// Parses `NAME`, `VALUE` and `[@AFTER][/EVERY]`; nothing when no fault has this name.
    pub(super) fn parse(item: &str) -> Option<Result<Self, ParseChaosError>> {
        let (item, every) = split_last(item, '/');
        let (item, after) = split_last(item, '@');
        let (name, value) = split_last(item, '=');
        let fault = Fault::parse(name, value)?;
        Some(fault.and_then(|fault| {
            let every = every.map(|text| time(fault.name(), text, MIN_PERIOD));
            Ok(Self {
                after: match after {
                    Some(text) => time(fault.name(), text, Duration::ZERO)?,
                    None => Duration::ZERO,
                },
                every: every.transpose()?,
                fault,
            })
        }))
    }

    /// When it begins first, counted from when it was asked for.
    pub(in crate::lab) fn first(&self) -> Duration {
        match self.every {
            Some(every) if self.after.is_zero() => every,
            _ => self.after,
        }
    }
}

impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        if !self.after.is_zero() {
            write!(f, "@{}", format_duration(self.after))?;
        }
        match self.every {
            Some(every) => write!(f, "/{}", format_duration(every)),
            None => Ok(()),
        }
    }
}

fn split_last(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.rsplit_once(separator) {
        Some((first, last)) => (first.trim(), Some(last.trim())),
        None => (text, None),
    }
}

/// How long a fault holds.
fn length(name: &'static str, value: Option<&str>) -> Result<Duration, ParseChaosError> {
    let value = value.ok_or(ParseChaosError::MissingValue(name, "10s"))?;
    time(name, value, Duration::ZERO)
}

fn time(name: &'static str, text: &str, shortest: Duration) -> Result<Duration, ParseChaosError> {
    parse_duration(text)
        .filter(|time| (shortest..=MAX_TIME).contains(time))
        .ok_or_else(|| ParseChaosError::InvalidTime {
            name,
            value: text.to_owned(),
        })
}

const LOSE_AGENTS: &str = "lose-agents";

/// The shortest time from one beginning to the next: a lab that does nothing else is no use.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// The longest time anything takes.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
