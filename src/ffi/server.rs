//! Servers.

use std::ffi::{c_char, c_int, c_void};

use super::callbacks::*;
use super::door::{self, callback};
use super::types::*;

/// No new clients, from this moment; the present ones stay.
///
/// The file of a unix server goes, if it is still its own. asyncio: Server.close().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_close(server: *mut eddy_server) -> c_int {
    door::status("eddy_server_close", server, |hub, id| hub.server_close(id))
}

/// Until it is closed and its last client is gone.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_wait_closed(
    server: *mut eddy_server,
    cb: eddy_server_cb,
    arg: *mut c_void,
) -> eddy_op {
    door::start("eddy_server_wait_closed", server, |hub, id| hub.server_wait_closed(id, callback!(cb, arg)?))
}

/// As eddy_writer_close() on each client that is left.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_close_clients(server: *mut eddy_server) -> c_int {
    door::status("eddy_server_close_clients", server, |hub, id| hub.server_end_clients(id, false))
}

/// As eddy_writer_abort() on each.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_abort_clients(server: *mut eddy_server) -> c_int {
    door::status("eddy_server_abort_clients", server, |hub, id| hub.server_end_clients(id, true))
}

/// Until eddy_server_close().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_is_serving(server: *mut eddy_server) -> bool {
    door::ask("eddy_server_is_serving", server, |hub, id| hub.is_serving(id))
}

/// "127.0.0.1:8080", or a path; NULL past the last, and once closed. Lent until then.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_sockname(server: *mut eddy_server, index: usize) -> *const c_char {
    let name = door::ask("eddy_server_sockname", server, |hub, id| {
        hub.server_name(id, index).map(|name| name.map(|name| name.as_ptr()))
    });
    name.unwrap_or(std::ptr::null())
}

/// The descriptor; -1 past the last, and once closed.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_socket(server: *mut eddy_server, index: usize) -> isize {
    let fd = door::ask("eddy_server_socket", server, |hub, id| hub.server_socket(id, index));
    fd.map_or(-1, |fd| fd as isize)
}

/// Closes it. Those who wait for its end are still told.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_free(server: *mut eddy_server) {
    door::free("eddy_server_free", server, |hub, id| hub.server_free(id));
}
