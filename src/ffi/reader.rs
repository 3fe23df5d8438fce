//! Readers.

use std::ffi::{c_char, c_int, c_void};

use super::callbacks::*;
use super::door::{self, bytes, callback, each, list, text};
use super::errors::eddy_error;
use super::opening::{limit, timeout};
use super::types::*;
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::stream::Want;
use crate::table::{Id, Kind};

/// What asks for everything up to the end.
pub(crate) const EDDY_UNTIL_EOF: usize = usize::MAX;

/// A reader without a connection, to be fed by hand. NULL when refused: limit 0, say.
///
/// asyncio: StreamReader(limit, loop).
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_new(r#loop: *mut eddy_loop, limit: usize) -> *mut eddy_reader {
    let made = door::ask("eddy_reader_new", r#loop, |hub, _| hub.reader_new(self::limit(limit)?).map(Some));
    made.map_or(0, |id| id.face(Kind::Reader)) as *mut eddy_reader
}

/// What comes for it from now on goes nowhere; its writer goes on.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_free(reader: *mut eddy_reader) {
    door::free("eddy_reader_free", reader, |hub, id| hub.reader_free(id));
}

/// Asks for bytes.
#[inline(always)]
fn read(
    function: &'static str,
    reader: *mut eddy_reader,
    want: Want,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    let callback =
        callback!(cb, arg).and_then(|cb| if is_possible(want) { Ok(cb) } else { Err(Refusal::Invalid) });
    if let Ok(callback) = callback
        && let Some(op) = door::quick(reader, |hub, id| hub.read_on(id, want, callback))
    {
        return op;
    }
    read_anyhow(function, reader, want, callback)
}

/// The long way.
#[inline(never)]
fn read_anyhow(
    function: &'static str,
    reader: *mut eddy_reader,
    want: Want,
    callback: Result<Callback, Refusal>,
) -> eddy_op {
    door::start(function, reader, |hub, id| hub.read(id, want, callback?))
}

/// Asks for no more than an object may be long.
fn is_possible(want: Want) -> bool {
    match want {
        Want::Some(n) | Want::Exactly(n) | Want::Peek(n) => n <= isize::MAX as usize,
        Want::All(max) => max <= isize::MAX as usize || max == EDDY_UNTIL_EOF,
        Want::Nothing | Want::Line | Want::Until => true,
    }
}

/// What is there, at least 1 byte and at most n; EDDY_UNTIL_EOF: everything, up to the end.
/// One read at a time: a second is refused with EDDY_EBUSY. At the end of the stream read and readline give
/// no bytes (len 0) and no error; readexactly and readuntil give EDDY_EINCOMPLETE.
///
/// Every read gives what came before an error first, then the error, again and again. Cancelled, it
/// loses nothing. asyncio: StreamReader.read().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_read(
    reader: *mut eddy_reader,
    n: usize,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    let want = if n == EDDY_UNTIL_EOF { Want::All(n) } else { Want::Some(n) };
    read("eddy_reader_read", reader, want, cb, arg)
}

/// With its newline; without one at the end of the stream. Longer than the limit: EDDY_ELIMIT, once,
/// and all of that line is skipped.
///
/// asyncio drops what it has of the line, and gives out the rest of it as if that were one.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_readline(
    reader: *mut eddy_reader,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    read("eddy_reader_readline", reader, Want::Line, cb, arg)
}

/// Exactly n, however far beyond the limit.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_readexactly(
    reader: *mut eddy_reader,
    n: usize,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    read("eddy_reader_readexactly", reader, Want::Exactly(n), cb, arg)
}

/// With the separator. Further off than the limit: EDDY_ELIMIT, and everything stays.
///
/// # Safety
/// `len` bytes lie at `separator`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_reader_readuntil(
    reader: *mut eddy_reader,
    separator: *const c_void,
    len: usize,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_reader_readuntil", reader, |hub, id| {
        // SAFETY: the caller's promise.
        let separator = unsafe { bytes(separator, len) }?;
        hub.read_until(id, [separator].into_iter(), callback!(cb, arg)?)
    })
}

/// The match that ends first.
///
/// # Safety
/// `count` of them lie at `separators`, each as long as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_reader_readuntil_any(
    reader: *mut eddy_reader,
    separators: *const eddy_bytes,
    count: usize,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_reader_readuntil_any", reader, |hub, id| {
        // SAFETY: the caller's promise.
        let separators = unsafe { list(separators, count) }?;
        hub.read_until(id, each(separators), callback!(cb, arg)?)
    })
}

/// To the end; EDDY_ELIMIT past max, and everything stays.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_readall(
    reader: *mut eddy_reader,
    max: usize,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    read("eddy_reader_readall", reader, Want::All(max), cb, arg)
}

/// n bytes, however far beyond the limit, which stay for the next read. EDDY_EINCOMPLETE as in readexactly,
/// and what there is stays too.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_peek(
    reader: *mut eddy_reader,
    n: usize,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    read("eddy_reader_peek", reader, Want::Peek(n), cb, arg)
}

/// As eddy_reader_read(), into memory of yours, without a copy where that can be. Leave it alone until cb has
/// run, or the read is cancelled.
///
/// The callback's bytes lie there, and no NUL follows them.
///
/// # Safety
/// `n` bytes can be written to at `buffer`, and are nobody else's, until the callback has run, or eddy_loop_cancel() has
/// said that it will run with EDDY_ECANCELED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_reader_read_into(
    reader: *mut eddy_reader,
    buffer: *mut c_void,
    n: usize,
    cb: eddy_read_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_reader_read_into", reader, |hub, id| {
        // SAFETY: the caller's promise.
        hub.read_into(id, unsafe { door::memory(buffer, n) }?, callback!(cb, arg)?)
    })
}

/// The stream has ended, and nothing is left of it.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_at_eof(reader: *mut eddy_reader) -> bool {
    door::ask("eddy_reader_at_eof", reader, |hub, id| hub.at_eof(id))
}

/// A look at what has come and is not asked for; lent until the next call.
///
/// # Safety
/// `bytes` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_reader_buffered(reader: *mut eddy_reader, bytes: *mut *const c_char) -> usize {
    let look = door::ask("eddy_reader_buffered", reader, |hub, id| {
        hub.buffered(id).map(|found| Some((found.as_ptr().cast::<c_char>(), found.len())))
    });
    let (start, len) = look.unwrap_or((std::ptr::null(), 0));
    if !bytes.is_null() {
        // SAFETY: the caller's promise.
        unsafe { bytes.write(start) };
    }
    len
}

/// Of each read from now on: EDDY_ETIMEDOUT, and nothing is lost. 0 or EDDY_NEVER: none, the default.
///
/// From when the read is asked for, or, in a callback of the same stream, from when that returns; whatever comes
/// meanwhile. What has come by then is in time, and what was not enough stays for the next read. A read that waits
/// already keeps its own. asyncio: wait_for() around it.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_set_timeout(reader: *mut eddy_reader, timeout_ms: u64) -> c_int {
    door::status("eddy_reader_set_timeout", reader, |hub, id| hub.set_read_timeout(id, timeout(timeout_ms)))
}

/// Feeding by hand, as a protocol does. EDDY_ESTATE after feed_eof.
///
/// # Safety
/// `len` bytes lie at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_reader_feed_data(
    reader: *mut eddy_reader,
    bytes: *const c_void,
    len: usize,
) -> c_int {
    door::status("eddy_reader_feed_data", reader, |hub, id| {
        // SAFETY: the caller's promise.
        hub.feed_data(id, unsafe { door::bytes(bytes, len) }?)
    })
}

/// What is buffered can still be read. Twice is as good as once.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_feed_eof(reader: *mut eddy_reader) -> c_int {
    door::status("eddy_reader_feed_eof", reader, |hub, id| hub.feed_eof(id))
}

/// Any code but 0; message may be NULL.
///
/// # Safety
/// `message` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_reader_set_exception(
    reader: *mut eddy_reader,
    code: c_int,
    message: *const c_char,
) -> c_int {
    door::status("eddy_reader_set_exception", reader, |hub, id| {
        // SAFETY: the caller's promise.
        let error = unsafe { user_error(code, message) }?.ok_or(Refusal::Invalid)?;
        hub.set_exception(id, error)
    })
}

/// # Safety
/// `message` is NULL or ends with a NUL.
pub(super) unsafe fn user_error(code: c_int, message: *const c_char) -> Result<Option<Error>, Refusal> {
    // SAFETY: the caller's promise.
    let message = match unsafe { text(message) }? {
        Some(message) => message.into(),
        // SAFETY: eddy_strerror's texts are constants.
        None => unsafe { text(super::errors::eddy_strerror(code)) }?.unwrap_or_default().into(),
    };
    Ok((code != 0).then_some(Error::User { code, message }))
}

/// What set_exception, or the connection, left; NULL: nothing. Lent until the next call.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_exception(reader: *mut eddy_reader) -> *const eddy_error {
    let shown = door::ask("eddy_reader_exception", reader, |hub, id| {
        let error = hub.exception(id)?;
        Ok(hub.show_error(error))
    });
    shown.map_or(0, Id::number) as *const eddy_error
}

/// Once: whose reading is paused when more than twice the limit is buffered. EDDY_ESTATE: it has one.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_reader_set_transport(
    reader: *mut eddy_reader,
    transport: *mut eddy_transport,
) -> c_int {
    door::status("eddy_reader_set_transport", reader, |hub, id| {
        let transport = door::also(hub, transport)?;
        hub.set_transport(id, transport)
    })
}
