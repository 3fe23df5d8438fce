//! What the header's first part declares: handles, receipts, bytes.

use std::ffi::c_void;

pub struct eddy_loop {
    _opaque: [u8; 0],
}

pub struct eddy_reader {
    _opaque: [u8; 0],
}

pub struct eddy_writer {
    _opaque: [u8; 0],
}

pub struct eddy_server {
    _opaque: [u8; 0],
}

pub struct eddy_protocol {
    _opaque: [u8; 0],
}

pub struct eddy_transport {
    _opaque: [u8; 0],
}

pub struct eddy_tls {
    _opaque: [u8; 0],
}

/// A receipt for something started, to cancel it by; or, negative, the reason why it was refused.
pub type eddy_op = i64;

/// Bytes that lie somewhere else.
#[repr(C)]
pub struct eddy_bytes {
    pub data: *const c_void,
    pub len: usize,
}
