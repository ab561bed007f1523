//! What is to be examined.

use super::{ForwardSettings, ServiceSettings, serve};
use crate::aws::Target;
use crate::cli::DoctorArgs;
use crate::failure::Failure;

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
    /// [`Exit::Usage`](crate::failure::Exit::Usage) when the arguments contradict each other.
    pub fn new(args: DoctorArgs) -> Result<Self, Failure> {
        let target = args.target.as_deref();
        Ok(Self {
            target: target.map(|name| args.selection.target(name)).transpose()?,
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
