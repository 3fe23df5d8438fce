//! Structs whose first field is their size, as C gives them: eddy_options, eddy_transport_ops, eddy_stats. Each lies in
//! memory of just that size, so that a look beyond it is seen.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::ptr;

use eddy::ffi::custom::*;
use eddy::ffi::looking::*;
use eddy::ffi::opening::*;
use eddy::ffi::tls::*;
use eddy::ffi::types::*;
use eddy::ffi::writer::eddy_writer_start_tls;

use super::abi::{EINVAL, ENOTSUP, ESTALE, Loop, came, opened, served, written};
use super::input::Input;

const LARGEST: usize = 4096;
const WORD: usize = size_of::<usize>();

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.below(10) {
        0 => ops(&mut input),
        1 => stats(&mut input),
        _ => options(&mut input),
    }
}

/// A struct of any size, of which no more is there than its first field says; one that is too small, or too large to be
/// any, is only a size.
struct Struct {
    bytes: Box<[u8]>,
    size: usize,
}

impl Struct {
    fn new<T>(input: &mut Input) -> Struct {
        let size = match input.below(4) {
            0 => usize::from(input.byte()),
            1 => usize::from(u16::from_le_bytes([input.byte(), input.byte()])),
            _ => size_of::<T>(),
        };
        let there = if (WORD..=LARGEST).contains(&size) { size } else { WORD };
        let mut new = Struct { bytes: vec![0; there].into(), size };
        new.set(0, &size.to_ne_bytes());
        new
    }

    /// A field, if all of it is there.
    fn set(&mut self, at: usize, value: &[u8]) {
        if let Some(field) = self.bytes.get_mut(at..at + value.len()) {
            field.copy_from_slice(value);
        }
    }

    /// As far as `T` goes: the rest must be zero.
    fn known<T>(&self) -> Option<T> {
        let mut known = MaybeUninit::<T>::zeroed();
        let both = self.bytes.len().min(size_of::<T>());
        // SAFETY: no more than there is of each; zero is a value of every field, and so is what is in the bytes.
        let known = unsafe {
            ptr::copy_nonoverlapping(self.bytes.as_ptr(), known.as_mut_ptr().cast(), both);
            known.assume_init()
        };
        let possible = (WORD..=LARGEST).contains(&self.size);
        (possible && self.bytes.iter().skip(size_of::<T>()).all(|byte| *byte == 0)).then_some(known)
    }
}

fn number(input: &mut Input) -> [u8; 8] {
    let value = match input.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => i64::MAX as u64,
        3 => i32::MAX as u64,
        4 => 1 << 31,
        5 => u64::MAX / 8,
        _ => u64::from(input.byte()),
    };
    value.to_ne_bytes()
}

// ---- eddy_options ---------------------------------------------------------------------------------------------------

/// What can be pointed to.
const TEXTS: [Option<&std::ffi::CStr>; 7] = [
    None,
    Some(c"127.0.0.1"),
    Some(c"server.test"),
    Some(c"[::1]"),
    Some(c""),
    Some(c"no name"),
    Some(c"\xff"),
];

fn pointer(text: Option<&'static std::ffi::CStr>) -> *const c_char {
    text.map_or(ptr::null(), std::ffi::CStr::as_ptr)
}

fn is(given: *const c_char, texts: &[usize]) -> bool {
    texts.iter().any(|n| pointer(TEXTS[*n]) == given)
}

/// By field: where it is, and how wide. Pointers are 0 wide.
macro_rules! fields {
    ($($field:ident: $width:expr),*) => { [$((offset_of!(eddy_options, $field), $width)),*] };
}

const FIELDS: [(usize, usize); 18] = fields!(
    limit: 8, max_write_buffer: 8, timeout_ms: 8, happy_eyeballs_ms: 8, local_host: 0, local_port: 2, family: 4, tls: 0,
    server_hostname: 0, tls_shutdown_ms: 8, tls_takes_buffered: 4, max_clients: 8, backlog: 4, reuse_port: 4,
    no_reuse_address: 4, keep_socket_file: 4, keep_alive: 4, delay: 4
);

fn options(input: &mut Input) {
    let client = eddy_tls_client_new();
    // SAFETY: both end with a NUL.
    let server = unsafe { eddy_tls_server_new(super::SERVER.as_ptr(), super::KEY.as_ptr()) };
    // SAFETY: as above.
    unsafe { eddy_tls_trust(client, super::AUTHORITY.as_ptr()) };
    let lacking = eddy_tls_client_new();
    eddy_tls_free(lacking);
    let settings = [ptr::null_mut(), client, server, lacking];

    let call = input.below(9);
    let mut given = Struct::new::<eddy_options>(input);
    for _ in 0..input.below(6) {
        match FIELDS[input.below(FIELDS.len())] {
            (at, 0) if at == offset_of!(eddy_options, tls) => {
                given.set(at, &(settings[input.below(settings.len())] as usize).to_ne_bytes());
            }
            (at, 0) => given.set(at, &(pointer(TEXTS[input.below(TEXTS.len())]) as usize).to_ne_bytes()),
            (at, width) => given.set(at, &number(input)[..width]),
        }
    }
    let beyond = size_of::<eddy_options>() + usize::from(input.byte());
    given.set(beyond, &[input.byte()]);

    let known = given.known::<eddy_options>();
    let expected = known.as_ref().is_some_and(|known| is_right(known, call, client, server));
    let accepted = try_call(call, given.bytes.as_ptr().cast());
    assert_eq!(accepted, expected, "call {call}, size {}", given.size);
    eddy_tls_free(client);
    eddy_tls_free(server);
}

const CONNECTION: usize = 0;
const SOCKET_SERVER: usize = 5;
const PIPE: usize = 6;
const PAIR: usize = 7;
const START_TLS: usize = 8;

/// The header's rules.
fn is_right(known: &eddy_options, call: usize, client: *mut eddy_tls, server: *mut eddy_tls) -> bool {
    let local = !known.local_host.is_null() || known.local_port != 0;
    let asks_for_tls =
        !known.server_hostname.is_null() || known.tls_shutdown_ms != 0 || known.tls_takes_buffered != 0;
    let named = is(known.server_hostname, &[1, 2]);
    let right_tls = match known.tls {
        tls if tls.is_null() => call != START_TLS && !asks_for_tls,
        _ if call == PIPE || call == PAIR => false,
        tls if tls == client => match call {
            CONNECTION => named || known.server_hostname.is_null(),
            2 | 3 | SOCKET_SERVER => false,
            _ => named,
        },
        tls if tls == server => {
            known.server_hostname.is_null() && matches!(call, 2 | 3 | SOCKET_SERVER | START_TLS)
        }
        _ => false,
    };
    matches!(known.family, 0 | libc::AF_INET | libc::AF_INET6)
        && known.backlog >= 0
        && known.limit <= isize::MAX as usize / 4
        && is(known.local_host, &[0, 1, 2, 3])
        && (call == CONNECTION || !local)
        && right_tls
}

/// Calls, cancels what was accepted, and frees all of it.
fn try_call(call: usize, options: *const eddy_options) -> bool {
    let mut eddy = Loop::new();
    let handle = eddy.handle;
    if call == PAIR {
        let (mut readers, mut writers) = ([ptr::null_mut(); 2], [ptr::null_mut(); 2]);
        // SAFETY: as many as are asked for, and options of the size that they say.
        let code = unsafe { eddy_open_pair(handle, options, readers.as_mut_ptr(), writers.as_mut_ptr()) };
        check_code(code.into());
        eddy.free();
        return code == 0;
    }
    let (fd, listener, _other) = descriptors(call);
    let mut stream = ptr::null_mut();
    if call == START_TLS {
        let fd = fd.as_ref().unwrap().try_clone().unwrap().into_raw_fd();
        // SAFETY: given away.
        let opening = eddy.start(|argument| unsafe {
            eddy_open_socket(handle, fd as isize, ptr::null(), Some(opened), argument)
        });
        let op = opening.op.get();
        eddy.turn();
        stream = eddy.started(op).writer.get() as *mut eddy_writer;
        assert!(!stream.is_null());
    }
    let raw = fd.as_ref().or(listener.as_ref()).map_or(-1, |fd| fd.as_raw_fd() as isize);
    let operation = eddy.start(|argument| {
        // SAFETY: the texts end with a NUL, the options are of the size that they say, and the operation lives as long as
        // the loop; a descriptor that is taken is not ours any more, below.
        unsafe {
            match call {
                CONNECTION => {
                    eddy_open_connection(handle, c"127.0.0.1".as_ptr(), 1, options, Some(opened), argument)
                }
                1 => eddy_open_unix_connection(handle, c"@x".as_ptr(), options, Some(opened), argument),
                2 => {
                    let host = c"127.0.0.1".as_ptr();
                    eddy_start_server(handle, Some(came), host, 0, options, Some(served), argument)
                }
                3 => eddy_start_unix_server(
                    handle,
                    Some(came),
                    c"@x".as_ptr(),
                    options,
                    Some(served),
                    argument,
                ),
                4 => eddy_open_socket(handle, raw, options, Some(opened), argument),
                SOCKET_SERVER => {
                    eddy_start_socket_server(handle, Some(came), raw, options, Some(served), argument)
                }
                PIPE => eddy_open_pipe(handle, raw, raw, options, Some(opened), argument),
                _ => eddy_writer_start_tls(stream, options, Some(written), argument),
            }
        }
    });
    let op = operation.op.get();
    check_code(op);
    let takes = matches!(call, 4 | SOCKET_SERVER | PIPE);
    if op >= 0 {
        if takes {
            let _ = fd.or(listener).map(IntoRawFd::into_raw_fd);
        }
        eddy.cancel(op);
        eddy.turn();
        assert_eq!(eddy.started(op).called.get(), 1);
    } else if takes {
        // SAFETY: asks whether it is open still.
        assert!(unsafe { libc::fcntl(raw as c_int, libc::F_GETFD) } >= 0, "refused, and closed");
    }
    eddy.free();
    op >= 0
}

fn check_code(op: i64) {
    assert!(op >= 0 || [EINVAL, ESTALE, ENOTSUP].map(i64::from).contains(&op), "refused with {op}");
}

/// A connected one, or one that listens; and the other end.
fn descriptors(call: usize) -> (Option<OwnedFd>, Option<OwnedFd>, Option<UnixStream>) {
    match call {
        4 | PIPE | START_TLS => {
            let (ours, other) = UnixStream::pair().unwrap();
            (Some(ours.into()), None, Some(other))
        }
        SOCKET_SERVER => {
            use std::os::linux::net::SocketAddrExt;
            let name = std::os::unix::net::SocketAddr::from_abstract_name(format!(
                "eddy-fuzz-{}",
                std::process::id()
            ));
            (None, Some(UnixListener::bind_addr(&name.unwrap()).unwrap().into()), None)
        }
        _ => (None, None, None),
    }
}

// ---- eddy_transport_ops ---------------------------------------------------------------------------------------------

unsafe extern "C-unwind" fn write(_: *mut eddy_transport, _: *const c_char, _: usize, _: *mut c_void) {}
unsafe extern "C-unwind" fn command(_: *mut eddy_transport, _: *mut c_void) {}
unsafe extern "C-unwind" fn release(arg: *mut c_void) {
    // SAFETY: the argument of the transport.
    let released = unsafe { &*arg.cast::<Cell<u32>>() };
    released.set(released.get() + 1);
}

fn ops(input: &mut Input) {
    let mut given = Struct::new::<eddy_transport_ops>(input);
    let there = input.byte();
    for n in 0..7 {
        let function = match n {
            _ if there >> n & 1 != 0 => 0,
            0 => write as *const () as usize,
            6 => release as *const () as usize,
            _ => command as *const () as usize,
        };
        given.set(WORD * (n + 1), &function.to_ne_bytes());
    }
    given.set(size_of::<eddy_transport_ops>() + usize::from(input.byte()), &[input.byte()]);

    let expected = given.known::<eddy_transport_ops>().is_some_and(|known| {
        known.write.is_some()
            && known.close.is_some()
            && known.abort.is_some()
            && known.release.is_some()
            && known.pause_reading.is_some() == known.resume_reading.is_some()
    });
    let eddy = Loop::new();
    let released = Cell::new(0);
    // SAFETY: ops of the size that they say; the argument lives longer than the loop.
    let transport = unsafe {
        eddy_transport_new(eddy.handle, given.bytes.as_ptr().cast(), (&raw const released).cast_mut().cast())
    };
    assert_eq!(!transport.is_null(), expected, "size {}", given.size);
    eddy.turn();
    eddy.free();
    assert_eq!(released.get(), u32::from(expected));
}

// ---- eddy_stats -----------------------------------------------------------------------------------------------------

fn stats(input: &mut Input) {
    let mut given = Struct::new::<eddy_stats>(input);
    given.bytes[WORD..].fill(0xaa);
    let eddy = Loop::new();
    eddy.turn();
    // SAFETY: of the size that it says.
    let code = unsafe { eddy_loop_stats(eddy.handle, given.bytes.as_mut_ptr().cast()) };
    assert_eq!(code == 0, (WORD..=LARGEST).contains(&given.size));
    assert_eq!(given.bytes[..WORD], given.size.to_ne_bytes());
    if code == 0 {
        assert!(given.bytes.iter().skip(size_of::<eddy_stats>()).all(|byte| *byte == 0));
        assert!(given.size < 2 * WORD || given.bytes[WORD..2 * WORD] == 1u64.to_ne_bytes());
    }
    eddy.free();
}
