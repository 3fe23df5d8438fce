//! Deadlines: of the read that waits, of each drain, of the flush in close, and of what TLS waits for.
//!
//! A connection has one timer under way, for whichever comes first. One that comes up too early, since what it was for
//! has been served by then, is set again for the next. A read that is asked for in its stream's own turn gets its deadline
//! when the turn ends, if it still waits: so those that are served at once cost nothing, and the others a look at the clock.

use std::time::Duration;

use super::{Connection, Hub, face, is};
use crate::error::{Error, Refusal};
use crate::hub::Call;
use crate::table::{Id, Kind};

/// What had come for a late read may be more than its stream's share of a round. It has so many turns for it, and then
/// no more: a peer that always has some cannot move a deadline.
const LATE_TURNS: u8 = 64;

/// When something is late, and how much time it was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    due: Duration,
    timeout: Duration,
}

impl Deadline {
    pub fn after(now: Duration, timeout: Option<Duration>) -> Option<Deadline> {
        let timeout = timeout?;
        Some(Deadline { due: now.checked_add(timeout)?, timeout })
    }

    pub fn is_over(self, now: Duration) -> bool {
        self.due <= now
    }

    pub fn error(self, what: &str) -> Error {
        Error::TimedOut { what: format!("{what}: {} ms are over", self.timeout.as_millis()) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    pub read_timeout: Option<Duration>,
    pub write_timeout: Option<Duration>,
    /// Of the read with this serial, which need not be the one that waits now; None: it has none.
    read: Option<Deadline>,
    read_serial: u32,
    /// Of what close had left to send.
    flush: Option<Deadline>,
    /// When the timer that is under way comes up.
    timer: Option<Duration>,
    /// How many turns the read that is late still has.
    late_turns: u8,
}

impl Connection {
    fn deadlines(&self) -> Option<&Deadlines> {
        Some(&self.rare.as_ref()?.deadlines)
    }

    /// When the timer that is under way comes up.
    pub(in crate::hub) fn deadline_timer(&self) -> Option<Duration> {
        self.deadlines()?.timer
    }

    /// Of the read that waits.
    fn read_deadline(&self) -> Option<Deadline> {
        let deadlines = self.deadlines()?;
        let is_its = self.reader.is_waiting() && self.reader.serial == deadlines.read_serial;
        if is_its { deadlines.read } else { None }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let rare = self.rare.as_ref()?;
        let read = if self.is(is::LATE) { None } else { self.read_deadline() };
        let drains = rare.drains.iter().map(|drain| drain.deadline);
        drains
            .chain([read, rare.deadlines.flush, self.tls_due()])
            .flatten()
            .map(|deadline| deadline.due)
            .min()
    }
}

impl Hub {
    /// Of each read from now on. None: as long as it takes.
    pub fn set_read_timeout(&mut self, id: Id<Connection>, timeout: Option<Duration>) -> Result<(), Refusal> {
        if self.alive(id, face::READER)?.reader.is_waiting() {
            self.time_read(id);
        }
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

    /// A read waits that may not have its deadline yet.
    #[inline(never)]
    pub(super) fn time_read(&mut self, id: Id<Connection>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let serial = connection.reader.serial;
        let deadlines = &mut connection.rare().deadlines;
        if deadlines.read_serial == serial {
            return;
        }
        deadlines.read_serial = serial;
        deadlines.read = None;
        if deadlines.read_timeout.is_none() {
            connection.flags &= !is::TIMED;
            return;
        }
        let deadline = Deadline::after(self.timers.now(), deadlines.read_timeout);
        deadlines.read = deadline;
        self.keep_deadline(id, deadline);
    }

    /// Of a drain that is asked for now.
    pub(super) fn drain_deadline(&self, id: Id<Connection>) -> Option<Deadline> {
        let timeout = self.connections.get(id)?.deadlines()?.write_timeout?;
        Deadline::after(self.timers.now(), Some(timeout))
    }

    /// What is left to send must go out in time.
    pub(super) fn time_flush(&mut self, id: Id<Connection>) {
        let Some(deadline) = self.drain_deadline(id) else { return };
        if let Some(connection) = self.connections.get_mut(id) {
            connection.rare().deadlines.flush = Some(deadline);
            self.keep_deadline(id, Some(deadline));
        }
    }

    /// Sees to it that a timer comes up for it.
    pub(super) fn keep_deadline(&mut self, id: Id<Connection>, deadline: Option<Deadline>) {
        if let Some(Deadline { due, .. }) = deadline {
            self.set_deadline(id, due);
        }
    }

    fn set_deadline(&mut self, id: Id<Connection>, due: Duration) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let timer = &mut connection.rare().deadlines.timer;
        if timer.is_none_or(|timer| due < timer) {
            let has_replaced_one = timer.replace(due).is_some();
            self.timers.set_at(due, id.face(Kind::Deadline));
            if has_replaced_one {
                self.forget_timers(1);
            }
        }
    }

    /// The timer of a connection's deadlines comes up.
    pub(in crate::hub) fn deadline_came(&mut self, id: Id<Connection>) {
        let now = self.timers.now();
        let Some(connection) = self.connections.get_mut(id) else { return };
        match &mut connection.rare {
            Some(rare) if rare.deadlines.timer.is_some_and(|timer| timer <= now) => {
                rare.deadlines.timer = None;
            }
            // An earlier one has taken its place.
            _ => return,
        }
        if connection.is(is::BLOCKED) {
            // Tried once more, whatever the poll knows: what the peer has made room for by now is in time.
            connection.flags |= is::WRITABLE;
            self.flush_one(id);
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        let is_late =
            !connection.is(is::LATE) && connection.read_deadline().is_some_and(|read| read.is_over(now));
        let is_blocked = connection.writer.paused || connection.is(is::WRITING_PAUSED);
        let is_leaving = !connection.is(is::LOST | is::ABORTED);
        let Some(rare) = connection.rare.as_deref_mut() else { return };
        let deadlines = &mut rare.deadlines;
        if is_late {
            // The same for receiving.
            connection.flags |= is::LATE | is::READABLE;
            deadlines.late_turns = LATE_TURNS;
        }
        if is_blocked {
            for drain in std::mem::take(&mut rare.drains) {
                match drain.deadline {
                    Some(deadline) if deadline.is_over(now) => {
                        rare.decided.push_back((drain.callback, Some(Box::new(deadline.error("drain")))));
                    }
                    _ => rare.drains.push_back(drain),
                }
            }
        }
        let flush = rare.deadlines.flush.take_if(|flush| flush.is_over(now));
        if let Some(flush) = flush
            && is_leaving
        {
            // A peer does not take what close had left to send. It is as if this side had aborted, but for those who wait
            // for the end.
            rare.lost = Some(flush.error("close"));
            self.abort(id);
        }
        self.tls_late(id, now);
        if let Some(due) = self.connections.get(id).and_then(Connection::next_deadline) {
            self.set_deadline(id, due);
        }
        self.enqueue(id);
    }

    /// The read that waits is late, and what it waits for has not come.
    pub(super) fn too_late(&mut self, id: Id<Connection>) -> Option<Call> {
        let connection = self.connections.get_mut(id)?;
        if !connection.is(is::LATE) {
            return None;
        }
        // One that was served meanwhile was not late: another may wait by now.
        let late = connection.read_deadline();
        let has_had_its_share = connection.is(is::QUEUED);
        let deadlines = &mut connection.rare.as_mut()?.deadlines;
        if late.is_some() && has_had_its_share && deadlines.late_turns > 0 {
            deadlines.late_turns -= 1;
            return None;
        }
        connection.flags &= !is::LATE;
        let error = Box::new(late?.error("read"));
        let callback = connection.disarm();
        self.waiting -= 1;
        Some(Call::ReadFailed { callback, stream: id, error })
    }
}
