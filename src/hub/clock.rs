//! What time it is, and how long a loop waits for what.

use std::time::Duration;

use super::Hub;
use crate::error::Refusal;

impl Hub {
    pub fn time(&self) -> Duration {
        self.timers.now()
    }

    /// How long until something is due; None: nothing is.
    pub fn timeout(&self) -> Option<Duration> {
        if self.has_work() { Some(Duration::ZERO) } else { self.timers.next() }
    }

    /// Refused once anything has been timed.
    pub fn set_clock(&mut self, is_virtual: bool) -> Result<(), Refusal> {
        if self.timers.set_clock(is_virtual) { Ok(()) } else { Err(Refusal::State) }
    }

    /// How long the poll may take. By a virtual clock no time passes while something is looked at.
    pub(super) fn patience(&self, limit: Option<Duration>) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let due = self.timers.next();
        if self.timers.is_virtual() {
            return if due.is_some() && !self.awaits_answers() { Some(Duration::ZERO) } else { limit };
        }
        match (limit, due) {
            (Some(limit), Some(due)) => Some(limit.min(due)),
            (limit, due) => limit.or(due),
        }
    }

    /// The poll is over. When it found nothing, a virtual clock goes on to the next timer, or as far as the limit lets it.
    pub(super) fn pass_time(&mut self, limit: Option<Duration>) {
        if self.timers.is_virtual()
            && self.events.is_empty()
            && !self.has_work()
            && !self.awaits_answers()
            && let Some(due) = self.timers.next()
        {
            self.timers.pass(limit.map_or(due, |limit| limit.min(due)));
        }
    }

    /// A name is being looked up, by a thread of ours.
    fn awaits_answers(&self) -> bool {
        self.openings.values().any(|opening| opening.awaits_answer())
    }
}
