//! The poll, the timers, and what other threads may touch. Knows no objects, only the numbers that stand for them.

mod poll;
mod remote;
#[allow(unsafe_code)] // handlers, and the system call that sets them
mod signals;
mod timers;

pub use poll::{Event, Poll};
pub use remote::Remote;
pub use signals::{Signals, forked as signals_forked};
pub use timers::Timers;
