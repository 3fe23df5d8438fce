//! What the hub asks the door to call: data, not closures, so that tests can look at it.

use super::{Connection, Server};
use crate::callback::{Callback, Lent};
use crate::error::Error;
use crate::table::Id;

/// What the exception handler is told.
#[derive(Debug)]
pub struct Report {
    pub message: String,
    pub error: Option<Box<Error>>,
}

/// A read that got its bytes.
#[derive(Debug)]
pub struct Read {
    pub callback: Callback,
    pub stream: Id<Connection>,
    pub bytes: Lent,
}

/// The next thing to call. Small: it goes through several hands for each line read.
#[derive(Debug)]
pub enum Call {
    /// A read that got its bytes: the hot path.
    Read(Read),
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
    /// One made that cannot be read from.
    WriterAlone {
        callback: Callback,
        stream: Id<Connection>,
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
    Signal {
        callback: Callback,
    },
}
