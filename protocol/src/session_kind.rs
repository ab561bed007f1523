//! What a session is for.

/// What a session carries, as both ends come to know it in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// Connections from the client's side to a destination the agent can reach.
    Port {
        /// Whether several can be open at a time; else the streams follow one another.
        is_multiplexed: bool,
    },
    /// A terminal: a shell or an interactive command. Both outputs of its programs are one stream.
    Shell,
    /// A command without a terminal and without input.
    Command,
}

impl SessionKind {
    /// Returns whether it is for connections.
    pub fn is_port(self) -> bool {
        matches!(self, Self::Port { .. })
    }

    /// Returns whether several connections can be open at a time.
    pub fn is_multiplexed(self) -> bool {
        matches!(
            self,
            Self::Port {
                is_multiplexed: true
            }
        )
    }
}
