//! One attempt to connect.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{SockAddr, SockRef};

use super::SocketOptions;
use super::socket::{display, set_options, stream_socket};
use crate::error::Error;

#[derive(Debug)]
pub enum Started {
    /// Wait until it can be written to, then ask [`is_connected`].
    Waiting(OwnedFd),
    Connected(OwnedFd),
    /// A unix server's backlog is full, which no event ever tells: try again later.
    Full,
}

/// `local`: addresses to bind to; one of the same family is taken, and without one the attempt fails.
pub fn connect(
    address: &SockAddr,
    local: Option<&[SockAddr]>,
    options: SocketOptions,
) -> Result<Started, Error> {
    let name = || display(address).unwrap_or_default();
    let failed = |error: io::Error| Error::system(format!("connect {}", name()), &error);
    let fd = stream_socket(address.domain()).map_err(failed)?;
    set_options(&fd, options, address.domain()).map_err(failed)?;
    let socket = SockRef::from(&fd);
    if let Some(local) = local {
        let Some(mine) = local.iter().find(|mine| mine.domain() == address.domain()) else {
            let none = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
            return Err(Error::system(format!("no local address to connect {} from", name()), &none));
        };
        socket
            .bind(mine)
            .map_err(|e| Error::system(format!("bind {}", display(mine).unwrap_or_default()), &e))?;
    }
    match socket.connect(address) {
        Ok(()) => Ok(Started::Connected(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Ok(Started::Waiting(fd))
        }
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) && address.is_unix() => Ok(Started::Full),
        Err(e) => Err(failed(e)),
    }
}

/// What became of an attempt. None: it is still on its way. Never to be asked again once it said Ok, since it takes
/// the socket's error away, which on an established connection would turn a reset into an end. For the same reason,
/// Ok holds the error of a connection that was made and has been lost since: what came before can still be read.
pub fn is_connected(fd: &OwnedFd, address: &SockAddr) -> Option<Result<Option<io::Error>, Error>> {
    let failed =
        |error: &io::Error| Error::system(format!("connect {}", display(address).unwrap_or_default()), error);
    let socket = SockRef::from(fd);
    match socket.take_error() {
        Ok(None) => {}
        // A connection that was never made is refused, not reset.
        Ok(Some(lost)) if matches!(lost.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE)) => {
            return Some(Ok(Some(lost)));
        }
        Ok(Some(error)) | Err(error) => return Some(Err(failed(&error))),
    }
    match socket.peer_addr() {
        // The kernel connects a socket to itself when the port it picked is the one that is called.
        Ok(peer) if socket.local_addr().is_ok_and(|mine| mine == peer && peer.as_socket().is_some()) => {
            Some(Err(failed(&io::Error::from_raw_os_error(libc::ECONNREFUSED))))
        }
        Ok(_) => Some(Ok(None)),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        Err(error) => Some(Err(failed(&error))),
    }
}
