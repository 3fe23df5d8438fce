//! eddy.h - buffered streams over an event loop, for C and everything that speaks C.
//!
//! The rules, once, for the whole header:
//!
//!  1. Every pointer to an eddy type that is not const is a handle: a ticket, not an address. It may be
//!     copied, compared and kept, and never looked into. A handle that is NULL, freed, of another kind, or
//!     of another thread's loop is refused with an error; it is never undefined behaviour.
//!  2. A loop and all its handles belong to the thread that made the loop, or attached it. From elsewhere
//!     only eddy_loop_call_soon_threadsafe() may be called. An eddy_tls belongs to no loop, and to all
//!     threads. After fork() the child may free what it inherited, and make loops of its own. A thread that
//!     ends takes its loops along, and so does exit() with those of the thread that calls it: descriptors are
//!     closed, and nobody is called any more.
//!  3. Your functions are called from within eddy_loop_run(), _run_forever(), _run_once() and
//!     eddy_loop_free(), and from nowhere else: never from within the call that started the operation. You
//!     may call anything in this header from within them, except the three that run, for the same loop;
//!     eddy_loop_free() then waits until run returns. They may not throw, longjmp or end the thread, and the
//!     thread may not be cancelled (pthread_cancel) while it runs a loop.
//!  4. Calls that return eddy_op start something. Not negative: accepted, and the callback will run exactly
//!     once, whatever happens. Negative: refused, and it will never run. Other calls return 0, or a negative
//!     code. Refusals tell of the caller's mistakes; callbacks tell of the world's.
//!  5. What you pass in is copied: yours again when the call returns. What a callback is given besides
//!     handles is lent: good until it returns. Text, and bytes that a read lends, are followed by a NUL that
//!     their length leaves out. Text is UTF-8, ports are numbers of the host's own order, times are
//!     milliseconds. errno after a call means nothing.
//!  6. Freeing a loop frees all that lives on it. Freeing a writer closes its connection and frees its
//!     reader. Freeing anything, at any time, inside any callback, twice, or freeing NULL, is safe. Reads and
//!     drains then end with EDDY_ECANCELED. The callback of eddy_writer_wait_closed() is the last of its
//!     connection, also after eddy_writer_free(): free what its callbacks share there. Standing callbacks
//!     (clients, signals, exceptions) run any number of times, and never again once the call that ends them
//!     has returned.
//!  7. Options may be NULL. A zero field asks for the default.
//!  8. What a code cannot tell (a handle that is no good, a refusal by a call that returns no code, a client
//!     that could not be accepted) goes to the exception handler of the calling thread's loop, from its next
//!     run. Nothing is printed but by the default one. No signal is raised, and none is handled but those that
//!     eddy_loop_add_signal_handler() asks for, in front of the handlers that the program has.

pub mod callbacks;
pub mod custom;
mod deliver;
mod door;
pub mod errors;
pub mod event_loop;
pub mod looking;
pub mod opening;
pub mod reader;
pub mod server;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod types;
pub mod writer;
