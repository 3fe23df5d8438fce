//! The types of the functions that the library calls.
//!
//! They may not let anything unwind or jump out: an exception that tries ends the process with a message, which is
//! what `extern "C-unwind"` called from an `extern "C"` export gives.

use std::ffi::{c_char, c_void};

use super::errors::eddy_error;
use super::types::{eddy_loop, eddy_reader, eddy_server, eddy_writer};

pub type eddy_fn = Option<unsafe extern "C-unwind" fn(arg: *mut c_void)>;

pub type eddy_loop_cb =
    Option<unsafe extern "C-unwind" fn(r#loop: *mut eddy_loop, error: *const eddy_error, arg: *mut c_void)>;

/// `len` 0 and no error: the end of the stream.
pub type eddy_read_cb = Option<
    unsafe extern "C-unwind" fn(
        reader: *mut eddy_reader,
        bytes: *const c_char,
        len: usize,
        error: *const eddy_error,
        arg: *mut c_void,
    ),
>;

pub type eddy_writer_cb =
    Option<unsafe extern "C-unwind" fn(writer: *mut eddy_writer, error: *const eddy_error, arg: *mut c_void)>;

pub type eddy_stream_cb = Option<
    unsafe extern "C-unwind" fn(
        reader: *mut eddy_reader,
        writer: *mut eddy_writer,
        error: *const eddy_error,
        arg: *mut c_void,
    ),
>;

pub type eddy_server_cb =
    Option<unsafe extern "C-unwind" fn(server: *mut eddy_server, error: *const eddy_error, arg: *mut c_void)>;

pub type eddy_exception_cb = Option<
    unsafe extern "C-unwind" fn(
        r#loop: *mut eddy_loop,
        message: *const c_char,
        error: *const eddy_error,
        arg: *mut c_void,
    ),
>;
