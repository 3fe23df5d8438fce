//! Deadlines: of the read that waits, of each drain, and of the flush in close.
//!
//! A connection has one timer under way, for whichever comes first. One that comes up too early, since what it was for
//! has been served by then, is set again for the next: so a read that is served in time costs a look at the clock.

use std::time::Duration;

use super::{Connection, Hub, face, is};
use crate::error::{Error, Refusal};
use crate::hub::Call;
use crate::net;
use crate::table::Id;

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    pub read_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    /// When the read that waits is late.
    read: Option<Duration>,
    /// When what close had left to send must have gone out.
    flush: Option<Duration>,
    /// When the timer that is under way comes up.
    timer: Option<Duration>,
}

fn timed_out(what: &str, timeout: Option<Duration>) -> Error {
    Error::TimedOut { what: format!("{what}: {} ms are over", timeout.unwrap_or_default().as_millis()) }
}

impl Connection {
    fn deadlines(&self) -> Option<&Deadlines> {
        Some(&self.rare.as_ref()?.deadlines)
    }

    /// When the next drain is late, the next to wait first: they came in that order, and a timeout that was shortened
    /// meanwhile is looked at with the next one.
    fn drain_deadline(&self) -> Option<Duration> {
        self.rare.as_ref()?.drains.iter().filter_map(|drain| drain.due).min()
    }

    pub(super) fn has_timer(&self) -> bool {
        self.deadlines().is_some_and(|deadlines| deadlines.timer.is_some())
    }

    fn next_deadline(&self) -> Option<Duration> {
        let deadlines = self.deadlines()?;
        let read = if self.reader.is_waiting() { deadlines.read } else { None };
        [read, deadlines.flush, self.drain_deadline()].into_iter().flatten().min()
    }
}

impl Hub {
    /// Of each read from now on. None: as long as it takes.
    pub fn set_read_timeout(&mut self, id: Id<Connection>, timeout: Option<Duration>) -> Result<(), Refusal> {
        let connection = self.alive(id, face::READER)?;
        connection.rare().deadlines.read_timeout = timeout;
        connection.flags |= is::TIMED;
        Ok(())
    }

    /// Of each drain from now on, and of the flush in close.
    pub fn set_write_timeout(
        &mut self,
        id: Id<Connection>,
        timeout: Option<Duration>,
    ) -> Result<(), Refusal> {
        self.alive(id, face::WRITER)?.rare().deadlines.write_timeout = timeout;
        Ok(())
    }

    /// A read has just been asked for.
    #[cold]
    pub(super) fn time_read(&mut self, id: Id<Connection>) {
        let now = self.timers.now();
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.flags &= !is::LATE;
        let deadlines = &mut connection.rare().deadlines;
        deadlines.read = deadlines.read_timeout.and_then(|timeout| now.checked_add(timeout));
        if deadlines.read_timeout.is_none() {
            connection.flags &= !is::TIMED;
        }
        self.watch_deadlines(id, now);
    }

    /// When a drain that is asked for now is late.
    pub(super) fn drain_due(&self, id: Id<Connection>) -> Option<Duration> {
        let timeout = self.connections.get(id)?.deadlines()?.write_timeout?;
        self.timers.now().checked_add(timeout)
    }

    /// What is left to send must go out in time.
    pub(super) fn time_flush(&mut self, id: Id<Connection>) {
        let now = self.timers.now();
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Some(rare) = &mut connection.rare
            && let Some(timeout) = rare.deadlines.write_timeout
        {
            rare.deadlines.flush = now.checked_add(timeout);
            self.watch_deadlines(id, now);
        }
    }

    /// Sees to it that a timer comes up for what comes first.
    pub(super) fn watch_deadlines(&mut self, id: Id<Connection>, now: Duration) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(due) = connection.next_deadline() else { return };
        let timer = &mut connection.rare().deadlines.timer;
        if timer.is_none_or(|timer| due < timer) {
            *timer = Some(due);
            self.timers.set(due.saturating_sub(now), id.number());
        }
    }

    /// True: the timer that came up was for this.
    pub(super) fn deadline_came(&mut self, id: Id<Connection>) -> bool {
        let now = self.timers.now();
        let Some(connection) = self.connections.get_mut(id) else { return false };
        let waits = connection.reader.is_waiting();
        let is_blocked = connection.writer.paused || connection.is(is::WRITING_PAUSED);
        let is_open = !connection.is(is::LOST);
        let Some(rare) = connection.rare.as_deref_mut() else { return false };
        let deadlines = &mut rare.deadlines;
        if deadlines.timer.is_none_or(|timer| timer > now) {
            return false;
        }
        deadlines.timer = None;
        let is_over = |due: Option<Duration>| due.is_some_and(|due| due <= now);
        if is_over(deadlines.read) {
            deadlines.read = None;
            if waits {
                // Received once more, whatever the poll knows: what has come by now is in time.
                connection.flags |= is::LATE | is::READABLE;
            }
        }
        let give_up = is_over(deadlines.flush);
        if give_up {
            deadlines.flush = None;
        }
        if is_blocked {
            let timeout = deadlines.write_timeout;
            let (late, waiting) =
                std::mem::take(&mut rare.drains).into_iter().partition(|drain| is_over(drain.due));
            rare.drains = waiting;
            for drain in late {
                rare.decided.push_back((drain.callback, Some(Box::new(timed_out("drain", timeout)))));
                connection.flags |= is::ANSWERS;
            }
        }
        if give_up && is_open {
            self.give_up(id);
        }
        self.watch_deadlines(id, now);
        self.enqueue(id);
        true
    }

    /// A peer does not take what close had left to send.
    fn give_up(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is(is::CUSTOM) {
            return self.abort(id);
        }
        let error = timed_out("close", connection.deadlines().and_then(|deadlines| deadlines.write_timeout));
        connection.flags |= is::ABORTED;
        if let Some(socket) = &connection.socket {
            net::reset_on_close(socket);
        }
        self.lose(id, Some(error));
    }

    /// The read that waits is late, and what it waits for has not come.
    pub(super) fn too_late(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        if !connection.is(is::LATE) {
            return None;
        }
        connection.flags &= !is::LATE;
        if !connection.reader.is_waiting() {
            return None;
        }
        let timeout = connection.deadlines().and_then(|deadlines| deadlines.read_timeout);
        let callback = connection.disarm();
        self.waiting -= 1;
        Some(Call::ReadFailed { callback, stream: id, error: Box::new(timed_out("read", timeout)) })
    }
}
