//! Transports of the user's own, and the protocol that feeds a reader from them.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;

use super::callbacks::*;
use super::door::{self, bytes, callback, sized, text};
use super::reader::user_error;
use super::types::*;
use crate::callback::TransportOps;
use crate::error::Refusal;
use crate::hub::face;
use crate::table::Kind;

/// Your functions, called from run and never from within a call of yours. What they do is up to them;
/// what they find out they tell the protocol.
#[repr(C)]
pub struct eddy_transport_ops {
    /// sizeof(eddy_transport_ops).
    pub size: usize,
    /// The bytes are lent until it returns, and no NUL follows them.
    pub write: Option<
        unsafe extern "C-unwind" fn(
            transport: *mut eddy_transport,
            bytes: *const c_char,
            len: usize,
            arg: *mut c_void,
        ),
    >,
    /// NULL: it cannot.
    pub write_eof: Option<unsafe extern "C-unwind" fn(transport: *mut eddy_transport, arg: *mut c_void)>,
    /// All that was written has been handed over. When it is done: eddy_protocol_connection_lost().
    pub close: Option<unsafe extern "C-unwind" fn(transport: *mut eddy_transport, arg: *mut c_void)>,
    pub abort: Option<unsafe extern "C-unwind" fn(transport: *mut eddy_transport, arg: *mut c_void)>,
    /// NULL: it cannot.
    pub pause_reading: Option<unsafe extern "C-unwind" fn(transport: *mut eddy_transport, arg: *mut c_void)>,
    pub resume_reading: Option<unsafe extern "C-unwind" fn(transport: *mut eddy_transport, arg: *mut c_void)>,
    /// The last call, after connection_lost: free arg here.
    pub release: Option<unsafe extern "C-unwind" fn(arg: *mut c_void)>,
}

const _: () = assert!(
    offset_of!(eddy_transport_ops, release) + size_of::<usize>() == size_of::<eddy_transport_ops>(),
    "a field added to what ends in padding would be ignored unseen"
);

/// # Safety
/// NULL, or a struct of as many bytes as its first field says.
unsafe fn ops(given: *const eddy_transport_ops) -> Result<TransportOps, Refusal> {
    if given.is_null() {
        return Err(Refusal::NoOps);
    }
    // SAFETY: the caller's promise; a function that is not there is NULL.
    let given = unsafe { sized(given) }.map_err(|_| Refusal::OpsSize)?;
    let (Some(write), Some(close), Some(abort), Some(release)) =
        (given.write, given.close, given.abort, given.release)
    else {
        return Err(Refusal::OpsMissing);
    };
    if given.pause_reading.is_some() != given.resume_reading.is_some() {
        return Err(Refusal::OpsHalf);
    }
    Ok(TransportOps {
        write: write as usize,
        write_eof: given.write_eof.map(|f| f as usize),
        close: close as usize,
        abort: abort as usize,
        pause_reading: given.pause_reading.map(|f| f as usize),
        resume_reading: given.resume_reading.map(|f| f as usize),
        release: release as usize,
    })
}

/// write, close, abort and release must be there. NULL when refused; then release is not called.
///
/// # Safety
/// `ops` is NULL or such a struct.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_transport_new(
    r#loop: *mut eddy_loop,
    ops: *const eddy_transport_ops,
    arg: *mut c_void,
) -> *mut eddy_transport {
    let made = door::ask("eddy_transport_new", r#loop, |hub, _| {
        // SAFETY: the caller's promise.
        hub.transport_new(unsafe { self::ops(ops) }?, arg as usize).map(Some)
    });
    made.map_or(0, |id| id.face(Kind::Transport)) as *mut eddy_transport
}

/// For eddy_writer_get_extra_info(). Each value is kept until the connection is gone.
///
/// # Safety
/// `name` ends with a NUL; `len` bytes lie at `value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_transport_set_extra_info(
    transport: *mut eddy_transport,
    name: *const c_char,
    value: *const c_void,
    len: usize,
) -> c_int {
    door::status("eddy_transport_set_extra_info", transport, |hub, id| {
        // SAFETY: the caller's promise.
        let (name, value) = unsafe { (text(name)?.ok_or(Refusal::Invalid)?, bytes(value, len)?) };
        hub.set_extra_info(id, face::TRANSPORT, name, value)
    })
}

/// For your own reasons, beside the reader's; EDDY_ENOTSUP: it cannot.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_transport_pause_reading(transport: *mut eddy_transport) -> c_int {
    door::status("eddy_transport_pause_reading", transport, |hub, id| hub.pause_reading(id, true))
}

/// Reading goes on, unless the reader has paused it too.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_transport_resume_reading(transport: *mut eddy_transport) -> c_int {
    door::status("eddy_transport_resume_reading", transport, |hub, id| hub.pause_reading(id, false))
}

/// Not paused, not closing, and not at the end.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_transport_is_reading(transport: *mut eddy_transport) -> bool {
    door::ask("eddy_transport_is_reading", transport, |hub, id| hub.is_reading(id))
}

/// As eddy_writer_close().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_transport_close(transport: *mut eddy_transport) -> c_int {
    door::status("eddy_transport_close", transport, |hub, id| hub.transport_close(id))
}

/// As eddy_writer_abort().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_transport_abort(transport: *mut eddy_transport) -> c_int {
    door::status("eddy_transport_abort", transport, |hub, id| hub.transport_abort(id))
}

/// As eddy_writer_is_closing().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_transport_is_closing(transport: *mut eddy_transport) -> bool {
    door::ask("eddy_transport_is_closing", transport, |hub, id| hub.is_closing(id, face::TRANSPORT))
}

/// Feeds the reader, which has no other, now or later. client_cb, which may be NULL, gets the reader and a
/// new writer once a connection is made.
///
/// asyncio: StreamReaderProtocol(stream_reader, client_connected_cb, loop).
#[unsafe(no_mangle)]
pub extern "C" fn eddy_protocol_new(
    r#loop: *mut eddy_loop,
    reader: *mut eddy_reader,
    client_cb: eddy_stream_cb,
    arg: *mut c_void,
) -> *mut eddy_protocol {
    let made = door::ask("eddy_protocol_new", r#loop, |hub, _| {
        let reader = door::also(hub, reader)?;
        hub.protocol_new(reader, callback!(client_cb, arg).unwrap_or_default())?;
        Ok(reader.face(Kind::Protocol))
    });
    made as *mut eddy_protocol
}

/// Once: from now on the transport is this stream's.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_protocol_connection_made(
    protocol: *mut eddy_protocol,
    transport: *mut eddy_transport,
) -> c_int {
    door::status("eddy_protocol_connection_made", protocol, |hub, id| {
        let transport = door::also(hub, transport)?;
        hub.connection_made(id, transport)
    })
}

/// To the reader, as a copy. EDDY_ESTATE after connection_lost, or after the end.
///
/// # Safety
/// `len` bytes lie at `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_protocol_data_received(
    protocol: *mut eddy_protocol,
    bytes: *const c_void,
    len: usize,
) -> c_int {
    door::status("eddy_protocol_data_received", protocol, |hub, id| {
        // SAFETY: the caller's promise.
        hub.data_received(id, unsafe { self::bytes(bytes, len) }?)
    })
}

/// True: keep the transport open for writing.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_protocol_eof_received(protocol: *mut eddy_protocol) -> bool {
    door::ask("eddy_protocol_eof_received", protocol, |hub, id| hub.eof_received(id).map(|()| true))
}

/// Your transport cannot take more for now: drains wait until it can.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_protocol_pause_writing(protocol: *mut eddy_protocol) -> c_int {
    door::status("eddy_protocol_pause_writing", protocol, |hub, id| hub.pause_writing(id, true))
}

/// It can take more again.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_protocol_resume_writing(protocol: *mut eddy_protocol) -> c_int {
    door::status("eddy_protocol_resume_writing", protocol, |hub, id| hub.pause_writing(id, false))
}

/// Once, and last. Code 0: closed in peace.
///
/// # Safety
/// `message` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_protocol_connection_lost(
    protocol: *mut eddy_protocol,
    code: c_int,
    message: *const c_char,
) -> c_int {
    door::status("eddy_protocol_connection_lost", protocol, |hub, id| {
        // SAFETY: the caller's promise.
        hub.connection_lost(id, unsafe { user_error(code, message) }?)
    })
}

/// If its connection is not lost yet, it is now, in peace.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_protocol_free(protocol: *mut eddy_protocol) {
    door::free("eddy_protocol_free", protocol, |hub, id| hub.protocol_free(id));
}
