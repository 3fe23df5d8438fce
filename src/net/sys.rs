//! The system calls that no crate wraps.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

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
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises `all`; pthread_sigmask reads it and initialises `old`, or fails and neither is used.
    let blocked = unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
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

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// How a descriptor was opened: O_RDONLY, O_WRONLY or O_RDWR.
pub fn access_mode(fd: RawFd) -> io::Result<libc::c_int> {
    // SAFETY: asks, and changes nothing, whether or not it is open.
    checked(unsafe { libc::fcntl(fd, libc::F_GETFL) }).map(|flags| flags & libc::O_ACCMODE)
}

/// True: it was not so before.
pub fn set_nonblocking(fd: RawFd, on: bool) -> io::Result<bool> {
    // SAFETY: asks, and changes nothing.
    let old = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let new = if on { old | libc::O_NONBLOCK } else { old & !libc::O_NONBLOCK };
    if new != old {
        // SAFETY: changes one flag of an open file of ours.
        checked(unsafe { libc::fcntl(fd, libc::F_SETFL, new) })?;
    }
    Ok(new != old)
}

pub fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: changes the one flag that there is of a descriptor of ours.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Of a pipe's end that may be a socket.
pub fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: a descriptor of ours, and no memory.
    checked(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
}

/// The other side of it is closed, or it has failed.
pub fn is_hung_up(fd: RawFd) -> bool {
    let mut asked = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: `asked` is one pollfd.
    unsafe { libc::poll(&mut asked, 1, 0) > 0 }
}

/// Runs `write`, which may fail with EPIPE, so that nobody sees the signal that comes with it: it is blocked for this
/// thread meanwhile, and taken back, unless one was waiting before that was not ours. The process's disposition is left
/// alone.
pub fn without_sigpipe(write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    let (mut sigpipe, mut old) = (MaybeUninit::<libc::sigset_t>::uninit(), MaybeUninit::uninit());
    // SAFETY: sigemptyset initialises `sigpipe`; pthread_sigmask reads it and initialises `old`, or fails and neither is used.
    let blocked = unsafe {
        libc::sigemptyset(sigpipe.as_mut_ptr());
        libc::sigaddset(sigpipe.as_mut_ptr(), libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, sigpipe.as_ptr(), old.as_mut_ptr())
    };
    if blocked != 0 {
        return Err(io::Error::from_raw_os_error(blocked));
    }
    // SAFETY: both sets were initialised above.
    let (sigpipe, old) = unsafe { (sigpipe.assume_init(), old.assume_init()) };
    // One that this thread does not block can be waiting only if it came in this very moment, for the process: then ours
    // is another one, and is taken first.
    let theirs = has_sigpipe(&old) && is_sigpipe_waiting();
    let result = write();
    if !theirs && matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EPIPE)) {
        take(&sigpipe);
    }
    // SAFETY: `old` is this thread's mask as it was.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut()) };
    result
}

fn has_sigpipe(set: &libc::sigset_t) -> bool {
    // SAFETY: a set of signals, and a signal that there is.
    unsafe { libc::sigismember(set, libc::SIGPIPE) == 1 }
}

fn is_sigpipe_waiting() -> bool {
    let mut waiting = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigpending initialises the set, or fails and it is not used.
    unsafe { libc::sigpending(waiting.as_mut_ptr()) == 0 && has_sigpipe(waiting.assume_init_ref()) }
}

/// Takes a signal that this thread blocks, if it waits.
#[cfg(not(any(target_os = "macos", target_os = "ios", target_os = "openbsd")))]
fn take(signal: &libc::sigset_t) {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: reads the set and the time, and writes nothing.
    while unsafe { libc::sigtimedwait(signal, std::ptr::null_mut(), &now) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// These have no sigtimedwait.
#[cfg(any(target_os = "macos", target_os = "ios", target_os = "openbsd"))]
fn take(signal: &libc::sigset_t) {
    let mut taken = 0;
    if is_sigpipe_waiting() {
        // SAFETY: reads the set, and writes one int.
        unsafe { libc::sigwait(signal, &mut taken) };
    }
}
