//! For operations: what a loop has done, which callbacks take too long, and what is left open at its end.

use std::time::{Duration, Instant};

use super::connection::face;
use super::{Call, Hub, Read};

/// Since the loop was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Rounds: each a poll, and what it brought.
    pub turns: u64,
    /// The present round's are added at its end.
    pub callbacks: u64,
    pub slow_callbacks: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub connections_open: u64,
    pub connections_total: u64,
    pub handshakes_failed: u64,
}

/// What is looked for in debug mode.
#[derive(Debug)]
pub(super) struct Debug {
    slow: Duration,
    /// The callback that is called, and since when.
    running: Option<(Instant, &'static str, usize)>,
}

impl Hub {
    pub fn stats(&self) -> Stats {
        let turn = if self.current == 0 { 0 } else { self.turn_share - self.turn_left };
        let callbacks = self.stats.callbacks + u64::from(self.round_calls + turn);
        Stats { callbacks, bytes_in: self.turn.received, ..self.stats }
    }

    /// None: off.
    pub fn set_debug(&mut self, slow: Option<Duration>) {
        self.debug = slow.map(|slow| Box::new(Debug { slow, running: None }));
        self.set_pace();
    }

    #[cold]
    pub(super) fn callback_begins(&mut self, call: &Call) {
        if let Some(debug) = &mut self.debug {
            let (kind, function) = call.function();
            debug.running = Some((Instant::now(), kind, function));
        }
    }

    #[cold]
    pub(super) fn callback_ends(&mut self) {
        let Some(debug) = &mut self.debug else { return };
        let Some((begin, kind, function)) = debug.running.take() else { return };
        let took = begin.elapsed();
        if took < debug.slow {
            return;
        }
        self.stats.slow_callbacks += 1;
        if kind != Call::EXCEPTION {
            // (A handler that is slow each time would have itself called for ever.)
            self.report(format!("slow callback: {kind} at {function:#x} took {} ms", took.as_millis()), None);
        }
    }

    /// The loop is about to be freed: of what is left, each kind is told once, before it is cancelled.
    pub(super) fn report_leaks(&mut self) {
        let connections = self.connections.values();
        let (mut reads, mut drains, mut upgrades, mut closes, mut writers) = (0, 0, 0, 0, 0);
        for connection in connections {
            reads += usize::from(connection.reader.is_waiting());
            drains += connection.drains();
            closes += connection.waiters();
            upgrades += connection.upgrades();
            let known = connection.is(face::WRITER) && !connection.is_unknown();
            writers += usize::from(known && !connection.is_closing());
        }
        let servers = self.servers.values().filter(|server| server.is_open()).count();
        let server_closes: usize = self.servers.values().map(|server| server.waiters()).sum();
        let listens = self.openings.values().filter(|opening| opening.is_server()).count();
        let timers = self.posts.values().filter(|post| post.timed).count();
        let left = [
            (reads, "read", "waiting"),
            (drains, "drain", "waiting"),
            (upgrades, "eddy_writer_start_tls", "waiting"),
            (closes, "eddy_writer_wait_closed", "waiting"),
            (server_closes, "eddy_server_wait_closed", "waiting"),
            (self.openings.len() - listens, "connection", "being opened"),
            (listens, "server", "being started"),
            (timers, "eddy_loop_call_later", "waiting"),
            (self.posts.len() - timers + self.posted.len(), "eddy_loop_call_soon", "waiting"),
            (writers, "writer", "open"),
            (servers, "server", "open"),
        ];
        for (count, noun, state) in left.into_iter().filter(|(count, ..)| *count > 0) {
            let more = if count > 1 && !noun.starts_with("eddy_") { "s" } else { "" };
            self.report(format!("eddy_loop_free: {count} {noun}{more} still {state}"), None);
        }
        // Before what is in line already.
        if self.reporting {
            self.queue.push_front(self.number);
        }
    }
}

impl Call {
    pub(super) const EXCEPTION: &str = "the eddy_exception_cb";

    /// What is called, in the header's words, and where it lies.
    fn function(&self) -> (&'static str, usize) {
        match self {
            Call::Read(Read { callback, .. }) | Call::ReadFailed { callback, .. } => {
                ("an eddy_read_cb", callback.function)
            }
            Call::Writer { callback, .. } => ("an eddy_writer_cb", callback.function),
            Call::Stream { callback, .. } | Call::WriterAlone { callback, .. } => {
                ("an eddy_stream_cb", callback.function)
            }
            Call::Server { callback, .. } => ("an eddy_server_cb", callback.function),
            Call::Loop { callback, .. } => ("an eddy_loop_cb", callback.function),
            Call::Exception { callback, .. } => {
                (Call::EXCEPTION, callback.map_or(0, |callback| callback.function))
            }
            Call::TransportWrite { callback, .. } | Call::Transport { callback, .. } => {
                ("a function of eddy_transport_ops", callback.function)
            }
            Call::Release { callback } => ("a release function", callback.function),
            Call::Signal { callback } => ("a signal's eddy_fn", callback.function),
        }
    }
}
