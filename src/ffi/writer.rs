//! Writers.

use std::ffi::{c_char, c_int, c_void};

use super::callbacks::*;
use super::door::{self, bytes, callback, each, list, text};
use super::opening::{eddy_options, timeout, to_start_tls};
use super::reader::EDDY_UNTIL_EOF;
use super::types::*;
use crate::callback::Callback;
use crate::error::Refusal;
use crate::hub::face;
use crate::stream::Marks;
use crate::table::Kind;

/// On a transport of your own making; protocol and reader may be NULL. NULL: refused; a transport has one
/// writer.
///
/// asyncio: StreamWriter(transport, protocol, reader, loop).
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_new(
    transport: *mut eddy_transport,
    protocol: *mut eddy_protocol,
    reader: *mut eddy_reader,
) -> *mut eddy_writer {
    let made = door::ask("eddy_writer_new", transport, |hub, id| {
        let protocol = if protocol.is_null() { None } else { Some(door::also(hub, protocol)?) };
        let reader = if reader.is_null() { None } else { Some(door::also(hub, reader)?) };
        hub.writer_new(id, protocol, reader).map(Some)
    });
    made.map_or(0, |id| id.face(Kind::Writer)) as *mut eddy_writer
}

/// Closes the connection, after what is gathered has gone out, and frees its reader.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_free(writer: *mut eddy_writer) {
    door::free("eddy_writer_free", writer, |hub, id| hub.writer_free(id));
}

/// Writing never waits and never fails for the network's sake: drain, or the next read,
/// tells. 1, not 0: what is gathered stands above the high-water mark; taken all the same, but time to
/// drain. EDDY_ESTATE after close and after write_eof.
///
/// What is written is gathered and sent once, before the loop waits again, or when 64 KiB have come
/// together. asyncio: StreamWriter.write().
///
/// # Safety
/// `len` bytes lie at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_writer_write(
    writer: *mut eddy_writer,
    bytes: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let bytes = unsafe { self::bytes(bytes, len) };
    if let Ok(bytes) = bytes
        && door::quick(writer, |hub, id| hub.write_more(id, bytes)).is_some()
    {
        return 0;
    }
    write(writer, bytes)
}

/// The long way.
#[inline(never)]
fn write(writer: *mut eddy_writer, bytes: Result<&[u8], Refusal>) -> c_int {
    door::start("eddy_writer_write", writer, |hub, id| hub.write(id, bytes?).map(i64::from)) as c_int
}

/// All of them as one write; refused, none.
///
/// # Safety
/// `count` of them lie at `lines`, each as long as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_writer_writelines(
    writer: *mut eddy_writer,
    lines: *const eddy_bytes,
    count: usize,
) -> c_int {
    let full = door::start("eddy_writer_writelines", writer, |hub, id| {
        // SAFETY: the caller's promise.
        hub.writelines(id, each(unsafe { list(lines, count) }?)).map(i64::from)
    });
    full as c_int
}

/// As eddy_writer_write(), without a copy: leave the bytes as they are until released has run, once, when
/// they have been sent or never will be. Refused, it never runs.
///
/// What is short, and what a transport of your own is to write, is copied all the same, and released in the next round.
///
/// # Safety
/// `len` bytes lie at `bytes`, unchanged, until `released` has run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_writer_write_static(
    writer: *mut eddy_writer,
    bytes: *const c_void,
    len: usize,
    released: eddy_fn,
    arg: *mut c_void,
) -> c_int {
    let full = door::start("eddy_writer_write_static", writer, |hub, id| {
        // SAFETY: the caller's promise.
        let memory = unsafe { door::memory(bytes, len) }?;
        hub.write_static(id, memory, callback!(released, arg)?).map(i64::from)
    });
    full as c_int
}

/// Sends what is gathered now, as far as the socket takes it: in a long callback, say.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_flush(writer: *mut eddy_writer) -> c_int {
    door::status("eddy_writer_flush", writer, |hub, id| hub.writer_flush(id))
}

/// Above the high-water mark, until the low one is reached; else at once, that is next. Any number may
/// wait. EDDY_ELOST when the connection is gone, or goes; or the reader's error.
///
/// Not a promise that anything has arrived. asyncio: StreamWriter.drain().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_drain(
    writer: *mut eddy_writer,
    cb: eddy_writer_cb,
    arg: *mut c_void,
) -> eddy_op {
    let callback = callback!(cb, arg);
    if let Ok(callback) = callback
        && let Some(op) = door::quick(writer, |hub, id| hub.drain_on(id, callback))
    {
        return op;
    }
    drain(writer, callback)
}

/// The long way.
#[inline(never)]
fn drain(writer: *mut eddy_writer, callback: Result<Callback, Refusal>) -> eddy_op {
    door::start("eddy_writer_drain", writer, |hub, id| hub.drain(id, callback?))
}

/// Ends this side of the stream once what is gathered has gone out; reading goes on.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_write_eof(writer: *mut eddy_writer) -> c_int {
    door::status("eddy_writer_write_eof", writer, |hub, id| hub.write_eof(id))
}

/// Every transport of ours to which one can write; one of your own, if it has a write_eof.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_can_write_eof(writer: *mut eddy_writer) -> bool {
    door::ask("eddy_writer_can_write_eof", writer, |hub, id| hub.can_write_eof(id))
}

/// After what is gathered has gone out. Reading stops at once; what has come can still be read.
///
/// The socket itself is kept until the peer closes too, 2 seconds as a rule and 30 at the most, so that
/// what the peer sent and nobody read does not turn our last bytes into a reset. eddy_loop_run() waits
/// for that; wait_closed does not.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_close(writer: *mut eddy_writer) -> c_int {
    door::status("eddy_writer_close", writer, |hub, id| hub.writer_close(id))
}

/// Now: what is gathered is lost, and the peer gets a reset.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_abort(writer: *mut eddy_writer) -> c_int {
    door::status("eddy_writer_abort", writer, |hub, id| hub.writer_abort(id))
}

/// Closed or aborted by this side, or lost.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_is_closing(writer: *mut eddy_writer) -> bool {
    door::ask("eddy_writer_is_closing", writer, |hub, id| hub.is_closing(id, face::WRITER))
}

/// Of each drain from now on, and of what close has left to send: EDDY_ETIMEDOUT. 0 or EDDY_NEVER: none,
/// the default.
///
/// A drain that is late leaves everything as it is. A close that is late ends as by eddy_writer_abort(): what was not
/// sent yet is lost, and the peer gets a reset; but eddy_writer_wait_closed() gets EDDY_ETIMEDOUT. Without one, close
/// waits as long as the peer keeps it waiting, as in asyncio.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_set_timeout(writer: *mut eddy_writer, timeout_ms: u64) -> c_int {
    door::status("eddy_writer_set_timeout", writer, |hub, id| hub.set_write_timeout(id, timeout(timeout_ms)))
}

/// Defaults 65536 and 16384. SIZE_MAX for one of them: what the other says, 4 times or a quarter.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_set_write_buffer_limits(
    writer: *mut eddy_writer,
    high: usize,
    low: usize,
) -> c_int {
    let given = |mark: usize| (mark != EDDY_UNTIL_EOF).then_some(mark);
    door::status("eddy_writer_set_write_buffer_limits", writer, |hub, id| {
        hub.set_marks(id, Marks::new(given(high), given(low))?)
    })
}

/// Bytes written and not sent yet.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_get_write_buffer_size(writer: *mut eddy_writer) -> usize {
    door::ask("eddy_writer_get_write_buffer_size", writer, |hub, id| hub.write_buffer_size(id))
}

/// Until the connection is closed or lost: EDDY_ELOST when the network took it. Any number may wait,
/// also afterwards.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_wait_closed(
    writer: *mut eddy_writer,
    cb: eddy_writer_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_writer_wait_closed", writer, |hub, id| hub.wait_closed(id, callback!(cb, arg)?))
}

/// Encrypts what follows, both ways: a client's handshake or a server's, as the settings in options.tls
/// are. cb, when it is done; reader and writer stay the same. EDDY_ESTATE: something has come in clear that
/// nobody has read (see tls_takes_buffered), or the stream is closing, or has ended on one side. A handshake
/// that fails (EDDY_ETLS, EDDY_ETIMEDOUT), or is cancelled, loses the connection.
///
/// What was written before goes out first, in clear; what is written from now on waits for the handshake. A client needs
/// options.server_hostname. What the peer sent before, and nobody has read, was not encrypted and must not be taken for
/// what was (CVE-2011-0411): nothing has happened then, unless options.tls_takes_buffered says that it is the beginning
/// of the peer's handshake. EDDY_ESTATE also when the stream speaks TLS already; EDDY_EINVAL without settings;
/// EDDY_ENOTSUP on pipes, pairs, and a transport of your own. The time is options.timeout_ms, or 60 s; a peer that goes
/// away in it is EDDY_ELOST. asyncio: StreamWriter.start_tls().
///
/// # Safety
/// As for eddy_open_connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_writer_start_tls(
    writer: *mut eddy_writer,
    options: *const eddy_options,
    cb: eddy_writer_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_writer_start_tls", writer, |hub, id| {
        // A stale handle is a worse mistake than wrong options.
        hub.is_closing(id, face::WRITER)?;
        let callback = callback!(cb, arg)?;
        // SAFETY: the caller's promise.
        let secure = unsafe { to_start_tls(options) }?;
        hub.start_tls(id, &secure, callback)
    })
}

/// "peername", "sockname", "socket" (the descriptor, in digits), "pipe" (both, as in "3,-1"), or what
/// eddy_transport_set_extra_info() gave; NULL if there is none. Lent until the connection is gone. With TLS:
/// "cipher", "version" ("TLSv1.3"), "alpn", "server_hostname", "peercert" (DER), "peercert_chain" (DER, one
/// after the other), "session_reused" ("1" or "0").
///
/// "server_hostname" is the name that was verified, or, on a server, that the client asked for (SNI).
///
/// # Safety
/// `name` ends with a NUL; `len` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_writer_get_extra_info(
    writer: *mut eddy_writer,
    name: *const c_char,
    len: *mut usize,
) -> *const c_char {
    let found = door::ask("eddy_writer_get_extra_info", writer, |hub, id| {
        // SAFETY: the caller's promise.
        let name = unsafe { text(name) }?.ok_or(Refusal::Invalid)?;
        hub.extra_info(id, face::WRITER, name)
    });
    let (start, count) = found.map_or((std::ptr::null(), 0), |found| (found.start.cast(), found.len));
    if !len.is_null() {
        // SAFETY: the caller's promise.
        unsafe { len.write(count) };
    }
    start
}

/// The connection's transport, always the same handle; it dies with the connection.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_writer_transport(writer: *mut eddy_writer) -> *mut eddy_transport {
    door::ask("eddy_writer_transport", writer, |hub, id| hub.transport_of(id)) as *mut eddy_transport
}
