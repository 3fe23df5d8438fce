//! Readiness, by mio. Every socket is registered once, edge-triggered, for all that can happen to it; what it is ready
//! for is remembered by its owner. Sockets are never deregistered: closing does that, and a late event finds nobody,
//! since its token is a ticket. (A forked child that deregistered would silence its parent.) Ends of pipes are: somebody
//! else may have the same open file, and closing ours alone would not end its events.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Token, Waker};

/// In less than 4 KiB, since mio cannot be told that there is no memory.
const EVENTS: usize = 340;
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What happened to the thing that a number stands for.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub number: usize,
    pub readable: bool,
    pub writable: bool,
    /// The peer has closed, or there is an error, or urgent data: a short read does not mean that nothing is left.
    pub more: bool,
}

#[derive(Debug)]
pub struct Poll {
    poll: mio::Poll,
    events: Events,
    /// For so long a wait looks again and again before it sleeps: to be woken up takes longer than most peers take to
    /// answer.
    pub busy: Duration,
}

impl Poll {
    pub fn new() -> io::Result<Poll> {
        let _guard = StandardDescriptors::occupy();
        Ok(Poll { poll: mio::Poll::new()?, events: Events::with_capacity(EVENTS), busy: Duration::ZERO })
    }

    pub fn waker(&self, number: usize) -> io::Result<Waker> {
        let _guard = StandardDescriptors::occupy();
        Waker::new(self.poll.registry(), Token(number))
    }

    pub fn register(&self, fd: RawFd, number: usize) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(number), interest())
    }

    /// The same descriptor under another number; what it is ready for is told again.
    pub fn reregister(&self, fd: RawFd, number: usize) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&fd), Token(number), interest())
    }

    /// One end of a pipe, which is read from or written to. Err: it cannot be waited for, or somebody has registered it.
    pub fn register_end(&self, fd: RawFd, number: usize, write: bool) -> io::Result<()> {
        let interest = if write { Interest::WRITABLE } else { Interest::READABLE };
        self.poll.registry().register(&mut SourceFd(&fd), Token(number), interest)
    }

    pub fn deregister_end(&self, fd: RawFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&fd))
    }

    /// A list that can hold all that one wait may bring.
    pub fn list() -> io::Result<Vec<Event>> {
        let mut list = Vec::new();
        list.try_reserve_exact(EVENTS).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(list)
    }

    /// Appends what has happened to `into`, which is empty. A signal may end the wait early.
    pub fn wait(&mut self, mut timeout: Option<Duration>, into: &mut Vec<Event>) -> io::Result<()> {
        let busy = timeout.map_or(self.busy, |timeout| timeout.min(self.busy));
        if !busy.is_zero() {
            let start = Instant::now();
            while start.elapsed() < busy {
                self.sleep(Some(Duration::ZERO), into)?;
                if !into.is_empty() {
                    return Ok(());
                }
            }
            timeout = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
        }
        self.sleep(timeout, into)
    }

    fn sleep(&mut self, timeout: Option<Duration>, into: &mut Vec<Event>) -> io::Result<()> {
        // What the system takes is a C int of milliseconds; whoever waits longer is asked again.
        let timeout = timeout.map(|timeout| timeout.min(LONGEST));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        into.extend(self.events.iter().map(|event| Event {
            number: event.token().0,
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
            more: event.is_read_closed() || event.is_error() || event.is_priority(),
        }));
        Ok(())
    }

    pub fn raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}

fn interest() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return both | Interest::PRIORITY;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    both
}

/// Holds those of descriptors 0 to 2 that the host has closed, while something is opened that must not get one.
struct StandardDescriptors {
    _held: Vec<File>,
}

impl StandardDescriptors {
    fn occupy() -> StandardDescriptors {
        let mut held = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            if file.as_raw_fd() > 2 {
                break;
            }
            held.push(file);
        }
        StandardDescriptors { _held: held }
    }
}
