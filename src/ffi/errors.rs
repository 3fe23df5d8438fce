//! Codes, their words, and what an error tells.

use std::ffi::{c_char, c_int};

use super::door;
use crate::error::{Error, LentError, Refusal};
use crate::table::{self, Id, Kind};
use crate::tls;

/// What went wrong. Lent, const, and a ticket too: after its callback it reads as EDDY_ESTALE, never as
/// memory.
pub struct eddy_error {
    _opaque: [u8; 0],
}

/// From -1: the caller's mistakes, returned at once. From -32: the world's troubles, told to callbacks.
/// Positive codes are yours, for eddy_reader_set_exception() and eddy_protocol_connection_lost().
#[repr(C)]
pub enum eddy_code {
    EDDY_OK = 0,
    /// An argument makes no sense.
    EDDY_EINVAL = -1,
    /// The handle is NULL, freed, of another kind, or of another loop than the one it is used with.
    EDDY_ESTALE = -2,
    /// The handle's loop belongs to another thread.
    EDDY_ETHREAD = -3,
    /// Somebody is already waiting for this.
    EDDY_EBUSY = -4,
    /// Too early or too late for this.
    EDDY_ESTATE = -5,
    /// This transport or this platform cannot.
    EDDY_ENOTSUP = -6,
    /// Beyond options.max_write_buffer, or there is no memory for it; nothing was taken.
    EDDY_EFULL = -7,
    /// A bug in eddy; please report it.
    EDDY_EPANIC = -8,
    /// The system refused: see eddy_error_errno().
    EDDY_ESYSTEM = -32,
    /// No such host.
    EDDY_ERESOLVE = -33,
    /// An open connection is gone: see eddy_error_errno(); 0: this side closed or aborted it.
    EDDY_ELOST = -34,
    /// End of stream too early: see eddy_error_expected(), eddy_error_partial().
    EDDY_EINCOMPLETE = -35,
    /// The line is longer than the reader's limit: see eddy_error_consumed().
    EDDY_ELIMIT = -36,
    /// TLS: a certificate, a handshake, or an end without goodbye; eddy_error_message() says which.
    EDDY_ETLS = -37,
    /// The time that was given for it was over.
    EDDY_ETIMEDOUT = -38,
    /// eddy_loop_cancel() was asked for it, or what it was about was freed.
    EDDY_ECANCELED = -39,
}

pub(crate) fn code(refusal: Refusal) -> c_int {
    use eddy_code::*;
    let code = match refusal {
        Refusal::Invalid => EDDY_EINVAL,
        Refusal::Stale => EDDY_ESTALE,
        Refusal::Thread => EDDY_ETHREAD,
        Refusal::Busy => EDDY_EBUSY,
        Refusal::State => EDDY_ESTATE,
        Refusal::Unsupported => EDDY_ENOTSUP,
        Refusal::Full => EDDY_EFULL,
        Refusal::Panic => EDDY_EPANIC,
        Refusal::System => EDDY_ESYSTEM,
        // With a reason, for calls that return no code.
        _ => EDDY_EINVAL,
    };
    code as c_int
}

fn code_of(error: &Error) -> c_int {
    use eddy_code::*;
    let code = match error {
        Error::System { .. } | Error::Several { .. } => EDDY_ESYSTEM,
        Error::Resolve { .. } => EDDY_ERESOLVE,
        Error::Lost { .. } => EDDY_ELOST,
        Error::Incomplete { .. } => EDDY_EINCOMPLETE,
        Error::Limit { .. } => EDDY_ELIMIT,
        Error::Tls { .. } => EDDY_ETLS,
        Error::TimedOut { .. } => EDDY_ETIMEDOUT,
        Error::Canceled => EDDY_ECANCELED,
        Error::User { code, .. } => return *code,
    };
    code as c_int
}

/// What a code means, in a few words: a text that stays for ever. From any thread.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_strerror(code: c_int) -> *const c_char {
    let text = match code {
        0 => c"success",
        -1 => c"an argument makes no sense",
        -2 => c"the handle is NULL, freed, or of another kind",
        -3 => c"the handle's loop belongs to another thread",
        -4 => c"somebody is already waiting for this",
        -5 => c"too early or too late for this",
        -6 => c"this transport or this platform cannot",
        -7 => c"there is no room for it",
        -8 => c"a bug in eddy",
        -32 => c"the system refused",
        -33 => c"no such host",
        -34 => c"the connection is lost",
        -35 => c"the stream ended too early",
        -36 => c"the line is longer than the limit",
        -37 => c"TLS failed",
        -38 => c"timed out",
        -39 => c"canceled",
        1.. => c"the user's own error",
        _ => c"unknown error",
    };
    text.as_ptr()
}

/// Looks at an error that a callback was given: `none` for NULL, `stale` for one that is no longer
/// lent.
fn look<R>(
    error: *const eddy_error,
    none: R,
    stale: impl FnOnce(Refusal) -> R,
    f: impl FnOnce(&LentError) -> R,
) -> R {
    let number = error as usize;
    if number == 0 {
        return none;
    }
    if table::loop_of(number) == 0 && Kind::of(number) == Some(Kind::Error) {
        // One of no loop: of TLS settings.
        return match tls::describe(number, f) {
            Some(answer) => answer,
            None => stale(Refusal::Stale),
        };
    }
    door::within(number, |hub| hub.error(Id::from_number(number)).map(f).ok_or(Refusal::Stale))
        .unwrap_or_else(stale)
}

/// EDDY_OK for NULL; EDDY_ESTALE for an error that was kept beyond its callback.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_error_code(error: *const eddy_error) -> c_int {
    look(error, 0, code, |lent| code_of(&lent.error))
}

/// The system's reason; 0: none.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_error_errno(error: *const eddy_error) -> c_int {
    look(error, 0, |_| 0, |lent| lent.error.errno())
}

/// In words, and with what it was about; empty for NULL. Lent as the error is.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_error_message(error: *const eddy_error) -> *const c_char {
    look(error, c"".as_ptr(), |refusal| eddy_strerror(code(refusal)), |lent| lent.message.as_ptr())
}

/// How many bytes were asked for, when EDDY_EINCOMPLETE; 0 when nobody knows.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_error_expected(error: *const eddy_error) -> usize {
    look(error, 0, |_| 0, |lent| lent.expected)
}

/// What had come before the end, when EDDY_EINCOMPLETE; NULL otherwise. Lent as the error is.
///
/// # Safety
/// `len` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_error_partial(error: *const eddy_error, len: *mut usize) -> *const c_char {
    let partial = |lent: &LentError| {
        lent.partial().map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()))
    };
    let (start, count) = look(error, (std::ptr::null(), 0), |_| (std::ptr::null(), 0), partial);
    if !len.is_null() {
        // SAFETY: the caller's promise.
        unsafe { len.write(count) };
    }
    start.cast()
}

/// How far the search for the end of the line got, when EDDY_ELIMIT.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_error_consumed(error: *const eddy_error) -> usize {
    look(error, 0, |_| 0, |lent| lent.consumed)
}
