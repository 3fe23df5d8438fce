//! For people, operations and debuggers.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use super::door;
use super::types::eddy_loop;
use crate::error::Refusal;
use crate::table::Kind;
use crate::tls;

/// What a loop has done since it was made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct eddy_stats {
    /// sizeof(eddy_stats).
    pub size: usize,
    /// Rounds: each a poll, and what it brought.
    pub turns: u64,
    /// Calls of functions of yours.
    pub callbacks: u64,
    /// Those that took longer than eddy_loop_set_debug() says.
    pub slow_callbacks: u64,
    /// Received from sockets, and sent to them; with TLS, what was in it.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Made or accepted, and not over yet; and all that ever were.
    pub connections_open: u64,
    pub connections_total: u64,
    /// Of clients of its servers, which nobody was told of but the exception handler.
    pub handshakes_failed: u64,
}

/// Fills in as much as size says there is room for. EDDY_EINVAL: NULL, or size is not set.
///
/// The size of an older header gets the fields that it had; of a newer one, 0 where this version knows nothing. Counting
/// costs next to nothing: by the round, or by the system call. Bytes that a transport of your own moves are your own to
/// count, and so are its connections.
///
/// # Safety
/// Unless NULL, `stats` must have as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_loop_stats(r#loop: *mut eddy_loop, stats: *mut eddy_stats) -> c_int {
    door::status("eddy_loop_stats", r#loop, |hub, _| {
        let counted = hub.stats();
        let known = eddy_stats {
            size: 0,
            turns: counted.turns,
            callbacks: counted.callbacks,
            slow_callbacks: counted.slow_callbacks,
            bytes_in: counted.bytes_in,
            bytes_out: counted.bytes_out,
            connections_open: counted.connections_open,
            connections_total: counted.connections_total,
            handshakes_failed: counted.handshakes_failed,
        };
        // SAFETY: the caller's promise.
        unsafe { door::give_sized(stats, known) }
    })
}

/// Tells the exception handler of callbacks that take so many milliseconds, and, when the loop is freed,
/// of what is still waiting or open. 0: off.
///
/// "slow callback: an eddy_read_cb at 0x55d0c0de took 120 ms": where that is, a debugger knows (info symbol 0x55d0c0de).
/// Measured is the time from the call to the return, also of what it calls; a slow exception handler is only counted, in
/// eddy_stats. "eddy_loop_free: 2 reads still waiting", "eddy_loop_free: 1 writer still open": a report for each kind,
/// before anything is cancelled. UINT64_MAX: those only, no callback is as slow. While it is off no clock is read for
/// it. asyncio: loop.slow_callback_duration and its debug mode, whose default is 100 ms.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_set_debug(r#loop: *mut eddy_loop, slow_callback_ms: u64) -> c_int {
    door::status("eddy_loop_set_debug", r#loop, |hub, _| {
        hub.set_debug((slow_callback_ms != 0).then(|| Duration::from_millis(slow_callback_ms)));
        Ok(())
    })
}

/// "0.1.0": what EDDY_VERSION was when the library was built.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

thread_local! {
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// "<eddy_reader 42 bytes eof>", for debuggers: any handle, and whatever else it may be. Lent until the
/// thread's next call of it.
///
/// A handle that is no good gets a text that says so: "<stale eddy_reader 0xedd3...>", "<another thread's eddy_loop
/// 0xedd1...>", "<no eddy handle 0x1234>". In a debugger that has stopped within a call, "<eddy_reader 0xedd3... in use>".
/// An eddy_op is a number, not a handle.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_repr(handle: *const c_void) -> *const c_char {
    let number = handle as usize;
    let text = match name(number) {
        _ if number == 0 => "<NULL>".into(),
        None => format!("<no eddy handle {number:#x}>"),
        Some(name) => match describe(number) {
            Ok(text) => text,
            Err(Refusal::Thread) => format!("<another thread's {name} {number:#x}>"),
            Err(Refusal::Busy) => format!("<{name} {number:#x} in use>"),
            Err(_) => format!("<stale {name} {number:#x}>"),
        },
    };
    let keep = |kept: &RefCell<Vec<u8>>| {
        let mut kept = kept.borrow_mut();
        *kept = text.replace('\0', "?").into_bytes();
        kept.push(0);
        kept.as_ptr().cast()
    };
    // A thread that is ending keeps no text any more.
    TEXT.try_with(keep).unwrap_or(c"<eddy>".as_ptr())
}

/// What kind of handle a number is by its form. (Some kinds of number never leave the library.)
/// What is behind a handle, if it is alive.
fn describe(number: usize) -> Result<String, Refusal> {
    match Kind::of(number) {
        Some(Kind::Tls) => tls::repr(number).ok_or(Refusal::Stale),
        _ => door::within(number, |hub| hub.describe(number).ok_or(Refusal::Stale)),
    }
}

fn name(number: usize) -> Option<&'static str> {
    match Kind::of(number)? {
        Kind::Loop => Some("eddy_loop"),
        Kind::Server => Some("eddy_server"),
        Kind::Reader => Some("eddy_reader"),
        Kind::Writer => Some("eddy_writer"),
        Kind::Transport => Some("eddy_transport"),
        Kind::Protocol => Some("eddy_protocol"),
        Kind::Error => Some("eddy_error"),
        Kind::Tls => Some("eddy_tls"),
        Kind::Connection | Kind::Opening | Kind::Post | Kind::Listener | Kind::Deadline => None,
    }
}
