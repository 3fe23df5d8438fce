//! Hosts, ports and paths, as C gives them.

use std::ffi::{CStr, CString, c_char};
use std::net::{IpAddr, SocketAddr};
use std::ptr;

use eddy::ffi::opening::*;
use eddy::ffi::server::{eddy_server_socket, eddy_server_sockname};
use eddy::ffi::types::*;
use eddy::net::literal;

use super::abi::{ECANCELED, EINVAL, Loop, came, opened, served};
use super::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let what = input.below(3);
    let port = u16::from_le_bytes([input.byte(), input.byte()]);
    let text = CString::new(input.text()).unwrap();
    match what {
        0 => host_to_connect_to(&text, port),
        1 => host_to_listen_on(&text, port),
        _ => path(&text),
    }
}

/// What cannot be a host, whoever is asked.
fn is_odd(host: &str) -> bool {
    let unheard = |c: char| c.is_ascii_control() || " /\\@?#\"<>".contains(c);
    host.is_empty() || host.len() > 257 || host.contains(unheard)
}

/// What is one, for anybody.
fn is_plain(host: &str) -> bool {
    let heard = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    !host.is_empty() && host.len() <= 253 && host.chars().all(heard) || host.parse::<IpAddr>().is_ok()
}

fn check_host(text: &CStr, accepted: bool) {
    match text.to_str() {
        Err(_) => assert!(!accepted, "{text:?} is no UTF-8"),
        Ok(host) if is_odd(host) => assert!(!accepted, "{host:?} was taken"),
        Ok(host) if is_plain(host) => assert!(accepted, "{host:?} was refused"),
        Ok(_) => {}
    }
}

/// An address of this machine alone.
fn loopback(text: &CStr, port: u16) -> Option<SocketAddr> {
    let host = text.to_str().ok()?;
    let found = literal(host, port);
    if let Some(address) = found {
        assert_eq!(address.port(), port);
        let again = literal(&address.ip().to_string(), port);
        assert_eq!(again.map(|again| again.ip()), Some(address.ip()), "{host:?}");
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        assert_eq!(found, Some(SocketAddr::new(ip, port)));
    }
    found.filter(|address| address.ip().is_loopback() && !host.contains('%'))
}

/// Nobody is asked, and nothing is connected to: it is cancelled before its first turn.
fn host_to_connect_to(text: &CStr, port: u16) {
    let mut eddy = Loop::new();
    let handle = eddy.handle;
    // SAFETY: the text ends with a NUL, and the operation lives as long as the loop.
    let operation = eddy.start(|argument| unsafe {
        eddy_open_connection(handle, text.as_ptr(), port, ptr::null(), Some(opened), argument)
    });
    let op = operation.op.get();
    if port == 0 {
        assert_eq!(op, EINVAL.into());
    } else {
        check_host(text, op >= 0);
    }
    cancel(eddy, op);
    loopback(text, port);
}

fn cancel(eddy: Loop, op: eddy_op) {
    if op >= 0 {
        eddy.cancel(op);
        eddy.turn();
        assert_eq!(eddy.started(op).code.get(), ECANCELED);
    } else {
        assert_eq!(op, EINVAL.into());
    }
    eddy.free();
}

/// An address of this machine is listened on, and comes back as it was given.
fn host_to_listen_on(text: &CStr, port: u16) {
    let mut eddy = Loop::new();
    let handle = eddy.handle;
    let address = loopback(text, 0);
    let port = if address.is_some() { 0 } else { port };
    // SAFETY: as above.
    let operation = eddy.start(|argument| unsafe {
        eddy_start_server(handle, Some(came), text.as_ptr(), port, ptr::null(), Some(served), argument)
    });
    let op = operation.op.get();
    let Some(address) = address else {
        if !text.is_empty() {
            check_host(text, op >= 0);
        }
        return cancel(eddy, op);
    };
    assert!(op >= 0);
    eddy.turn();
    let name = server_name(&mut eddy, op);
    if let Some(name) = name {
        let listening: SocketAddr = name.parse().unwrap();
        assert_eq!(listening.ip(), address.ip());
        assert_ne!(listening.port(), 0);
    }
    eddy.free();
}

/// What the server listens on, if it could.
fn server_name(eddy: &mut Loop, op: eddy_op) -> Option<String> {
    let operation = eddy.started(op);
    assert_eq!(operation.called.get(), 1);
    if operation.code.get() != 0 {
        return None;
    }
    let server = operation.writer.get() as *mut eddy_server;
    assert!(eddy_server_socket(server, 0) > 2);
    // SAFETY: lent until the server is closed.
    Some(unsafe { owned(eddy_server_sockname(server, 0)) })
}

/// # Safety
/// A text.
unsafe fn owned(text: *const c_char) -> String {
    assert!(!text.is_null());
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Abstract names are listened on, connected to, and come back as they were given; files are only looked at.
fn path(text: &CStr) {
    let mut eddy = Loop::new();
    let handle = eddy.handle;
    // SAFETY: as above.
    let operation = eddy.start(|argument| unsafe {
        eddy_start_unix_server(handle, Some(came), text.as_ptr(), ptr::null(), Some(served), argument)
    });
    let op = operation.op.get();
    // sun_path, with the NUL that a path has behind it, or an abstract name before.
    let most = 108 - usize::from(!text.to_bytes().starts_with(b"@"));
    let right = text.to_str().is_ok() && (1..=most).contains(&text.count_bytes());
    assert_eq!(op >= 0, right, "{text:?}");
    if !right || !text.to_bytes().starts_with(b"@") {
        return cancel(eddy, op);
    }
    eddy.turn();
    if let Some(name) = server_name(&mut eddy, op) {
        assert_eq!(Ok(&name[..]), text.to_str());
        // SAFETY: as above.
        let client = eddy.start(|argument| unsafe {
            eddy_open_unix_connection(handle, text.as_ptr(), ptr::null(), Some(opened), argument)
        });
        let client = client.op.get();
        assert!(client >= 0);
        while eddy.started(client).is_pending() {
            eddy.turn();
        }
        assert_eq!(eddy.started(client).code.get(), 0, "{text:?}");
    }
    eddy.free();
}
