//! A connected stream socket: one function sends, one receives.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::SocketOptions;

/// No SIGPIPE, ever: the process and its signal dispositions are the host's.
#[cfg(any(target_os = "macos", target_os = "ios"))]
const SEND_FLAGS: libc::c_int = 0; // SO_NOSIGPIPE is set on each socket instead
#[cfg(not(any(target_os = "macos", target_os = "ios")))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;

/// The only place that writes to a socket.
#[inline(always)]
pub fn send(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match SockRef::from(fd).send_with_flags(bytes, SEND_FLAGS) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[inline(always)]
pub fn receive(fd: &OwnedFd, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match (&*SockRef::from(fd)).read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The same into memory that need not be initialised.
pub fn receive_into(fd: &OwnedFd, room: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    loop {
        match SockRef::from(fd).recv(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A new non-blocking stream socket, closed on exec, and never one of the host's three standard descriptors.
pub fn stream_socket(domain: Domain) -> io::Result<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let socket = Socket::new(domain, Type::STREAM, None)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    socket.set_nonblocking(true)?;
    above_stdio(socket.into())
}

/// A host that has closed its standard descriptors still prints to them: never into one of our sockets.
pub fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { fd.try_clone() }
}

pub fn set_options(fd: &OwnedFd, options: SocketOptions, domain: Domain) -> io::Result<()> {
    let socket = SockRef::from(fd);
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    socket.set_nosigpipe(true)?;
    if options.keep_alive {
        socket.set_keepalive(true)?;
    }
    if domain != Domain::UNIX && !options.delay {
        // Nobody has asked for that: without it, it is slower.
        let _ = socket.set_tcp_nodelay(true);
    }
    Ok(())
}

/// What kind of stream socket somebody else's descriptor is; refuses what is none.
pub fn stream_domain(fd: &OwnedFd) -> io::Result<Domain> {
    let socket = SockRef::from(fd);
    if socket.r#type()? != Type::STREAM {
        return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
    }
    Ok(socket.local_addr()?.domain())
}

/// Makes it fit for a loop.
pub fn make_ready(fd: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(fd);
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)
}

pub fn is_listening(fd: &OwnedFd) -> bool {
    SockRef::from(fd).is_listener().unwrap_or(false)
}

/// A socket whose short reads say that nothing is left. A unix socket's may stop where descriptors were passed.
pub fn short_read_means_drained(domain: Domain) -> bool {
    cfg!(any(target_os = "linux", target_os = "android")) && domain != Domain::UNIX
}

pub fn shutdown_write(fd: &OwnedFd) -> io::Result<()> {
    SockRef::from(fd).shutdown(std::net::Shutdown::Write)
}

/// The close that follows resets the connection.
pub fn reset_on_close(fd: &OwnedFd) {
    // A socket that cannot (a unix one) has nothing to reset.
    let _ = SockRef::from(fd).set_linger(Some(std::time::Duration::ZERO));
}

pub use super::sys::unacknowledged;

pub fn local_address(fd: &OwnedFd) -> Option<SockAddr> {
    SockRef::from(fd).local_addr().ok()
}

pub fn peer_address(fd: &OwnedFd) -> Option<SockAddr> {
    SockRef::from(fd).peer_addr().ok()
}

/// `127.0.0.1:80`, `[::1]:80`, a path, `@abstract`; None for a socket without a name.
pub fn display(address: &SockAddr) -> Option<String> {
    if let Some(address) = address.as_socket() {
        return Some(address.to_string());
    }
    if let Some(name) = address.as_abstract_namespace() {
        return Some(format!("@{}", String::from_utf8_lossy(name)));
    }
    address.as_pathname().map(|path| path.to_string_lossy().into_owned())
}
