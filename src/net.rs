//! Connections to the message gateway: TCP, TLS, the signed WebSocket upgrade.
//!
//! Each step has its own deadline and its own failure, so that a message says which one it was.

pub(crate) mod clock;
pub mod connection;
mod dial;
pub mod liveness;
mod tls;
pub mod websocket;
