//! What is to be examined.

use super::{ForwardSettings, ServiceSettings, serve};
use crate::aws::{Selector, Target};
use crate::cli::DoctorArgs;
use crate::failure::{Exit, Failure};
use crate::spec::Forward;

/// What is to be examined, ready to be looked at.
#[derive(Debug)]
pub struct DoctorSettings {
    /// What to go through.
    pub target: Option<Target>,
    /// The forwards, in the order they were typed.
    pub forwards: Vec<ForwardSettings>,
    /// Whether sessions are started.
    pub connects: bool,
    /// Account and service.
    pub service: ServiceSettings,
}

impl DoctorSettings {
    /// Checks `args`.
    ///
    /// # Errors
    ///
    /// [`Exit::Usage`] when the arguments contradict each other.
    pub fn new(args: DoctorArgs) -> Result<Self, Failure> {
        let target = args.target.as_deref();
        let target = target.map(|name| args.selection.target(name)).transpose()?;
        if let Some(target) = &target {
            refuse_forward(target.selector(), &args.forwards)?;
        }
        Ok(Self {
            target,
            forwards: serve(args.forwards, args.document, args.parameters)?,
            connects: args.connect,
            service: ServiceSettings {
                aws: args.aws,
                #[cfg(feature = "lab")]
                lab: args.lab.lab.then_some(args.lab),
            },
        })
    }
}

/// Refuses what looks like a forward, and like nothing else, in the place of the target.
fn refuse_forward(target: &Selector, forwards: &[Forward]) -> Result<(), Failure> {
    let Selector::Name(text) = target else {
        return Ok(());
    };
    if text.parse::<Forward>().is_err() {
        return Ok(());
    }
    let words = forwards.iter().map(ToString::to_string);
    let words: Vec<_> = std::iter::once(text.clone()).chain(words).collect();
    let message = format!("`{text}` is a forward, and the target comes before it");
    Err(Failure::new(Exit::Usage, message)
        .with_hint(format!("write: ssmfwd doctor TARGET {}", words.join(" "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_is_no_target() {
        let judge = |target: &str, forwards: &[&str]| {
            let forwards: Vec<_> = forwards.iter().map(|text| text.parse().unwrap()).collect();
            refuse_forward(&target.parse().unwrap(), &forwards)
        };
        let refused = judge("80:9090", &["db:5432"]).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert_eq!(
            refused.hint.as_deref(),
            Some("write: ssmfwd doctor TARGET 80:9090 db:5432")
        );
        for target in [
            "web",
            "i-0abc",
            "10.0.1.24",
            "tag:Name=80:9090",
            "asg:80",
            "fd00::80",
        ] {
            assert_eq!(judge(target, &["80"]), Ok(()), "{target}");
        }
    }
}
