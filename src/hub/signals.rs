//! Signals, told to functions of the loop's owner: standing callbacks, one for each signal.

use std::collections::BTreeMap;
use std::ffi::c_int;

use super::{Call, Hub};
use crate::callback::Callback;
use crate::error::Refusal;
use crate::event::Signals;

#[derive(Debug)]
pub(super) struct Handlers {
    signals: Signals,
    callbacks: BTreeMap<c_int, Callback>,
    /// Those that have come and are not told yet: a bit for each, the lowest for signal 1.
    come: u64,
}

impl Hub {
    /// One for the same signal is replaced: what has come by now is told to the new one.
    pub fn add_signal_handler(&mut self, signum: c_int, callback: Callback) -> Result<(), Refusal> {
        self.accepting()?;
        let handlers = match &mut self.signal_handlers {
            Some(handlers) => handlers,
            none => none.insert(Box::new(Handlers {
                signals: Signals::new(self.loop_number, self.remote.bell().ok_or(Refusal::State)?),
                callbacks: BTreeMap::new(),
                come: 0,
            })),
        };
        handlers.signals.watch(signum).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Refusal::Invalid,
            Some(libc::ENOMEM) => Refusal::Full,
            _ => Refusal::Unsupported,
        })?;
        handlers.callbacks.insert(signum, callback);
        Ok(())
    }

    /// What has come and is not told yet is dropped.
    pub fn remove_signal_handler(&mut self, signum: c_int) -> Result<(), Refusal> {
        if !(1..=64).contains(&signum) {
            return Err(Refusal::Invalid);
        }
        let Some(handlers) = &mut self.signal_handlers else { return Err(Refusal::State) };
        handlers.callbacks.remove(&signum).ok_or(Refusal::State)?;
        handlers.signals.forget(signum);
        handlers.come &= !(1 << (signum - 1));
        Ok(())
    }

    #[inline]
    pub(super) fn has_signals(&self) -> bool {
        self.signal_handlers.as_ref().is_some_and(|handlers| handlers.signals.any())
    }

    pub(super) fn gather_signals(&mut self) {
        let Some(handlers) = &mut self.signal_handlers else { return };
        let first = handlers.come == 0;
        handlers.come |= handlers.signals.take();
        if first && handlers.come != 0 {
            self.queue(self.number);
        }
    }

    /// In order of their numbers, as the system delivers those that come at once.
    pub(super) fn signal_turn(&mut self) -> Option<Call> {
        let handlers = self.signal_handlers.as_mut()?;
        while handlers.come != 0 {
            let signum = handlers.come.trailing_zeros() as c_int + 1;
            handlers.come &= handlers.come - 1;
            if let Some(callback) = handlers.callbacks.get(&signum) {
                return Some(Call::Signal { callback: *callback });
            }
        }
        None
    }
}
