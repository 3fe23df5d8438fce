//! The poll, the timers, and what other threads may touch. Knows no objects, only the numbers that stand for them.

mod poll;
mod remote;
mod timers;

pub use poll::{Event, Poll};
pub use remote::Remote;
pub use timers::Timers;
