//! Connections to the service: TCP, proxies, TLS, and what goes over them: API calls and the data channel's WebSocket.
//!
//! Each step has its own deadline and its own failure, so that a message says which one it was.

pub(crate) mod address;
pub(crate) mod clock;
pub mod connection;
pub mod connector;
pub(crate) mod dial;
pub mod http;
pub mod liveness;
pub mod proxy;
pub(crate) mod service_clock;
pub mod tls;
pub mod websocket;
