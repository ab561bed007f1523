//! Session documents: what kind of session they start, and what the agent is told to do in it.

use std::collections::BTreeMap;

/// The kinds of session a document can start, by the service's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionType {
    /// `Standard_Stream`: a shell in a terminal.
    StandardStream,
    /// `InteractiveCommands`: a command in a terminal.
    InteractiveCommands,
    /// `NonInteractiveCommands`: a command without terminal and input.
    NonInteractiveCommands,
    /// `Port`: connections to a port.
    Port,
}

impl SessionType {
    /// The name in the document and in the handshake.
    pub fn name(self) -> &'static str {
        match self {
            Self::StandardStream => "Standard_Stream",
            Self::InteractiveCommands => "InteractiveCommands",
            Self::NonInteractiveCommands => "NonInteractiveCommands",
            Self::Port => "Port",
        }
    }
}

/// A document besides AWS's own. It takes any parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// As in StartSession.
    pub name: String,
    pub session_type: SessionType,
    /// What a document of commands runs: every `{{ parameter }}` in it is replaced by that
    /// parameter's value. Without it, it runs its parameter `command`.
    pub commands: Option<String>,
}

impl Document {
    /// Creates a document that passes its parameters on as they are.
    pub fn new(name: impl Into<String>, session_type: SessionType) -> Self {
        Self {
            name: name.into(),
            session_type,
            commands: None,
        }
    }
}

/// What an agent is told to do in a session: the document with its parameters filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Connect to what the properties name.
    Port(BTreeMap<String, String>),
    Shell,
    InteractiveCommand {
        command: String,
        /// Whether the words of `command` are run as they are: an ECS container may have no shell.
        is_in_container: bool,
    },
    NonInteractiveCommand(NonInteractiveCommand),
}

impl Content {
    pub(super) fn session_type(&self) -> SessionType {
        match self {
            Self::Port(_) => SessionType::Port,
            Self::Shell => SessionType::StandardStream,
            Self::InteractiveCommand { .. } => SessionType::InteractiveCommands,
            Self::NonInteractiveCommand(_) => SessionType::NonInteractiveCommands,
        }
    }
}

/// Properties of a document of type `NonInteractiveCommands`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NonInteractiveCommand {
    pub(super) command: String,
    /// Whether standard output and standard error are told apart and sent as they come.
    pub(super) separate_output: bool,
    /// What a chunk of standard output that begins a line is prefixed with, if output is separate.
    pub(super) stdout_prefix: String,
    /// The same for standard error.
    pub(super) stderr_prefix: String,
}
