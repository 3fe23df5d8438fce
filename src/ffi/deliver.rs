//! Where callbacks go out: what the core says is to be called is called here, and nowhere else, with nothing borrowed.

use std::ffi::{c_char, c_void};
use std::mem::transmute;

use super::door;
use super::errors::eddy_error;
use super::types::*;
use crate::callback::Callback;
use crate::error::{Error, c_string};
use crate::hub::{Call, Connection, Read};
use crate::table::{Id, Kind};

type LoopFn = unsafe extern "C-unwind" fn(*mut eddy_loop, *const eddy_error, *mut c_void);
type ReadFn =
    unsafe extern "C-unwind" fn(*mut eddy_reader, *const c_char, usize, *const eddy_error, *mut c_void);
type WriterFn = unsafe extern "C-unwind" fn(*mut eddy_writer, *const eddy_error, *mut c_void);
type StreamFn =
    unsafe extern "C-unwind" fn(*mut eddy_reader, *mut eddy_writer, *const eddy_error, *mut c_void);
type ServerFn = unsafe extern "C-unwind" fn(*mut eddy_server, *const eddy_error, *mut c_void);
type ExceptionFn = unsafe extern "C-unwind" fn(*mut eddy_loop, *const c_char, *const eddy_error, *mut c_void);
type TransportWriteFn = unsafe extern "C-unwind" fn(*mut eddy_transport, *const c_char, usize, *mut c_void);
type TransportFn = unsafe extern "C-unwind" fn(*mut eddy_transport, *mut c_void);
type ReleaseFn = unsafe extern "C-unwind" fn(*mut c_void);

fn handle<H>(id: Option<Id<Connection>>, face: Kind) -> *mut H {
    id.map_or(0, |id| id.face(face)) as *mut H
}

/// Lends an error for as long as `f` runs.
fn with_error(loop_number: usize, error: Option<Box<Error>>, f: impl FnOnce(*const eddy_error)) {
    let Some(error) = error else { return f(std::ptr::null()) };
    let lent = door::within(loop_number, |hub| Ok(hub.lend_error(*error))).ok().flatten();
    f(lent.map_or(0, Id::number) as *const eddy_error);
    if let Some(lent) = lent {
        let _ = door::within(loop_number, |hub| {
            hub.take_back_error(lent);
            Ok(())
        });
    }
}

// SAFETY, for every transmute below: `function` is the address of the C function that came in through
// the door for exactly this kind of call, as the type named here, and never NULL; what is lent lies in
// a buffer that the hub leaves alone until it is next asked for a call. What the C function does is
// its author's to answer for.

/// A number made code again: by way of a pointer, as a number alone has nothing behind it.
fn code(callback: Callback) -> *const () {
    std::ptr::with_exposed_provenance(callback.function)
}

/// Calls a reader's owner.
#[inline]
pub(super) fn deliver_read(Read { callback, stream, bytes }: Read) {
    let reader = stream.face(Kind::Reader) as *mut eddy_reader;
    unsafe {
        let function: ReadFn = transmute(code(callback));
        function(reader, bytes.start.cast(), bytes.len, std::ptr::null(), argument(callback));
    }
}

/// Calls somebody who drained.
#[inline]
pub(super) fn deliver_drained(callback: Callback, stream: Id<Connection>) {
    unsafe {
        let function: WriterFn = transmute(code(callback));
        function(stream.face(Kind::Writer) as *mut eddy_writer, std::ptr::null(), argument(callback));
    }
}

/// Calls.
pub(super) fn deliver(loop_number: usize, call: Call) {
    let this_loop = loop_number as *mut eddy_loop;
    match call {
        Call::Read(read) => deliver_read(read),
        Call::ReadFailed { callback, stream, error } => {
            with_error(loop_number, Some(error), |error| unsafe {
                let function: ReadFn = transmute(code(callback));
                let reader = stream.face(Kind::Reader) as *mut eddy_reader;
                function(reader, std::ptr::null(), 0, error, argument(callback));
            })
        }
        Call::Writer { callback, stream, error } => with_error(loop_number, error, |error| unsafe {
            let function: WriterFn = transmute(code(callback));
            function(handle(Some(stream), Kind::Writer), error, argument(callback));
        }),
        Call::Stream { callback, stream, error } => with_error(loop_number, error, |error| unsafe {
            let function: StreamFn = transmute(code(callback));
            function(handle(stream, Kind::Reader), handle(stream, Kind::Writer), error, argument(callback));
        }),
        Call::WriterAlone { callback, stream } => unsafe {
            let function: StreamFn = transmute(code(callback));
            let writer = handle(Some(stream), Kind::Writer);
            function(std::ptr::null_mut(), writer, std::ptr::null(), argument(callback));
        },
        Call::Server { callback, server, error } => with_error(loop_number, error, |error| unsafe {
            let function: ServerFn = transmute(code(callback));
            function(server.map_or(0, Id::number) as *mut eddy_server, error, argument(callback));
        }),
        Call::Loop { callback, error } => with_error(loop_number, error, |error| unsafe {
            let function: LoopFn = transmute(code(callback));
            function(this_loop, error, argument(callback));
        }),
        Call::Exception { callback: None, report } => door::print_line(&report.message),
        Call::Exception { callback: Some(callback), report } => {
            let message = c_string(report.message);
            with_error(loop_number, report.error, |error| unsafe {
                let function: ExceptionFn = transmute(code(callback));
                function(this_loop, message.as_ptr(), error, argument(callback));
            })
        }
        Call::TransportWrite { callback, transport, bytes } => unsafe {
            let function: TransportWriteFn = transmute(code(callback));
            function(transport as *mut eddy_transport, bytes.start.cast(), bytes.len, argument(callback));
        },
        Call::Transport { callback, transport } => unsafe {
            let function: TransportFn = transmute(code(callback));
            function(transport as *mut eddy_transport, argument(callback));
        },
        Call::Release { callback } | Call::Signal { callback } => unsafe {
            let function: ReleaseFn = transmute(code(callback));
            function(argument(callback));
        },
    }
}

fn argument(callback: Callback) -> *mut c_void {
    callback.argument as *mut c_void
}
