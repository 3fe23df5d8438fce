//! For people and debuggers.

use std::cell::RefCell;
use std::ffi::{c_char, c_void};

use super::door;
use crate::error::Refusal;
use crate::table::Kind;

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
#[unsafe(no_mangle)]
pub extern "C" fn eddy_repr(handle: *const c_void) -> *const c_char {
    let number = handle as usize;
    let text = door::within(number, |hub| hub.describe(number).ok_or(Refusal::Stale));
    let text = text.unwrap_or_else(|refusal| match (refusal, Kind::of(number)) {
        (_, None) => format!("<no eddy handle {number:#x}>"),
        (Refusal::Thread, Some(kind)) => format!("<another thread's {kind:?} {number:#x}>"),
        (_, Some(kind)) => format!("<stale {kind:?} {number:#x}>"),
    });
    let keep = |kept: &RefCell<Vec<u8>>| {
        let mut kept = kept.borrow_mut();
        *kept = text.replace('\0', "?").into_bytes();
        kept.push(0);
        kept.as_ptr().cast()
    };
    // A thread that is ending keeps no text any more.
    TEXT.try_with(keep).unwrap_or(c"<eddy>".as_ptr())
}
