//! The names of regions, as far as this version knows them.

use std::fmt;

/// The regions of all partitions. Source: the partitions of the endpoint rules of the AWS SDKs.
const KNOWN: [&str; 46] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

/// Where in its part of the world a region can be, which is in the name of every one.
const DIRECTIONS: [&str; 9] = [
    "central",
    "east",
    "north",
    "northeast",
    "northwest",
    "south",
    "southeast",
    "southwest",
    "west",
];

/// Most typing errors in a name that is still recognised.
const MAX_ERROR_COUNT: usize = 2;

/// A region that this version does not know: a new one, or none at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfamiliar {
    name: String,
    /// The region that is called much the same.
    pub(crate) similar: Option<&'static str>,
}

impl Unfamiliar {
    /// Looks a region up; `None` if it is a known one.
    pub(crate) fn region(name: &str) -> Option<Self> {
        if KNOWN.contains(&name) {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        let similar = KNOWN
            .into_iter()
            .map(|known| (strsim::osa_distance(&lower, known), known))
            .filter(|(error_count, _)| *error_count <= MAX_ERROR_COUNT)
            .min_by_key(|(error_count, _)| *error_count);
        Some(Self {
            name: name.to_owned(),
            similar: similar.map(|(_, known)| known),
        })
    }

    /// Whether no region, not even a new one, can be called like this.
    pub(crate) fn is_impossible(&self) -> bool {
        let mut parts = self.name.rsplit('-');
        let number = parts.next().unwrap_or_default();
        let direction = parts.next().unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        !is_number || !DIRECTIONS.contains(&direction) || parts.next().is_none()
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> String {
        match self.similar {
            Some(similar) => {
                format!("did you mean {similar}? Check --region, AWS_REGION and the profile")
            }
            None => {
                "check --region, AWS_REGION and the profile: a region is written as in eu-central-1"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for Unfamiliar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_impossible() {
            true => write!(f, "there is no AWS region `{}`", self.name),
            false => write!(
                f,
                "`{}` is no AWS region that this version knows, and may be a new one",
                self.name
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised() {
        for (name, meant) in [
            ("us-esat-1", "us-east-1"),
            ("us-east1", "us-east-1"),
            ("us-east-1a", "us-east-1"),
            ("eu-cental-1", "eu-central-1"),
            ("US-EAST-1", "us-east-1"),
            ("frankfurt", ""),
        ] {
            let unfamiliar = Unfamiliar::region(name).unwrap();
            assert!(unfamiliar.is_impossible(), "{name}");
            assert_eq!(unfamiliar.similar.unwrap_or_default(), meant, "{name}");
        }
    }

    #[test]
    fn a_new_region_is_possible() {
        assert_eq!(Unfamiliar::region("eu-west-1"), None);
        for name in ["eu-west-4", "xy-central-1", "us-iso-north-1"] {
            let unfamiliar = Unfamiliar::region(name).unwrap();
            assert!(!unfamiliar.is_impossible(), "{name}");
            assert!(unfamiliar.to_string().contains("may be a new one"));
        }
    }

    #[test]
    fn the_known_ones_are_possible() {
        for name in KNOWN {
            let name = name.to_owned();
            let known = Unfamiliar {
                name,
                similar: None,
            };
            assert!(!known.is_impossible(), "{known:?}");
        }
    }
}
