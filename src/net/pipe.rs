//! One end of a pipe, a FIFO or a terminal: what read(2) and write(2) are for. A socket may stand there as well, as it
//! does for the standard descriptors of a program that another one has started.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use super::socket::above_stdio;
use super::sys;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// A descriptor that somebody gives away, and has back as it was when it is refused: closed by nobody yet.
pub type Given = ManuallyDrop<OwnedFd>;

/// Whether it is open in that direction.
pub fn is_open_to(fd: &Given, direction: Direction) -> bool {
    match sys::access_mode(fd.as_raw_fd()) {
        Ok(libc::O_RDWR) => true,
        Ok(libc::O_RDONLY) => direction == Direction::Read,
        Ok(libc::O_WRONLY) => direction == Direction::Write,
        _ => false,
    }
}

/// The host's own; it prints to them, and reads from them, before and after.
pub fn is_standard(fd: RawFd) -> bool {
    fd <= 2
}

#[derive(Debug)]
pub struct PipeEnd {
    file: File,
    /// Its open file was blocking, and is to be so again. Others may have it too: whoever started this process, or the
    /// other end, when both are one terminal.
    blocking: bool,
    /// By which two ends may be known to have one open file.
    inode: (u64, u64),
    /// The standard descriptor that it is a copy of.
    pub standard: Option<RawFd>,
}

impl PipeEnd {
    /// Takes what was given, or, of a standard descriptor, a copy; `shared`: it stays somebody else's, too.
    pub fn take(given: Given, shared: bool, direction: Direction) -> io::Result<PipeEnd> {
        let number = given.as_raw_fd();
        let standard = is_standard(number).then_some(number);
        let file: File = match standard {
            Some(_) => own_terminal(&given, direction).map_or_else(|| given.try_clone(), Ok)?.into(),
            None if shared => given.try_clone()?.into(),
            None => ManuallyDrop::into_inner(given).into(),
        };
        let found = file.metadata()?;
        let mut end = PipeEnd { file, blocking: false, inode: (found.dev(), found.ino()), standard };
        sys::close_on_exec(end.raw_fd())?;
        end.stay_ready()?;
        Ok(end)
    }

    /// Makes it non-blocking, unless it is.
    pub fn stay_ready(&mut self) -> io::Result<()> {
        self.blocking |= sys::set_nonblocking(self.raw_fd(), true)?;
        Ok(())
    }

    /// What it was before, it is not to become: this is a forked child's copy, and the open file the parent's.
    pub fn forget(&mut self) {
        self.blocking = false;
    }

    /// Closing it changes an open file that these others may have.
    pub fn changes(&self) -> Option<(u64, u64)> {
        self.blocking.then_some(self.inode)
    }

    pub fn is_at(&self, inode: (u64, u64)) -> bool {
        self.inode == inode
    }

    pub fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        again(|| (&self.file).read(room))
    }

    /// A pipe knows no MSG_NOSIGNAL.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        again(|| sys::without_sigpipe(|| (&self.file).write(bytes)))
    }

    /// Nobody will ever read what is written here.
    pub fn is_broken(&self) -> bool {
        sys::is_hung_up(self.file.as_raw_fd())
    }

    /// The last byte has been written. To close it says so, unless it is a socket, of which the other end of this
    /// connection may be a part. What the host goes on using is left alone.
    pub fn end_writing(&self) {
        if self.standard.is_none() {
            // Where it is no socket there is nothing to shut down.
            let _ = sys::shutdown_write(self.raw_fd());
        }
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        if self.blocking {
            // An open file that cannot be set back is nobody's any more.
            let _ = sys::set_nonblocking(self.raw_fd(), false);
        }
    }
}

fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The same terminal, opened anew: standard input, output and error are one open file, which the shell has too, and what
/// is changed on one is changed on all. None: it is no terminal, or cannot be opened by this name.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn own_terminal(fd: &OwnedFd, direction: Direction) -> Option<OwnedFd> {
    if !fd.is_terminal() {
        return None;
    }
    let opened = OpenOptions::new()
        .read(direction == Direction::Read)
        .write(direction == Direction::Write)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    above_stdio(opened.ok()?.into()).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn own_terminal(_fd: &OwnedFd, _direction: Direction) -> Option<OwnedFd> {
    None
}
