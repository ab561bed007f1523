//! What goes wrong in a lab, as the user writes it: `delay=20ms,drop=5%,seed=7`.

mod frames;
mod scheduled;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(super) use self::frames::{Alter, FrameFaults};
pub use self::scheduled::{Condition, Fault, Scheduled};
pub use self::value::Probability;
use self::value::{format_duration, parse_duration};
use super::api::OPERATIONS;

/// The faults a lab injects. The default injects none.
///
/// Written as comma-separated `name=value` pairs and single words; [`fmt::Display`] writes the same
/// form back. `delay`, `jitter`, `drop`, `duplicate`, `reorder` and `alter` act on every frame between client
/// and agent, independently in each direction, from the handshake on. All but `faults` stands until
/// it is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chaos {
    /// How long every frame takes one way, at most 60 s.
    pub delay: Duration,
    /// Upper bound of a random time added to `delay`, at most 60 s. It never reorders frames.
    pub jitter: Duration,
    /// How likely a frame is lost.
    pub drop: Probability,
    /// How likely a frame arrives twice.
    pub duplicate: Probability,
    /// How likely a frame arrives after up to three later ones, or 50 ms late.
    pub reorder: Probability,
    /// How likely one bit of a message's data arrives changed, under a digest that fits: nothing but the seal of an
    /// encrypted session tells.
    pub alter: Probability,
    /// What every random choice derives from: the same seed and traffic give the same faults.
    pub seed: u64,
    /// What the gateway does instead of serving a data channel.
    pub gateway: Option<GatewayFault>,
    /// How long sessions live without input from their client, instead of the lab's
    /// [`idle_timeout`](super::Config::idle_timeout); at most a day.
    pub idle_timeout: Option<Duration>,
    /// How long sessions live at most; at most a day.
    pub max_duration: Option<Duration>,
    /// API operations that are refused with `AccessDeniedException`.
    pub deny: BTreeSet<String>,
    /// API operations that a service control policy forbids.
    pub forbid: BTreeSet<String>,
    /// Session documents that do not exist, the account's preferences among them.
    pub missing_documents: BTreeSet<String>,
    /// How far the services' clock is ahead, at most a day.
    pub clock_ahead: Duration,
    /// What begins at a moment.
    pub faults: Vec<Scheduled>,
}

/// A gateway that does not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayFault {
    /// Sends random binary and text frames instead of the session.
    Garbage,
    /// Accepts the WebSocket and never says anything.
    Silent,
    /// Accepts the TCP connection and never answers the upgrade request.
    Mute,
    /// Answers the upgrade request with 403.
    RefuseUpgrade,
}

impl Chaos {
    /// Whether frames between client and agent are touched at all.
    pub fn affects_frames(&self) -> bool {
        let probabilities = [self.drop, self.duplicate, self.reorder, self.alter];
        !self.delay.is_zero()
            || !self.jitter.is_zero()
            || probabilities.iter().any(|p| *p != Probability::NEVER)
    }
}

impl GatewayFault {
    const ALL: [Self; 4] = [Self::Garbage, Self::Silent, Self::Mute, Self::RefuseUpgrade];

    fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Silent => "silent",
            Self::Mute => "mute",
            Self::RefuseUpgrade => "refuse-upgrade",
        }
    }
}

/// Why a text is not a [`Chaos`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseChaosError {
    #[error(
        "unknown fault '{0}' (delay, jitter, drop, duplicate, reorder, alter, seed, deny, forbid, missing-document, clock-ahead, garbage, silent, mute, refuse-upgrade, \
         cut, reset, black-hole, refuse-connections, refuse-upgrades, fail-upgrades, fail-calls, idle-timeout, max-duration, kill-agents, lose-agents, terminate, refuse-tokens, \
         expire-tokens, expire-cells, expire-credentials, swallow-acks, pause, stall, offline, replace, host)"
    )]
    UnknownFault(String),
    #[error("fault '{0}' needs a value, as in {0}={1}")]
    MissingValue(&'static str, &'static str),
    #[error("fault '{0}' takes no value")]
    UnexpectedValue(&'static str),
    #[error("'{value}' is not a time for '{name}' (as 20ms or 1.5s, at most 60s)")]
    InvalidDuration { name: &'static str, value: String },
    #[error("'{value}' is not a time for '{name}' (as 10s, at most 86400s; /EVERY at least 100ms)")]
    InvalidTime { name: &'static str, value: String },
    #[error("'{value}' is not a percentage for '{name}' (0% to 100%)")]
    InvalidProbability { name: &'static str, value: String },
    #[error("'{0}' does not name a target and the one in its place (as i-0abc:i-0def)")]
    InvalidReplacement(String),
    #[error("'{0}' is not a host and its address (as db:127.0.0.2 or db:[::1]:5432)")]
    InvalidHost(String),
    #[error("'{0}' is not a seed (a whole number)")]
    InvalidSeed(String),
    #[error("'{0}' is not an API operation of the lab ({list})", list = OPERATIONS.join(", "))]
    InvalidOperation(String),
    #[error("'{0}' and '{1}' cannot both be had: a gateway fails in one way")]
    Conflict(&'static str, &'static str),
}

impl FromStr for Chaos {
    type Err = ParseChaosError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut chaos = Self::default();
        chaos.update(text)?;
        Ok(chaos)
    }
}

impl Chaos {
    /// Sets what `text` names and leaves the rest; faults in it are added.
    ///
    /// # Errors
    ///
    /// When a part of `text` is not understood; the parts before it are set.
    pub fn update(&mut self, text: &str) -> Result<(), ParseChaosError> {
        for item in text.split(',').map(str::trim).filter(|s| !s.is_empty()) {
            if let Some(scheduled) = Scheduled::parse(item) {
                self.faults.push(scheduled?);
            } else {
                let (name, value) = match item.split_once('=') {
                    Some((name, value)) => (name.trim(), Some(value.trim())),
                    None => (item, None),
                };
                self.set(name, value)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), ParseChaosError> {
        match name {
            "delay" => self.delay = duration("delay", value)?,
            "jitter" => self.jitter = duration("jitter", value)?,
            "drop" => self.drop = probability("drop", value)?,
            "duplicate" => self.duplicate = probability("duplicate", value)?,
            "reorder" => self.reorder = probability("reorder", value)?,
            "alter" => self.alter = probability("alter", value)?,
            "idle-timeout" => self.idle_timeout = Some(life("idle-timeout", value)?),
            "max-duration" => self.max_duration = Some(life("max-duration", value)?),
            "seed" => {
                let value = value.ok_or(ParseChaosError::MissingValue("seed", "7"))?;
                self.seed = value
                    .parse()
                    .map_err(|_| ParseChaosError::InvalidSeed(value.to_owned()))?;
            }
            "clock-ahead" => self.clock_ahead = life("clock-ahead", value)?,
            "deny" => {
                self.deny.insert(operation("deny", value)?);
            }
            "forbid" => {
                self.forbid.insert(operation("forbid", value)?);
            }
            "missing-document" => {
                let example = "AWS-StartPortForwardingSession";
                let value = value.filter(|value| !value.is_empty());
                let value =
                    value.ok_or(ParseChaosError::MissingValue("missing-document", example))?;
                self.missing_documents.insert(value.to_owned());
            }
            _ => self.set_gateway(name, value)?,
        }
        Ok(())
    }

    fn set_gateway(&mut self, name: &str, value: Option<&str>) -> Result<(), ParseChaosError> {
        let fault = GatewayFault::ALL
            .into_iter()
            .find(|fault| fault.name() == name)
            .ok_or_else(|| ParseChaosError::UnknownFault(name.to_owned()))?;
        if value.is_some() {
            return Err(ParseChaosError::UnexpectedValue(fault.name()));
        }
        match self.gateway.replace(fault) {
            Some(other) if other != fault => {
                Err(ParseChaosError::Conflict(other.name(), fault.name()))
            }
            _ => Ok(()),
        }
    }
}

fn duration(name: &'static str, value: Option<&str>) -> Result<Duration, ParseChaosError> {
    let value = value.ok_or(ParseChaosError::MissingValue(name, "20ms"))?;
    parse_duration(value)
        .filter(|duration| *duration <= MAX_DELAY)
        .ok_or_else(|| ParseChaosError::InvalidDuration {
            name,
            value: value.to_owned(),
        })
}

/// An API operation of the lab's.
fn operation(name: &'static str, value: Option<&str>) -> Result<String, ParseChaosError> {
    let value = value.ok_or(ParseChaosError::MissingValue(name, "StartSession"))?;
    match OPERATIONS.contains(&value) {
        true => Ok(value.to_owned()),
        false => Err(ParseChaosError::InvalidOperation(value.to_owned())),
    }
}

/// How long something lives.
fn life(name: &'static str, value: Option<&str>) -> Result<Duration, ParseChaosError> {
    let value = value.ok_or(ParseChaosError::MissingValue(name, "60s"))?;
    scheduled::time(name, value, Duration::ZERO)
}

fn probability(name: &'static str, value: Option<&str>) -> Result<Probability, ParseChaosError> {
    let value = value.ok_or(ParseChaosError::MissingValue(name, "5%"))?;
    Probability::parse(value).ok_or_else(|| ParseChaosError::InvalidProbability {
        name,
        value: value.to_owned(),
    })
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items = Vec::new();
        for (name, value) in [("delay", self.delay), ("jitter", self.jitter)] {
            if !value.is_zero() {
                items.push(format!("{name}={}", format_duration(value)));
            }
        }
        let probabilities = [
            ("drop", self.drop),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("alter", self.alter),
        ];
        for (name, value) in probabilities {
            if value != Probability::NEVER {
                items.push(format!("{name}={value}"));
            }
        }
        if self.seed != 0 {
            items.push(format!("seed={}", self.seed));
        }
        let lives = [
            ("idle-timeout", self.idle_timeout),
            ("max-duration", self.max_duration),
        ];
        for (name, life) in lives {
            items.extend(life.map(|life| format!("{name}={}", format_duration(life))));
        }
        items.extend(self.gateway.map(|fault| fault.name().to_owned()));
        if !self.clock_ahead.is_zero() {
            items.push(format!("clock-ahead={}", format_duration(self.clock_ahead)));
        }
        let named = [
            ("deny", &self.deny),
            ("forbid", &self.forbid),
            ("missing-document", &self.missing_documents),
        ];
        for (name, values) in named {
            items.extend(values.iter().map(|value| format!("{name}={value}")));
        }
        items.extend(self.faults.iter().map(Scheduled::to_string));
        f.write_str(&items.join(","))
    }
}

/// Upper bound of `delay` and `jitter`: longer than every deadline of a client.
const MAX_DELAY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Chaos, ParseChaosError> {
        text.parse()
    }

    #[test]
    fn every_fault_is_understood_and_written_back() {
        let text = "delay=20ms,jitter=1500us,drop=5%,duplicate=0.25%,reorder=100%,alter=0.5%,seed=7,\
                    idle-timeout=90s,max-duration=3600s,garbage,\
                    clock-ahead=600s,deny=ResumeSession,deny=StartSession,forbid=StartSession,\
                    missing-document=AWS-StartSSHSession";
        let chaos = parse(text).unwrap();
        assert_eq!(chaos.delay, Duration::from_millis(20));
        assert_eq!(chaos.jitter, Duration::from_micros(1500));
        assert_eq!(chaos.gateway, Some(GatewayFault::Garbage));
        assert!(chaos.deny.contains("StartSession"));
        assert!(chaos.affects_frames());
        assert_eq!(chaos.to_string(), text);
    }

    #[test]
    fn faults_have_their_time() {
        let text = "cut/5s,reset@10s,black-hole=30s,fail-upgrades=500ms@2s/60s,lose-agents=0s,\
             kill-agents,offline=1s,offline=i-0abc:1s@2s,replace=i-0abc:i-0def,\
             host=db:127.0.0.2@30s,host=db:[::1]:5432,expire-cells/10s,expire-tokens";
        let chaos = parse(text).unwrap();
        assert_eq!(chaos.to_string(), text);
        assert!(!chaos.affects_frames());
        let firsts: Vec<_> = chaos.faults.iter().map(|f| f.first().as_secs()).collect();
        assert_eq!(firsts, [5, 10, 0, 2, 0, 0, 0, 2, 0, 30, 0, 10, 0]);
        let condition = Fault::Holds(Condition::BlackHole, Duration::from_secs(30));
        assert_eq!(chaos.faults[2], condition.into());
        for condition in Condition::ALL {
            let fault = Fault::Holds(condition, Duration::from_millis(1));
            assert_eq!(parse(&fault.to_string()).unwrap().faults, [fault.into()]);
        }
    }

    #[test]
    fn nothing_is_no_fault() {
        assert_eq!(parse("").unwrap(), Chaos::default());
        assert_eq!(Chaos::default().to_string(), "");
        assert!(!Chaos::default().affects_frames());
        assert!(!parse("mute,seed=3").unwrap().affects_frames());
    }

    #[test]
    fn single_words_round_trip() {
        for fault in GatewayFault::ALL {
            let chaos = parse(fault.name()).unwrap();
            assert_eq!(chaos.gateway, Some(fault));
            assert_eq!(chaos.to_string(), fault.name());
        }
    }

    #[test]
    fn errors_name_the_fault_and_show_an_example() {
        for (text, expected) in [
            ("delay", "fault 'delay' needs a value, as in delay=20ms"),
            (
                "delay=61s",
                "'61s' is not a time for 'delay' (as 20ms or 1.5s, at most 60s)",
            ),
            (
                "drop=101%",
                "'101%' is not a percentage for 'drop' (0% to 100%)",
            ),
            ("seed=-1", "'-1' is not a seed (a whole number)"),
            ("mute=1", "fault 'mute' takes no value"),
            (
                "replace=i-0abc",
                "'i-0abc' does not name a target and the one in its place (as i-0abc:i-0def)",
            ),
            (
                "host=db:nowhere",
                "'db:nowhere' is not a host and its address (as db:127.0.0.2 or db:[::1]:5432)",
            ),
            ("cut=5s", "fault 'cut' takes no value"),
            (
                "black-hole@1s",
                "fault 'black-hole' needs a value, as in black-hole=10s",
            ),
            (
                "cut/99ms",
                "'99ms' is not a time for 'cut' (as 10s, at most 86400s; /EVERY at least 100ms)",
            ),
            (
                "black-hole=2d",
                "'2d' is not a time for 'black-hole' (as 10s, at most 86400s; /EVERY at least 100ms)",
            ),
            (
                "mute,silent",
                "'mute' and 'silent' cannot both be had: a gateway fails in one way",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        let unknown = parse("explode").unwrap_err().to_string();
        assert!(unknown.starts_with("unknown fault 'explode' (delay, "));
        for text in ["deny=Nonsense", "forbid=Nonsense"] {
            let unknown = parse(text).unwrap_err().to_string();
            let expected = "'Nonsense' is not an API operation of the lab (StartSession, ";
            assert!(unknown.starts_with(expected), "{unknown}");
        }
    }
}
