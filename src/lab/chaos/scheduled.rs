//! Faults that happen at a moment or hold for a time, and when they do: `black-hole=5s@10s/60s`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ParseChaosError;
use super::value::{format_duration, parse_duration};

/// Something that goes wrong, beginning at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The gateway closes every data channel with code 1000, the client's and the agent's, as it does
    /// about every hour.
    Cut,
    /// The clients' connections are reset.
    Reset,
    /// The agents' session workers are killed: their connections break and their sessions end.
    KillAgents,
    /// The agents lose the gateway and come back after this time; nothing of the sessions is lost.
    LoseAgents(Duration),
    /// Every session is terminated, as an administrator does it.
    Terminate,
    /// Every token given out so far is worthless: only ResumeSession brings one that is not.
    ExpireTokens,
    /// Every stream URL given out so far is worthless, because the cell that it names is gone.
    ExpireCells,
    /// A target, or each of them, is rebooted: its sessions end as their agents do, and it is not
    /// connected for this time. Zero brings it back.
    Offline {
        /// Its id; all of them without one.
        target: Option<String>,
        /// How long.
        length: Duration,
    },
    /// A target is terminated, and another one with its tags takes its place.
    ReplaceTarget {
        /// The id that goes.
        old: String,
        /// The id that comes.
        new: String,
    },
    /// A name that targets look up means this address from now on; port 0 stands for the port of the
    /// session. Agents look names up once, when a session starts.
    MoveHost {
        /// The name.
        name: String,
        /// Its address.
        address: SocketAddr,
    },
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
    /// Requests of the API are answered with status 500.
    FailCalls,
    /// Data channels are closed with code 1003, whatever token is shown.
    RefuseTokens,
    /// Requests are refused as by expired credentials: the API's with `ExpiredTokenException`, data
    /// channels with status 403.
    ExpireCredentials,
    /// Acknowledgements are lost, in both directions.
    SwallowAcks,
    /// The gateway tells both ends to send nothing, and the agent again whenever something from the
    /// client has it go on (agent `datachannel.go`).
    Pause,
    /// The oldest stream is stalled: its destination neither reads nor sends.
    Stall,
}

impl Condition {
    pub(in crate::lab) const ALL: [Self; 10] = [
        Self::BlackHole,
        Self::RefuseConnections,
        Self::RefuseUpgrades,
        Self::FailUpgrades,
        Self::FailCalls,
        Self::RefuseTokens,
        Self::ExpireCredentials,
        Self::SwallowAcks,
        Self::Pause,
        Self::Stall,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::BlackHole => "black-hole",
            Self::RefuseConnections => "refuse-connections",
            Self::RefuseUpgrades => "refuse-upgrades",
            Self::FailUpgrades => "fail-upgrades",
            Self::FailCalls => "fail-calls",
            Self::RefuseTokens => "refuse-tokens",
            Self::ExpireCredentials => "expire-credentials",
            Self::SwallowAcks => "swallow-acks",
            Self::Pause => "pause",
            Self::Stall => "stall",
        }
    }
}

impl Fault {
    /// Parses a fault; nothing when no fault has this name.
    fn parse(name: &str, value: Option<&str>) -> Option<Result<Self, ParseChaosError>> {
        let momentary = [
            Self::Cut,
            Self::Reset,
            Self::KillAgents,
            Self::Terminate,
            Self::ExpireTokens,
            Self::ExpireCells,
        ];
        if let Some(fault) = momentary.into_iter().find(|fault| fault.name() == name) {
            return Some(match value {
                None => Ok(fault),
                Some(_) => Err(ParseChaosError::UnexpectedValue(fault.name())),
            });
        }
        Some(match name {
            LOSE_AGENTS => length(LOSE_AGENTS, value).map(Self::LoseAgents),
            OFFLINE => Self::parse_offline(value),
            REPLACE => Self::parse_replace(value),
            HOST => Self::parse_host(value),
            _ => {
                let condition = Condition::ALL.into_iter().find(|c| c.name() == name)?;
                length(condition.name(), value).map(|length| Self::Holds(condition, length))
            }
        })
    }

    /// Parses `10s` or `i-0abc:10s`.
    fn parse_offline(value: Option<&str>) -> Result<Self, ParseChaosError> {
        let (target, time) = match value.and_then(|value| value.rsplit_once(':')) {
            Some((target, time)) => (Some(target.to_owned()), Some(time)),
            None => (None, value),
        };
        let length = length(OFFLINE, time)?;
        Ok(Self::Offline { target, length })
    }

    /// Parses `i-0old:i-0new`.
    fn parse_replace(value: Option<&str>) -> Result<Self, ParseChaosError> {
        let value = value.ok_or(ParseChaosError::MissingValue(REPLACE, "i-0abc:i-0def"))?;
        match value.split_once(':') {
            Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok(Self::ReplaceTarget {
                old: old.to_owned(),
                new: new.to_owned(),
            }),
            _ => Err(ParseChaosError::InvalidReplacement(value.to_owned())),
        }
    }

    /// Parses `db.internal:127.0.0.2`, `db.internal:127.0.0.2:5432` or `db.internal:[::1]:5432`.
    fn parse_host(value: Option<&str>) -> Result<Self, ParseChaosError> {
        let value = value.ok_or(ParseChaosError::MissingValue(HOST, "db:127.0.0.2"))?;
        let parsed = value.split_once(':').and_then(|(name, address)| {
            let ip = address.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
            let address = ip.or_else(|_| address.parse()).ok()?;
            let name = Some(name.to_owned()).filter(|name| !name.is_empty())?;
            Some(Self::MoveHost { name, address })
        });
        parsed.ok_or_else(|| ParseChaosError::InvalidHost(value.to_owned()))
    }

    /// Whether it is done with its beginning: what goes wrong from then on does not tell of it.
    pub(in crate::lab) fn is_done_at_once(&self) -> bool {
        match self {
            Self::Cut
            | Self::Reset
            | Self::KillAgents
            | Self::LoseAgents(_)
            | Self::Terminate
            | Self::ExpireTokens
            | Self::ExpireCells
            | Self::ReplaceTarget { .. } => true,
            Self::Offline { .. } | Self::MoveHost { .. } | Self::Holds(..) => false,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::KillAgents => "kill-agents",
            Self::LoseAgents(_) => LOSE_AGENTS,
            Self::Terminate => "terminate",
            Self::ExpireTokens => "expire-tokens",
            Self::ExpireCells => "expire-cells",
            Self::Offline { .. } => OFFLINE,
            Self::ReplaceTarget { .. } => REPLACE,
            Self::MoveHost { .. } => HOST,
            Self::Holds(condition, _) => condition.name(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Cut
            | Self::Reset
            | Self::KillAgents
            | Self::Terminate
            | Self::ExpireTokens
            | Self::ExpireCells => Ok(()),
            Self::LoseAgents(length)
            | Self::Holds(_, length)
            | Self::Offline {
                target: None,
                length,
            } => write!(f, "={}", format_duration(*length)),
            Self::Offline {
                target: Some(target),
                length,
            } => write!(f, "={target}:{}", format_duration(*length)),
            Self::ReplaceTarget { old, new } => write!(f, "={old}:{new}"),
            Self::MoveHost { name, address } if address.port() == 0 => {
                write!(f, "={name}:{}", address.ip())
            }
            Self::MoveHost { name, address } => write!(f, "={name}:{address}"),
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
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
            None => (item, None),
        };
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

/// A time within [`MAX_TIME`].
pub(super) fn time(
    name: &'static str,
    text: &str,
    shortest: Duration,
) -> Result<Duration, ParseChaosError> {
    parse_duration(text)
        .filter(|time| (shortest..=MAX_TIME).contains(time))
        .ok_or_else(|| ParseChaosError::InvalidTime {
            name,
            value: text.to_owned(),
        })
}

const LOSE_AGENTS: &str = "lose-agents";
const OFFLINE: &str = "offline";
const REPLACE: &str = "replace";
const HOST: &str = "host";

/// The shortest time from one beginning to the next: a lab that does nothing else is no use.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// The longest time anything takes.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);
