//! One attempt to connect.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockAddr, SockRef};

use super::SocketOptions;
use super::socket::{display, reset_on_close, set_options, stream_socket};
use crate::error::Error;

#[derive(Debug)]
pub enum Started {
    /// Wait until it can be written to, then ask [`is_connected`].
    Waiting(OwnedFd),
    Connected(OwnedFd),
    /// A unix server's backlog is full, which no event ever tells: try again later.
    Full,
}

/// `local`: addresses to bind to; the first of the same family that can be bound is taken, and without one the attempt
/// fails.
pub fn connect(
    address: &SockAddr,
    local: Option<&[SockAddr]>,
    options: SocketOptions,
) -> Result<Started, Error> {
    let failed = |error: io::Error| failure(address, &error);
    let fd = stream_socket(address.domain()).map_err(failed)?;
    set_options(&fd, options, address.domain()).map_err(failed)?;
    if let Some(local) = local {
        bind(&fd, local, address)?;
    }
    match SockRef::from(&fd).connect(address) {
        Ok(()) if is_its_own_peer(&fd) => Err(failed(refused())),
        Ok(()) => Ok(Started::Connected(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok(Started::Waiting(fd))
        }
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) && address.is_unix() => Ok(Started::Full),
        Err(e) => Err(failed(e)),
    }
}

fn bind(fd: &OwnedFd, local: &[SockAddr], address: &SockAddr) -> Result<(), Error> {
    let no_such_family = || {
        let what = format!("no local address to connect {} from", display(address).unwrap_or_default());
        Error::system(what, &io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
    };
    let mut last = None;
    for mine in local.iter().filter(|mine| mine.domain() == address.domain()) {
        match SockRef::from(fd).bind(mine) {
            Ok(()) => return Ok(()),
            Err(e) => last = Some(Error::system(format!("bind {}", display(mine).unwrap_or_default()), &e)),
        }
    }
    Err(last.unwrap_or_else(no_such_family))
}

fn failure(address: &SockAddr, error: &io::Error) -> Error {
    Error::system(format!("connect {}", display(address).unwrap_or_default()), error)
}

/// The kernel connects a socket to itself when the port it picked for it is the one that is called: TCP's simultaneous
/// open, with nobody listening there. The port is free again as soon as it is closed.
fn is_its_own_peer(fd: &OwnedFd) -> bool {
    let socket = SockRef::from(fd);
    let itself = match (socket.local_addr(), socket.peer_addr()) {
        (Ok(mine), Ok(peer)) => mine == peer && peer.as_socket().is_some(),
        _ => false,
    };
    if itself {
        reset_on_close(fd);
    }
    itself
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(libc::ECONNREFUSED)
}

/// What became of an attempt. None: it is still on its way. Never to be asked again once it said Ok, since it takes
/// the socket's error away, which on an established connection would turn a reset into an end. For the same reason,
/// Ok holds the error of a connection that was made and has been lost since: what came before can still be read.
pub fn is_connected(fd: &OwnedFd, address: &SockAddr) -> Option<Result<Option<io::Error>, Error>> {
    let socket = SockRef::from(fd);
    match socket.take_error() {
        Ok(None) => {}
        // A connection that was never made is refused, not reset.
        Ok(Some(lost)) if matches!(lost.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE)) => {
            return Some(Ok(Some(lost)));
        }
        Ok(Some(error)) | Err(error) => return Some(Err(failure(address, &error))),
    }
    match socket.peer_addr() {
        Ok(_) if is_its_own_peer(fd) => Some(Err(failure(address, &refused()))),
        Ok(_) => Some(Ok(None)),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        Err(error) => Some(Err(failure(address, &error))),
    }
}
