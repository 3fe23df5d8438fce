//! A loop at the C door, and operations that count how often they are called back.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};

use eddy::ffi::errors::{eddy_error, eddy_error_code};
use eddy::ffi::event_loop::*;
use eddy::ffi::types::*;

pub const EINVAL: c_int = -1;
pub const ESTALE: c_int = -2;
pub const EBUSY: c_int = -4;
pub const ESTATE: c_int = -5;
pub const ENOTSUP: c_int = -6;
pub const EINCOMPLETE: c_int = -35;
pub const ELIMIT: c_int = -36;
pub const ECANCELED: c_int = -39;

/// What was started: called back exactly once when it was accepted, and never when it was refused.
#[derive(Debug, Default)]
pub struct Operation {
    pub op: Cell<eddy_op>,
    pub called: Cell<u32>,
    pub code: Cell<c_int>,
    pub reader: Cell<usize>,
    pub writer: Cell<usize>,
    /// What was read.
    pub bytes: RefCell<Vec<u8>>,
}

impl Operation {
    pub fn note(&self, error: *const eddy_error) {
        self.called.set(self.called.get() + 1);
        self.code.set(eddy_error_code(error));
        assert_eq!(error.is_null(), self.code.get() == 0);
    }

    pub fn is_pending(&self) -> bool {
        self.op.get() >= 0 && self.called.get() == 0
    }
}

/// # Safety
/// `arg` is an operation that is kept until its loop is gone.
unsafe fn operation<'a>(arg: *mut c_void) -> &'a Operation {
    // SAFETY: the caller's promise.
    unsafe { &*arg.cast::<Operation>() }
}

pub unsafe extern "C-unwind" fn opened(
    reader: *mut eddy_reader,
    writer: *mut eddy_writer,
    error: *const eddy_error,
    arg: *mut c_void,
) {
    // SAFETY: given with the call.
    let operation = unsafe { operation(arg) };
    operation.note(error);
    operation.reader.set(reader as usize);
    operation.writer.set(writer as usize);
}

pub unsafe extern "C-unwind" fn served(server: *mut eddy_server, error: *const eddy_error, arg: *mut c_void) {
    // SAFETY: given with the call.
    let operation = unsafe { operation(arg) };
    operation.note(error);
    operation.writer.set(server as usize);
}

pub unsafe extern "C-unwind" fn written(_: *mut eddy_writer, error: *const eddy_error, arg: *mut c_void) {
    // SAFETY: given with the call.
    unsafe { operation(arg) }.note(error);
}

pub unsafe extern "C-unwind" fn read(
    _: *mut eddy_reader,
    bytes: *const c_char,
    len: usize,
    error: *const eddy_error,
    arg: *mut c_void,
) {
    // SAFETY: given with the call.
    let operation = unsafe { operation(arg) };
    operation.note(error);
    if len > 0 {
        // SAFETY: lent.
        operation
            .bytes
            .borrow_mut()
            .extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast(), len) });
    }
}

/// A server's client: of no interest.
pub unsafe extern "C-unwind" fn came(
    _: *mut eddy_reader,
    _: *mut eddy_writer,
    _: *const eddy_error,
    _: *mut c_void,
) {
}

unsafe extern "C-unwind" fn quiet(
    _: *mut eddy_loop,
    message: *const c_char,
    _: *const eddy_error,
    _: *mut c_void,
) {
    // SAFETY: lent, and ends with a NUL.
    let message = unsafe { std::ffi::CStr::from_ptr(message) }.to_string_lossy();
    assert!(!message.contains("a bug in eddy"), "{message}");
}

/// A loop for one input.
pub struct Loop {
    pub handle: *mut eddy_loop,
    // Each lies where it lies until the loop is gone.
    #[allow(clippy::vec_box)]
    operations: Vec<Box<Operation>>,
}

impl Loop {
    pub fn new() -> Loop {
        let handle = eddy_loop_new();
        assert!(!handle.is_null());
        assert_eq!(eddy_loop_set_exception_handler(handle, Some(quiet), std::ptr::null_mut()), 0);
        Loop { handle, operations: Vec::new() }
    }

    /// Starts an operation with its argument.
    pub fn start(&mut self, start: impl FnOnce(*mut c_void) -> eddy_op) -> &Operation {
        let operation: Box<Operation> = Box::default();
        let argument = (&raw const *operation).cast_mut().cast();
        let op = start(argument);
        assert_eq!(operation.called.get(), 0, "called back from within the call");
        operation.op.set(op);
        self.operations.push(operation);
        self.operations.last().unwrap()
    }

    pub fn started(&self, op: eddy_op) -> &Operation {
        self.operations.iter().find(|operation| operation.op.get() == op).unwrap()
    }

    /// All that was read, in its order.
    pub fn has_read(&self) -> Vec<u8> {
        self.operations.iter().flat_map(|operation| operation.bytes.borrow().clone()).collect()
    }

    /// True: there is more to wait for.
    pub fn turn(&self) -> bool {
        let more = eddy_loop_run_once(self.handle, 0);
        assert!(more == 0 || more == 1, "eddy_loop_run_once: {more}");
        more == 1
    }

    pub fn cancel(&self, op: eddy_op) {
        assert_eq!(eddy_loop_cancel(self.handle, op), 0);
    }

    /// Everybody has been told.
    pub fn free(self) {
        eddy_loop_free(self.handle);
        for operation in &self.operations {
            assert_eq!(operation.called.get(), u32::from(operation.op.get() >= 0), "{operation:?}");
        }
    }
}

impl Default for Loop {
    fn default() -> Loop {
        Loop::new()
    }
}
