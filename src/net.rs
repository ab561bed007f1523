//! Connections to the message gateway: TCP, TLS, the signed WebSocket upgrade.
//!
//! Each step has its own deadline and its own failure, so that a message says which one it was.

pub mod connection;
mod dial;
mod tls;
pub mod websocket;
