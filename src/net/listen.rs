//! Listening sockets, and what comes out of them.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef};

use super::socket::{above_stdio, display, set_options, stream_socket};
use super::{ListenOptions, SocketOptions};
use crate::error::Error;

/// How often another free port is tried until it is free for all addresses of a server.
const COMMON_PORTS: usize = 8;

#[derive(Debug)]
pub enum Listener {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

impl Listener {
    pub fn new(fd: OwnedFd, domain: Domain) -> Listener {
        if domain == Domain::UNIX {
            Listener::Unix(mio::net::UnixListener::from(fd))
        } else {
            Listener::Tcp(mio::net::TcpListener::from_std(std::net::TcpListener::from(fd)))
        }
    }

    pub fn raw_fd(&self) -> RawFd {
        match self {
            Listener::Tcp(listener) => listener.as_raw_fd(),
            Listener::Unix(listener) => listener.as_raw_fd(),
        }
    }

    pub fn domain(&self) -> Domain {
        match self {
            Listener::Tcp(_) => Domain::IPV4,
            Listener::Unix(_) => Domain::UNIX,
        }
    }

    /// What it listens on, in words.
    pub fn name(&self) -> Option<String> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok().map(|address| address.to_string()),
            Listener::Unix(listener) => SockRef::from(listener).local_addr().ok().as_ref().and_then(display),
        }
    }
}

#[derive(Debug)]
pub struct Accepted {
    pub fd: OwnedFd,
    pub peer: Option<SocketAddr>,
}

/// The next connection, non-blocking and closed on exec. What is set on the listener it inherits on Linux; elsewhere
/// it is set again.
pub fn accept(listener: &Listener, options: SocketOptions) -> io::Result<Accepted> {
    let accepted = match listener {
        Listener::Tcp(listener) => {
            let (stream, peer) = listener.accept()?;
            Accepted { fd: above_stdio(stream.into())?, peer: Some(peer) }
        }
        Listener::Unix(listener) => Accepted { fd: above_stdio(listener.accept()?.0.into())?, peer: None },
    };
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        // A connection already reset refuses options; the first read tells.
        let _ = set_options(&accepted.fd, options, listener.domain());
    }
    Ok(accepted)
}

/// Errors of accept that are the lost connection's, not the listener's: go on with the next. Those that accept(2) tells
/// to treat so, since Linux hands out what the network said of a connection before it was accepted.
pub fn is_transient(errno: i32) -> bool {
    use libc::*;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if errno == ENONET {
        return true;
    }
    matches!(
        errno,
        ECONNABORTED
            | EPROTO
            | EPERM
            | EINTR
            | ENETDOWN
            | ENOPROTOOPT
            | EHOSTDOWN
            | EHOSTUNREACH
            | EOPNOTSUPP
            | ENETUNREACH
            | ETIMEDOUT
    )
}

/// Listens on each of them, or on none. Port 0 is one that is free, and the same for all if that can be had: where it
/// cannot, each has its own, as in asyncio.
pub fn listen(addresses: &[SocketAddr], options: ListenOptions) -> Result<Vec<Listener>, Error> {
    let any_port = addresses.iter().any(|address| address.port() == 0);
    for _ in 0..COMMON_PORTS {
        match listen_on(addresses, options, true) {
            // Free for one address, and not for another.
            Err(error) if any_port && error.errno() == libc::EADDRINUSE => {}
            result => return result,
        }
    }
    listen_on(addresses, options, false)
}

/// `common_port`: where the port is 0, the one that the first has got.
fn listen_on(
    addresses: &[SocketAddr],
    options: ListenOptions,
    common_port: bool,
) -> Result<Vec<Listener>, Error> {
    let (mut bound, mut missing) = (Vec::new(), Vec::new());
    let mut port = 0;
    for address in addresses {
        let mut address = *address;
        let picked = address.port() == 0 && port != 0;
        if picked {
            address.set_port(port);
        }
        match bind(address, options, picked) {
            Ok(fd) => {
                if common_port {
                    port = local_port(&fd);
                }
                bound.push((address, fd));
            }
            // A family that this machine does not have is no reason not to listen on the other.
            Err(error) if matches!(error.errno(), libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => {
                missing.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() {
        return Err(Error::gathered(missing));
    }
    let listening = bound.into_iter().map(|(address, fd)| {
        SockRef::from(&fd).listen(options.backlog).map_err(|error| failure(address, &error))?;
        Ok(Listener::new(fd, Domain::for_address(address)))
    });
    listening.collect()
}

/// `alone`: not on a port that is shared already, which `reuse_port` would allow.
fn bind(address: SocketAddr, options: ListenOptions, alone: bool) -> Result<OwnedFd, Error> {
    let failed = |error: io::Error| failure(address, &error);
    let domain = Domain::for_address(address);
    let socket_for = |reuse_port: bool| {
        let fd = stream_socket(domain)?;
        let socket = SockRef::from(&fd);
        socket.set_reuse_address(options.reuse_address)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        Ok(fd)
    };
    if alone && options.reuse_port {
        socket_for(false).map_err(failed)?;
    }
    let fd = socket_for(options.reuse_port).map_err(failed)?;
    set_options(&fd, options.socket, domain).map_err(failed)?;
    Ok(fd)
}

fn local_port(fd: &OwnedFd) -> u16 {
    let address = SockRef::from(fd).local_addr().ok();
    address.and_then(|address| address.as_socket()).map_or(0, |address| address.port())
}

fn failure(address: SocketAddr, error: &io::Error) -> Error {
    Error::system(format!("listen on {address}"), error)
}

/// The file that a unix server made, by which it knows later whether it is still its own.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// The one that somebody else's listening socket made.
    pub fn of(fd: &OwnedFd) -> Option<SocketFile> {
        SockRef::from(fd).local_addr().ok()?.as_pathname().and_then(SocketFile::at)
    }

    fn at(path: &Path) -> Option<SocketFile> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(SocketFile { path: path.into(), device: found.dev(), inode: found.ino() })
    }

    /// Removes it, unless somebody has put another in its place.
    pub fn remove(&self) {
        if SocketFile::at(&self.path).is_some_and(|now| (now.device, now.inode) == (self.device, self.inode))
        {
            // If it cannot be removed it stays behind, as it would have without us.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket file that nobody answers on is replaced; whatever else is at the path stays, and the address is in use.
pub fn listen_unix(
    address: &SockAddr,
    options: ListenOptions,
) -> Result<(Listener, Option<SocketFile>), Error> {
    let name = display(address).unwrap_or_default();
    let failed = |error: io::Error| Error::system(format!("listen on {name}"), &error);
    if let Some(path) = address.as_pathname()
        && is_stale(path, address)
    {
        fs::remove_file(path).map_err(failed)?;
    }
    let fd = stream_socket(Domain::UNIX).map_err(failed)?;
    set_options(&fd, options.socket, Domain::UNIX).map_err(failed)?;
    let socket = SockRef::from(&fd);
    socket.bind(address).map_err(failed)?;
    let file = address.as_pathname().and_then(SocketFile::at);
    if let Err(error) = socket.listen(options.backlog) {
        if let Some(file) = file {
            file.remove();
        }
        return Err(failed(error));
    }
    Ok((Listener::new(fd, Domain::UNIX), file))
}

fn is_stale(path: &Path, address: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket
        && stream_socket(Domain::UNIX).is_ok_and(|fd| {
            let refused = SockRef::from(&fd).connect(address).err();
            refused.and_then(|error| error.raw_os_error()) == Some(libc::ECONNREFUSED)
        })
}
