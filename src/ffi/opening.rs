//! Connections and servers: host names, paths, descriptors and options come in here.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use socket2::SockAddr;

use super::callbacks::*;
use super::door::{self, callback, sized, text};
use super::types::*;
use crate::error::Refusal;
use crate::hub::{Hub, Limits, Options, Secure, Target};
use crate::net::{Given, SocketOptions};
use crate::stream::DEFAULT_LIMIT;
use crate::table::Kind;
use crate::tls;

/// asyncio's times for TLS.
const HANDSHAKE: Duration = Duration::from_secs(60);
const SHUTDOWN: Duration = Duration::from_secs(30);

/// All fields: 0 is the default. What means nothing to a call is ignored; only local_port, local_host and
/// what asks for TLS are then refused.
#[repr(C)]
pub struct eddy_options {
    /// sizeof(eddy_options): set by EDDY_OPTIONS().
    pub size: usize,
    /// The longest line, and half the most that is buffered; default 64 KiB.
    pub limit: usize,
    /// Bytes written and not sent beyond which a write is refused whole, EDDY_EFULL; default: no bound.
    pub max_write_buffer: usize,
    /// For resolving, connecting and the TLS handshake together, from the call on: then EDDY_ETIMEDOUT. Of a
    /// server: for each handshake. Default: no bound, but for handshakes 60 s.
    pub timeout_ms: u64,
    /// TCP client: the head start of each address before the next is tried beside it; default 250 (RFC 8305).
    /// EDDY_NEVER: one after the other, in the resolver's order.
    pub happy_eyeballs_ms: u64,
    /// TCP client: connect from this address, and this port (then one address is tried after the other).
    pub local_host: *const c_char,
    pub local_port: u16,
    /// AF_INET or AF_INET6; default: both.
    pub family: c_int,
    /// Speak TLS, with these settings: a client's, or a server's.
    pub tls: *mut eddy_tls,
    /// TLS client: the name, or the IP address, to ask for and to verify; default: the host.
    pub server_hostname: *const c_char,
    /// TLS: how long close waits, in the background, for the peer's goodbye; default 30 s.
    pub tls_shutdown_ms: u64,
    /// eddy_writer_start_tls(): what has come and nobody has read goes to TLS; default: it is an error.
    pub tls_takes_buffered: c_int,
    /// Server: stop accepting while so many are connected; default: no bound.
    ///
    /// The others wait in the kernel, as many as `backlog` says, and come in when one is gone, after the
    /// callbacks that tell of its end. One is gone when eddy_server_wait_closed() would not wait for it
    /// any more.
    pub max_clients: usize,
    /// Server: connections that wait to be accepted; default 100.
    pub backlog: c_int,
    /// Server: share the port with other loops or processes.
    pub reuse_port: c_int,
    /// Server: refuse a port that an old connection still holds.
    pub no_reuse_address: c_int,
    /// Unix server: leave the file behind on close.
    pub keep_socket_file: c_int,
    pub keep_alive: c_int,
    /// Leave Nagle's algorithm on; default: off, as in asyncio.
    pub delay: c_int,
}

/// RFC 8305's Connection Attempt Delay.
const HEAD_START: Duration = Duration::from_millis(250);

const _: () = assert!(
    offset_of!(eddy_options, delay) + size_of::<c_int>() == size_of::<eddy_options>(),
    "a field added to what ends in padding would be ignored unseen"
);

/// What takes as long as it takes.
pub(crate) const EDDY_NEVER: u64 = u64::MAX;

/// Milliseconds; 0 is no bound either.
pub(crate) fn timeout(ms: u64) -> Option<Duration> {
    (ms != 0 && ms != EDDY_NEVER).then(|| Duration::from_millis(ms))
}

/// A limit is a length that can be doubled.
pub(crate) fn limit(limit: usize) -> Result<usize, Refusal> {
    match limit {
        0 => Err(Refusal::LimitIsZero),
        _ if limit > isize::MAX as usize / 4 => Err(Refusal::LimitTooLarge),
        _ => Ok(limit),
    }
}

/// # Safety
/// NULL, or a struct of as many bytes as its first field says.
unsafe fn options(given: *const eddy_options) -> Result<Options, Refusal> {
    // SAFETY: the caller's promise; every field may be zero.
    let known = unsafe { sized(given) }?;
    if !matches!(known.family, 0 | libc::AF_INET | libc::AF_INET6) || known.backlog < 0 {
        return Err(Refusal::Invalid);
    }
    // SAFETY: the caller's promise, of the text in its options.
    let local_host = match unsafe { text(known.local_host) }? {
        None => None,
        Some(local) => Some(host(local)?.to_string()),
    };
    Ok(Options {
        limits: Limits {
            input: if known.limit == 0 { DEFAULT_LIMIT } else { limit(known.limit)? },
            output: (known.max_write_buffer != 0).then_some(known.max_write_buffer),
        },
        timeout: timeout(known.timeout_ms),
        family: known.family,
        head_start: match known.happy_eyeballs_ms {
            0 => Some(HEAD_START),
            EDDY_NEVER => None,
            ms => Some(Duration::from_millis(ms)),
        },
        local_host,
        local_port: known.local_port,
        socket: SocketOptions { keep_alive: known.keep_alive != 0, delay: known.delay != 0 },
        backlog: if known.backlog == 0 { 100 } else { known.backlog },
        max_clients: if known.max_clients == 0 { usize::MAX } else { known.max_clients },
        reuse_port: known.reuse_port != 0,
        reuse_address: known.no_reuse_address == 0,
        keep_socket_file: known.keep_socket_file != 0,
        // SAFETY: the caller's promise.
        secure: unsafe { secure(&known) }?,
    })
}

/// What the options say of TLS. A name, or a time, that only TLS has a use for is refused without it: that was meant to
/// be encrypted.
///
/// # Safety
/// As for `options`.
unsafe fn secure(known: &eddy_options) -> Result<Option<Secure>, Refusal> {
    // SAFETY: the caller's promise.
    let name = unsafe { text(known.server_hostname) }?;
    if known.tls.is_null() {
        let without = name.is_none() && known.tls_shutdown_ms == 0 && known.tls_takes_buffered == 0;
        return if without { Ok(None) } else { Err(Refusal::Invalid) };
    }
    let config = super::tls::config(known.tls)?;
    if let Some(name) = name
        && (!config.is_client() || !tls::is_name(name))
    {
        return Err(Refusal::Invalid);
    }
    Ok(Some(Secure {
        config,
        name: name.map(str::to_owned),
        handshake: match known.timeout_ms {
            0 => Some(HANDSHAKE),
            ms => timeout(ms),
        },
        shutdown: match known.tls_shutdown_ms {
            0 => Some(SHUTDOWN),
            ms => timeout(ms),
        },
        takes_buffered: known.tls_takes_buffered != 0,
    }))
}

/// A client's: there must be a name to verify, and `host` is one unless another is given.
fn of_client(mut options: Options, host: Option<&str>) -> Result<Options, Refusal> {
    if let Some(secure) = &mut options.secure {
        if !secure.config.is_client() {
            return Err(Refusal::Invalid);
        }
        // An address that names an interface is an address.
        let host = host.map(|host| host.split_once('%').map_or(host, |(address, _)| address));
        if secure.name.is_none() {
            secure.name = Some(host.filter(|host| tls::is_name(host)).ok_or(Refusal::Invalid)?.to_owned());
        }
    }
    Ok(options)
}

/// Where TLS cannot be spoken.
fn in_clear(options: Options) -> Result<Options, Refusal> {
    if options.secure.is_some() { Err(Refusal::Unsupported) } else { Ok(options) }
}

fn of_server(options: Options) -> Result<Options, Refusal> {
    match &options.secure {
        Some(secure) if secure.config.is_client() => Err(Refusal::Invalid),
        _ => Ok(options),
    }
}

/// For start_tls: a client's or a server's, as the settings are.
///
/// # Safety
/// As for `options`.
pub(super) unsafe fn to_start_tls(given: *const eddy_options) -> Result<Secure, Refusal> {
    // SAFETY: the caller's promise.
    let options = without_local(unsafe { options(given) }?)?;
    let secure = options.secure.ok_or(Refusal::Invalid)?;
    if secure.config.is_client() && secure.name.is_none() { Err(Refusal::Invalid) } else { Ok(secure) }
}

/// A name or an address that a resolver can be asked for: RFC 1035's length, and nothing that only a
/// URL has.
///
/// An IPv6 address may stand in the brackets that it has in a URL.
fn host(given: &str) -> Result<&str, Refusal> {
    let odd = |c: char| c.is_ascii_control() || " []/\\@?#\"<>".contains(c);
    let inner = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = inner.unwrap_or(given);
    let no_address = inner.is_some() && !host.contains(':');
    if host.is_empty() || host.len() > 255 || no_address || host.contains(odd) {
        return Err(Refusal::Invalid);
    }
    Ok(host)
}

/// Options that say where a client's own end is to be; there is none such for the rest.
fn without_local(options: Options) -> Result<Options, Refusal> {
    if options.local_host.is_some() || options.local_port != 0 { Err(Refusal::Invalid) } else { Ok(options) }
}

/// # Safety
/// NULL, or a text.
unsafe fn unix(path: *const c_char) -> Result<Target, Refusal> {
    // SAFETY: the caller's promise.
    let path = unsafe { text(path) }?.filter(|path| !path.is_empty()).ok_or(Refusal::Invalid)?;
    let abstract_name = path.strip_prefix('@').map(|name| format!("\0{name}"));
    if abstract_name.is_some() && !cfg!(any(target_os = "linux", target_os = "android")) {
        return Err(Refusal::Unsupported);
    }
    // Too long a path is refused, never cut.
    let address = SockAddr::unix(abstract_name.as_deref().unwrap_or(path)).map_err(|_| Refusal::Invalid)?;
    Ok(Target::Unix(address))
}

/// cb gets a reader and a writer, or an error: EDDY_ERESOLVE, EDDY_ESYSTEM, EDDY_ETLS, EDDY_ETIMEDOUT. All
/// addresses of the host are tried, until one answers.
///
/// A name is resolved on another thread, and a look-up that is slow holds up no other, as long as fewer than
/// 64 are. Happy eyeballs (RFC 8305): the families take turns, beginning with that of the resolver's first
/// address; each address has `happy_eyeballs_ms` before the next is tried beside it, and one that fails gives
/// way at once. The first that answers wins, and the others are closed. When all fail, eddy_error_message()
/// tells why each did, by asyncio's rule: one failure is itself, equal ones are told once, different ones as
/// "Multiple exceptions: one, another"; eddy_error_errno() is the first one's.
///
/// EDDY_ETIMEDOUT tells what was tried until then. A connection that is made counts, even when the loop looks
/// after its deadline. The kernel may connect a socket to itself, where its port is the one that is called:
/// that is ECONNREFUSED. eddy_loop_cancel() ends it in any of its stages. asyncio: open_connection(), with
/// asyncio.timeout() around it.
///
/// # Safety
/// `host`, and the text in `options`, end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_open_connection(
    r#loop: *mut eddy_loop,
    host: *const c_char,
    port: u16,
    options: *const eddy_options,
    cb: eddy_stream_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_open_connection", r#loop, |hub, _| {
        let callback = callback!(cb, arg)?;
        // SAFETY: the caller's promise.
        let (name, options) = unsafe { (text(host)?.ok_or(Refusal::Invalid)?, self::options(options)?) };
        if port == 0 {
            return Err(Refusal::Invalid);
        }
        let host = self::host(name)?;
        hub.open(Target::Host(host.into(), port), of_client(options, Some(host))?, None, callback)
    })
}

/// A path that begins with '@' is an abstract name. A server whose backlog is full is waited for.
///
/// That long, if it must be, as `timeout_ms` says. asyncio: open_unix_connection().
///
/// # Safety
/// `path` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_open_unix_connection(
    r#loop: *mut eddy_loop,
    path: *const c_char,
    options: *const eddy_options,
    cb: eddy_stream_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_open_unix_connection", r#loop, |hub, _| {
        let callback = callback!(cb, arg)?;
        // SAFETY: the caller's promise.
        let (target, options) = unsafe { (unix(path)?, self::options(options)?) };
        hub.open(target, of_client(without_local(options)?, None)?, None, callback)
    })
}

/// client_cb runs once for every connection accepted; with TLS, when its handshake is done. host NULL or "":
/// every address of this machine; port 0: any that is free, see eddy_server_sockname().
///
/// Both callbacks get `arg`. A client whose writer is freed within client_cb is closed. It listens on every
/// address of the host, or on none; a family that this machine does not have is left out. Port 0 is the same
/// for all of them, if one can be found that is free for all. `timeout_ms` is for resolving the host.
/// asyncio: start_server().
///
/// # Safety
/// `host`, and the text in `options`, end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_start_server(
    r#loop: *mut eddy_loop,
    client_cb: eddy_stream_cb,
    host: *const c_char,
    port: u16,
    options: *const eddy_options,
    cb: eddy_server_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_start_server", r#loop, |hub, _| {
        let (client, callback) = (callback!(client_cb, arg)?, callback!(cb, arg)?);
        // SAFETY: the caller's promise.
        let (name, options) = unsafe { (text(host)?.unwrap_or(""), self::options(options)?) };
        let target = match name {
            "" => Target::Everywhere(port),
            name => Target::Host(self::host(name)?.into(), port),
        };
        hub.open(target, of_server(without_local(options)?)?, Some(client), callback)
    })
}

/// A socket file that nobody answers on is replaced; whatever else is at the path is EADDRINUSE.
///
/// # Safety
/// `path` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_start_unix_server(
    r#loop: *mut eddy_loop,
    client_cb: eddy_stream_cb,
    path: *const c_char,
    options: *const eddy_options,
    cb: eddy_server_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_start_unix_server", r#loop, |hub, _| {
        let (client, callback) = (callback!(client_cb, arg)?, callback!(cb, arg)?);
        // SAFETY: the caller's promise.
        let (target, options) = unsafe { (unix(path)?, self::options(options)?) };
        hub.open(target, of_server(without_local(options)?)?, Some(client), callback)
    })
}

/// The same over a descriptor that is already connected, or already listening; eddy's own, unless refused.
///
/// EDDY_EINVAL: no descriptor is open there; EDDY_ENOTSUP: it is no stream socket; EDDY_ESTATE: it is not
/// connected, or not listening; EDDY_EBUSY: it is this loop's already. Refused, it stays yours, and as it
/// was. asyncio: open_connection(sock=...), loop.connect_accepted_socket().
///
/// # Safety
/// The descriptor is the caller's to give away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_open_socket(
    r#loop: *mut eddy_loop,
    fd: isize,
    options: *const eddy_options,
    cb: eddy_stream_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_open_socket", r#loop, |hub, _| {
        let callback = callback!(cb, arg)?;
        // SAFETY: the caller's promise.
        let options = of_client(without_local(unsafe { self::options(options) }?)?, None)?;
        adopt(hub, fd, |hub, socket| hub.open_socket(socket, options, callback))
    })
}

/// For a listening one: client_cb and cb as in eddy_start_server().
///
/// Refusals are those of eddy_open_socket(). So a service is activated by systemd: its sockets are descriptors
/// 3 and up, as many as LISTEN_FDS in the environment says. One with a file wants `keep_socket_file`, since the
/// file is systemd's. asyncio: start_server(sock=...).
///
/// # Safety
/// As for eddy_open_socket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_start_socket_server(
    r#loop: *mut eddy_loop,
    client_cb: eddy_stream_cb,
    fd: isize,
    options: *const eddy_options,
    cb: eddy_server_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_start_socket_server", r#loop, |hub, _| {
        let (client, callback) = (callback!(client_cb, arg)?, callback!(cb, arg)?);
        // SAFETY: the caller's promise.
        let options = of_server(without_local(unsafe { self::options(options) }?)?)?;
        adopt(hub, fd, |hub, socket| hub.serve_socket(socket, options, client, callback))
    })
}

/// Pipes, FIFOs, terminals, stdin and stdout; -1: that direction is not there. Eddy's own, unless refused; but
/// 0, 1 and 2 stay open, and a copy is used. EDDY_ENOTSUP: files, and whatever else cannot be waited for.
/// Nothing to read from: the reader is NULL. Nothing to write to: the writer refuses to write, and is there to
/// be closed.
///
/// Each direction ends by itself: a reader whose pipe has ended leaves the writer as it is, eddy_writer_write_eof()
/// closes the one end, and a writer whose reader has gone fails with EDDY_ELOST (EPIPE), which is noticed without
/// writing and raises no signal, while reading goes on. When both have ended the connection is over, and
/// eddy_writer_wait_closed() tells what the writer failed with, if it did. Both may be the same descriptor, of a
/// terminal or a socket.
///
/// The descriptors are made non-blocking, and what was blocking is so again when it is closed, for the sake of others
/// who have the same open file. A terminal that is one of 0, 1 and 2 is opened anew instead where that is possible, so
/// that nothing changes for anybody; otherwise the host's own printf() can fail for want of room meanwhile. Whoever reads
/// what is written to a copy of 1 has its end when the host has closed 1, too.
///
/// EDDY_EINVAL: not open, or not in that direction; EDDY_EBUSY: it is this loop's already. Refused, they stay yours, and
/// as they were. asyncio: connect_read_pipe() and connect_write_pipe() in one.
///
/// # Safety
/// The descriptors are the caller's to give away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_open_pipe(
    r#loop: *mut eddy_loop,
    read_fd: isize,
    write_fd: isize,
    options: *const eddy_options,
    cb: eddy_stream_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_open_pipe", r#loop, |hub, _| {
        let callback = callback!(cb, arg)?;
        // SAFETY: the caller's promise.
        let options = in_clear(without_local(unsafe { self::options(options) }?)?)?;
        // SAFETY: the caller's promise.
        let (read, write) = unsafe { (given(read_fd)?, given(write_fd)?) };
        hub.open_pipe(read, write, options, callback)
    })
}

/// Two streams joined in memory, with half-close and flow control: a network for tests. Nothing to wait for.
/// Writing to a side that was closed is EDDY_ELOST with EPIPE; an abort is ECONNRESET for the other side.
///
/// What writers[0] writes readers[1] reads, and the other way round, from the next round on, as if there were a socket
/// between that keeps nothing: what the one has not taken stays with the other. A reader that nobody reads takes a byte
/// more than twice its limit. A close lets the other side read what was written before, and then the end. Neither side
/// keeps eddy_loop_run() going by itself, not even with bytes that nobody takes. Of the options only the limit counts.
///
/// # Safety
/// There is room for two of each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_open_pair(
    r#loop: *mut eddy_loop,
    options: *const eddy_options,
    readers: *mut *mut eddy_reader,
    writers: *mut *mut eddy_writer,
) -> c_int {
    door::status("eddy_open_pair", r#loop, |hub, _| {
        // SAFETY: the caller's promise.
        let options = in_clear(without_local(unsafe { self::options(options) }?)?)?;
        if readers.is_null() || writers.is_null() {
            return Err(Refusal::Invalid);
        }
        for (at, stream) in hub.open_pair(options.limits)?.into_iter().enumerate() {
            // SAFETY: the caller's promise, and the check.
            unsafe {
                readers.add(at).write(stream.face(Kind::Reader) as *mut eddy_reader);
                writers.add(at).write(stream.face(Kind::Writer) as *mut eddy_writer);
            }
        }
        Ok(())
    })
}

/// A descriptor that becomes ours unless it is refused; -1: none.
///
/// # Safety
/// It is the caller's to give away.
unsafe fn given(fd: isize) -> Result<Option<Given>, Refusal> {
    if fd == -1 {
        return Ok(None);
    }
    let fd = open_descriptor(fd)?;
    // SAFETY: it is open, and nobody closes it before it is taken.
    Ok(Some(Given::new(unsafe { OwnedFd::from_raw_fd(fd) })))
}

/// A descriptor that is open.
fn open_descriptor(fd: isize) -> Result<c_int, Refusal> {
    let fd = c_int::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or(Refusal::Invalid)?;
    // SAFETY: asks whether there is such a descriptor, and changes nothing.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 { Err(Refusal::Invalid) } else { Ok(fd) }
}

/// Takes a descriptor, and gives it back with a refusal.
fn adopt(
    hub: &mut Hub,
    fd: isize,
    take: impl FnOnce(&mut Hub, OwnedFd) -> crate::hub::Adoption,
) -> Result<i64, Refusal> {
    let fd = open_descriptor(fd)?;
    // SAFETY: it is open, and the caller gives it away; if it is refused it is let go of again, unclosed.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    take(hub, socket).map_err(|(back, refusal)| {
        if let Some(socket) = back {
            let _ = socket.into_raw_fd();
        }
        refusal
    })
}
