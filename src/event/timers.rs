//! What is due when: a heap, earliest first, equal ones in the order they were set. Whoever sets a timer says by a
//! number what is to be looked at then; a timer that is no longer wanted is found stale when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

#[derive(Debug)]
enum Clock {
    /// The system's, since then.
    System(Instant),
    /// Stands still until it is told how much time passes.
    Virtual(Duration),
}

#[derive(Debug)]
pub struct Timers {
    clock: Clock,
    heap: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    set: u64,
    stale: usize,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers { clock: Clock::System(Instant::now()), heap: BinaryHeap::new(), set: 0, stale: 0 }
    }
}

impl Timers {
    /// Time since the loop was made, by a clock that never goes back.
    pub fn now(&self) -> Duration {
        match self.clock {
            Clock::System(start) => start.elapsed(),
            Clock::Virtual(now) => now,
        }
    }

    /// From now on by that clock. False: it is too late, something has been timed by the other one.
    pub fn set_clock(&mut self, is_virtual: bool) -> bool {
        let unused = self.set == 0;
        if unused && is_virtual != self.is_virtual() {
            let now = self.now();
            self.clock = if is_virtual {
                Clock::Virtual(now)
            } else {
                let start = Instant::now();
                Clock::System(start.checked_sub(now).unwrap_or(start))
            };
        }
        unused
    }

    pub fn is_virtual(&self) -> bool {
        matches!(self.clock, Clock::Virtual(_))
    }

    /// So much time passes, by a virtual clock.
    pub fn pass(&mut self, time: Duration) {
        if let Clock::Virtual(now) = &mut self.clock {
            *now = now.saturating_add(time);
        }
    }

    /// A time too far away to be told is never.
    pub fn set(&mut self, delay: Duration, number: usize) {
        if let Some(due) = self.now().checked_add(delay) {
            self.set_at(due, number);
        }
    }

    /// Room for so many, which setting them then cannot lack. False: there is none.
    pub fn make_room(&mut self, all: usize) -> bool {
        self.heap.try_reserve(all.saturating_sub(self.heap.len())).is_ok()
    }

    pub fn set_at(&mut self, due: Duration, number: usize) {
        self.set += 1;
        self.heap.push(Reverse((due, self.set, number)));
    }

    /// The next number that is due by `now`.
    pub fn pop(&mut self, now: Duration) -> Option<usize> {
        match self.heap.peek() {
            Some(Reverse((due, _, _))) if *due <= now => {
                self.heap.pop().map(|Reverse((_, _, number))| number)
            }
            _ => None,
        }
    }

    /// How long until something is due.
    pub fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((due, _, _))| due.saturating_sub(self.now()))
    }

    /// So many of them are no longer wanted. Once half may not be, those that `wanted` does not know are thrown out. (Some
    /// will have come up meanwhile; which, nobody counts.)
    pub fn forget(&mut self, count: usize, wanted: impl Fn(Duration, usize) -> bool) {
        self.stale += count;
        if self.stale > 64 && self.stale > self.heap.len() / 2 {
            self.heap.retain(|Reverse((due, _, number))| wanted(*due, *number));
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_first_and_equal_ones_in_order() {
        let mut timers = Timers::default();
        timers.set(Duration::from_secs(2), 3);
        timers.set(Duration::from_secs(1), 1);
        timers.set(Duration::from_secs(1), 2);
        assert_eq!(timers.pop(Duration::ZERO), None);
        let late = Duration::from_secs(60);
        let order: Vec<_> = std::iter::from_fn(|| timers.pop(late)).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn never_is_never() {
        let mut timers = Timers::default();
        timers.set(Duration::MAX, 1);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn virtual_time_passes_when_told_and_neither_clock_goes_back() {
        let mut timers = Timers::default();
        let begin = timers.now();
        assert!(timers.set_clock(true));
        let now = timers.now();
        assert!(now >= begin);
        timers.pass(Duration::from_secs(3600));
        assert_eq!(timers.now(), now + Duration::from_secs(3600));
        assert!(timers.set_clock(false));
        assert!(timers.now() >= now);
        assert!(timers.set_clock(true));
        timers.set(Duration::from_secs(60), 1);
        assert!(!timers.set_clock(false));
        assert_eq!(timers.next(), Some(Duration::from_secs(60)));
        timers.pass(Duration::from_secs(60));
        assert_eq!(timers.pop(timers.now()), Some(1));
        timers.pass(Duration::MAX);
        timers.pass(Duration::MAX);
    }

    #[test]
    fn forgotten_ones_do_not_pile_up() {
        let mut timers = Timers::default();
        for number in 0..10_000 {
            timers.set(Duration::from_secs(3600), number);
            timers.forget(1, |_, _| false);
        }
        assert!(timers.heap.len() < 200);
    }
}
