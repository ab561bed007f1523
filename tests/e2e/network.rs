//! Networks as people have them: TLS with CAs of their own, VPC endpoints, proxies, DNS that knows only half.

mod doctor;
pub(crate) mod namespace;
mod paths;
mod proxies;
mod tls;
mod trust;

pub(crate) use tls::Authority;
