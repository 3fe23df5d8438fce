//! What can go wrong, with the words for it.

use std::ffi::CString;
use std::io;

/// The caller's mistakes: told by the call itself, and nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an argument makes no sense")]
    Invalid,
    #[error("limit is 0")]
    LimitIsZero,
    #[error("limit is too large")]
    LimitTooLarge,
    #[error("the protocol feeds another reader")]
    OtherReader,
    #[error("ops is NULL")]
    NoOps,
    #[error("ops.size is wrong")]
    OpsSize,
    #[error("ops: write, close, abort and release must be there")]
    OpsMissing,
    #[error("ops: pause_reading and resume_reading go together")]
    OpsHalf,
    #[error("the handle is NULL, freed, or of another kind")]
    Stale,
    #[error("the handle's loop belongs to another thread")]
    Thread,
    #[error("somebody is already waiting for this")]
    Busy,
    #[error("too early or too late for this")]
    State,
    #[error("this transport or this platform cannot")]
    Unsupported,
    #[error("there is no room for it")]
    Full,
    #[error("a bug in eddy")]
    Panic,
    /// Of a loop that cannot even wait.
    #[error("the system refused")]
    System,
}

/// The world's troubles: told to a callback.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The system refused: `what` says what was tried, on what address.
    #[error("{what}: {}", describe(*.errno))]
    System { what: String, errno: i32 },
    /// Attempts that failed differently; the errno is the first one's. The words are asyncio's.
    #[error("Multiple exceptions: {}", .texts.join(", "))]
    Several { texts: Vec<String>, errno: i32 },
    #[error("{host}: {reason}")]
    Resolve { host: String, reason: String },
    /// An open connection is gone. 0: this side closed or aborted it.
    #[error("connection lost: {}", if *.errno == 0 { "closed by this side".into() } else { describe(*.errno) })]
    Lost { errno: i32 },
    /// The words are asyncio's, so that whoever greps for them finds them.
    #[error("{} bytes read on a total of {} expected bytes", .partial.len(),
            .expected.map_or("undefined".into(), |n| n.to_string()))]
    Incomplete { partial: Vec<u8>, expected: Option<usize> },
    #[error("{}", if *.found { "separator is found, but beyond the limit" }
                  else { "separator is not found, and the limit is exceeded" })]
    Limit { consumed: usize, found: bool },
    /// Settings, a handshake, or what came afterwards: the words say which.
    #[error("{what}")]
    Tls { what: String },
    #[error("{what}")]
    TimedOut { what: String },
    #[error("canceled")]
    Canceled,
    /// What the user set with a code of its own.
    #[error("{message}")]
    User { code: i32, message: String },
}

impl Error {
    pub fn system(what: impl Into<String>, error: &io::Error) -> Error {
        Error::System { what: what.into(), errno: errno(error) }
    }

    pub fn lost(error: &io::Error) -> Error {
        Error::Lost { errno: errno(error) }
    }

    /// asyncio's rule for the failures of several attempts: one is itself, equal ones are the first, and different ones are
    /// told together.
    pub fn gathered(mut errors: Vec<Error>) -> Error {
        let Some(first) = errors.first() else {
            return Error::system("no address", &io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        };
        let errno = first.errno();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        if texts.iter().all(|text| *text == texts[0]) {
            errors.swap_remove(0)
        } else {
            Error::Several { texts, errno }
        }
    }

    /// The system's reason; 0: none.
    pub fn errno(&self) -> i32 {
        match self {
            Error::System { errno, .. } | Error::Several { errno, .. } | Error::Lost { errno } => *errno,
            _ => 0,
        }
    }
}

/// Errors that std makes itself carry no number; they are all of the kind "that cannot be".
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// The system's words for a number, without std's "(os error 111)" behind them.
fn describe(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

/// An error as C sees it: every answer ready, and NULs where C looks for them.
#[derive(Debug)]
pub struct LentError {
    pub error: Error,
    pub message: CString,
    pub expected: usize,
    pub consumed: usize,
    /// What had come, and a NUL behind it.
    partial: Option<Vec<u8>>,
}

impl From<Error> for LentError {
    fn from(mut error: Error) -> LentError {
        let message = c_string(error.to_string());
        let (mut expected, mut consumed, mut partial) = (0, 0, None);
        match &mut error {
            Error::Incomplete { partial: bytes, expected: asked } => {
                expected = asked.unwrap_or(0);
                bytes.push(0);
                partial = Some(std::mem::take(bytes));
            }
            Error::Limit { consumed: searched, .. } => consumed = *searched,
            _ => {}
        }
        LentError { error, message, expected, consumed, partial }
    }
}

impl LentError {
    pub fn partial(&self) -> Option<&[u8]> {
        self.partial.as_ref()?.strip_suffix(&[0])
    }
}

/// Text for C: a NUL within it, which would hide the rest, is shown as "?".
pub fn c_string(text: String) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(what: &str, errno: i32) -> Error {
        Error::System { what: what.into(), errno }
    }

    #[test]
    #[cfg_attr(miri, ignore = "its strerror_r has other texts")]
    fn failures_are_gathered_as_asyncio_does() {
        let one = system("connect a", libc::ECONNREFUSED);
        assert_eq!(Error::gathered(vec![one.clone()]), one);
        assert_eq!(Error::gathered(vec![one.clone(), one.clone()]), one);
        let both = Error::gathered(vec![one, system("connect b", libc::EHOSTUNREACH)]);
        assert_eq!(both.errno(), libc::ECONNREFUSED);
        assert_eq!(
            both.to_string(),
            "Multiple exceptions: connect a: Connection refused, connect b: No route to host"
        );
        assert_eq!(Error::gathered(vec![]).errno(), libc::EADDRNOTAVAIL);
    }
}
