//! libeddy: asyncio's streams for C.
//!
//! The rooms, from the street inwards; each knows only those to its right:
//!
//! ```text
//! ffi -> hub -> { stream, net, event, tls } -> { table, callback, memory, error }
//! ```
//!
//! - [`ffi`]: the door. One file per section of `include/eddy.h`: C strings, slices and options come in, callbacks go
//!   out, panics stop here.
//! - [`hub`]: the event loop's inside. It owns every object, and is the only place where sockets and readers meet.
//! - [`stream`]: buffers, readers and writers without sockets, loop or clock: bytes in, answers out.
//! - [`net`]: sockets, names and addresses. Knows no lines.
//! - [`tls`]: its settings and its engine. Knows no sockets.
//! - [`event`]: the poll, the timers, and what other threads may touch. Knows no objects.
//! - `reserve`: memory for the engine when the system has none. Below everything, as the allocator is.
//! - [`table`]: objects by ticket. [`callback`]: C functions, as the core knows them. [`memory`]: what callers lend for
//!   longer than a call. [`error`]: what can go wrong.
//!
//! The core never calls anybody: [`hub::Hub::step`] says whom to call and with what, and the door calls C with nothing
//! borrowed. So a callback may do anything, and never runs early.

#![deny(unsafe_code)]

pub mod callback;
pub mod error;
pub mod event;
#[allow(unsafe_code, non_camel_case_types, clippy::missing_safety_doc)]
pub mod ffi;
pub mod hub;
pub mod memory;
pub mod net;
#[cfg(feature = "tls")]
#[allow(unsafe_code)]
mod reserve;
pub mod stream;
pub mod table;
pub mod tls;
