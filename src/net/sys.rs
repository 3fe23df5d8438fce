//! The system calls that no crate wraps.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Bytes sent that the peer's side has not acknowledged, or, on a unix socket, not read. 0 where nobody can tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn unacknowledged(fd: &OwnedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int, to a live one of ours.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    if result == 0 { bytes.max(0) as usize } else { 0 }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn unacknowledged(_fd: &OwnedFd) -> usize {
    0
}

/// Runs `f` while this thread takes no signals, so that a thread it starts never takes one that is the host's.
pub fn without_signals<R>(f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    let mut old = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises `all`; pthread_sigmask reads it and initialises `old`, or fails and neither is used.
    let blocked = unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr())
    };
    if blocked != 0 {
        return Err(io::Error::from_raw_os_error(blocked));
    }
    let result = f();
    // SAFETY: `old` was initialised above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), std::ptr::null_mut()) };
    result
}
