//! TLS: settings that any number of connections share, and the engine of one connection. Knows no sockets and no loop:
//! ciphertext comes in and goes out as bytes. The engine is rustls, with ring.
//!
//! Without the feature `tls` the same things exist: settings that are never right, and an engine that nobody can make.

mod handles;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
mod settings;
#[cfg(not(feature = "tls"))]
mod without;

pub use handles::{after_fork, before_fork, change, config, describe, error, free, never, new, repr};
#[cfg(feature = "tls")]
pub use session::Session;
#[cfg(feature = "tls")]
pub use settings::{Config, Settings, is_name};
#[cfg(not(feature = "tls"))]
pub use without::{Config, Session, Settings, is_name};

use crate::error::Error;

/// What is wrong with TLS, in words.
fn wrong(what: impl Into<String>) -> Error {
    Error::Tls { what: what.into() }
}

/// Whose certificates are asked for by a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Nobody,
    /// A client may do without one; one that it shows must be good.
    Optional,
    Required,
}
