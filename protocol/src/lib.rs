//! The AWS Session Manager data channel as a sans-IO state machine.
//!
//! A [`Channel`] is the client's end, an [`agent::Agent`] the agent's. Neither owns a socket, a clock
//! or a source of randomness. Their driver
//!
//! 1. passes in what happened: `handle_connected`, [`Endpoint::handle_message`],
//!    [`Endpoint::handle_disconnected`], [`Endpoint::handle_timeout`], or a call on a stream of
//!    [`Endpoint::streams`];
//! 2. **then takes out everything that follows from it**: [`Endpoint::poll_transmit`] while the socket
//!    has room, [`Endpoint::poll_event`] until `None`, and the deadline of [`Endpoint::poll_timeout`];
//! 3. waits for the next thing to happen, and starts again.
//!
//! Layers, from the wire up:
//!
//! | module | job |
//! |---|---|
//! | [`message`] | the 120-byte header |
//! | `reliable` | sequence, acknowledgement, retransmission |
//! | `handshake` | session type, version gates, data key |
//! | [`cipher`] | encryption under the data key, where the agent demands it |
//! | [`streams`] | streams: smux, one at a time with old agents, or the two of a shell or command |
//! | `smux` | many streams over one byte stream |
//! | [`channel`] | dispatch between them, and the order of a session |
//!
//! Frames are built when the socket has room for them, acknowledgements first,
//! but for a share of everything else. Memory is bounded by
//! [`config::Config`]; where a bound is reached the sender waits, and nothing is dropped that was
//! acknowledged.

pub mod agent;
pub mod channel;
pub mod cipher;
pub mod config;
mod console;
pub mod control;
mod endpoint;
pub mod error;
mod handshake;
pub mod message;
mod reliable;
mod session_kind;
mod smux;
pub mod streams;
#[cfg(test)]
mod testing;
pub mod version;

pub use channel::Channel;
pub use cipher::DataKey;
pub use console::{Signal, Size};
pub use endpoint::{Endpoint, Transmit};
pub use session_kind::SessionKind;
pub use smux::StreamId;
