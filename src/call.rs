//! What the core asks the door to call: data, not closures, so that tests can look at it.

use crate::error::Error;
use crate::hub::{Connection, Server};
use crate::table::Id;

/// The address of a C function whose type only the door knows; what it is called with follows from the [`Call`] it
/// comes in. A number, not a pointer: the core carries it, also between threads, and can do nothing else with it.
pub type Function = usize;

/// A C function and the argument that its owner gave with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    pub function: Function,
    pub argument: usize,
}

/// Bytes lent to a callback. They lie in a buffer that the hub leaves alone until it is next asked what to call.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    pub start: *const u8,
    pub len: usize,
}

/// A custom transport's functions, as its owner gave them; None where it cannot.
#[derive(Clone, Copy, Debug)]
pub struct TransportOps {
    pub write: Function,
    pub write_eof: Option<Function>,
    pub close: Function,
    pub abort: Function,
    pub pause_reading: Option<Function>,
    pub resume_reading: Option<Function>,
    pub release: Function,
}

/// What the exception handler is told.
#[derive(Debug)]
pub struct Report {
    pub message: String,
    pub error: Option<Box<Error>>,
}

/// The next thing to call. Small: it goes through several hands for each line read.
#[derive(Debug)]
pub enum Call {
    /// A read that got its bytes: the hot path.
    Read {
        callback: Callback,
        stream: Id<Connection>,
        bytes: Lent,
    },
    ReadFailed {
        callback: Callback,
        stream: Id<Connection>,
        error: Box<Error>,
    },
    /// A drain, or somebody who waited for the end.
    Writer {
        callback: Callback,
        stream: Id<Connection>,
        error: Option<Box<Error>>,
    },
    /// A connection made or accepted; without a stream when that failed.
    Stream {
        callback: Callback,
        stream: Option<Id<Connection>>,
        error: Option<Box<Error>>,
    },
    Server {
        callback: Callback,
        server: Option<Id<Server>>,
        error: Option<Box<Error>>,
    },
    Loop {
        callback: Callback,
        error: Option<Box<Error>>,
    },
    /// For the exception handler; None: the default one.
    Exception {
        callback: Option<Callback>,
        report: Box<Report>,
    },
    /// A custom transport's `write`.
    TransportWrite {
        callback: Callback,
        transport: usize,
        bytes: Lent,
    },
    /// Its `write_eof`, `close`, `abort`, `pause_reading` or `resume_reading`: all called alike.
    Transport {
        callback: Callback,
        transport: usize,
    },
    Release {
        callback: Callback,
    },
}
