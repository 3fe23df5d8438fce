//! Servers.

use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use super::callbacks::*;
use super::door::{self, callback};
use super::types::*;

/// No new clients for a while: they wait in the kernel, as many as the backlog says. EDDY_ESTATE: closed.
///
/// Once it has returned, client_cb runs no more until eddy_server_resume(). The server is still one that
/// serves: eddy_server_is_serving() says so, its sockets stay open, and eddy_loop_run() goes on for it.
/// A pause in a pause is 0, and one resume ends both. asyncio has no such call.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_pause(server: *mut eddy_server) -> c_int {
    door::status("eddy_server_pause", server, |hub, id| hub.server_pause(id))
}

/// Those who have waited are accepted, from the next round. EDDY_ESTATE: closed.
///
/// Without a pause it does nothing, and is 0.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_resume(server: *mut eddy_server) -> c_int {
    door::status("eddy_server_resume", server, |hub, id| hub.server_resume(id))
}

/// No new clients, from this moment; the present ones stay.
///
/// The file of a unix server goes, if it is still its own. asyncio: Server.close().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_close(server: *mut eddy_server) -> c_int {
    door::status("eddy_server_close", server, |hub, id| hub.server_close(id))
}

/// Closes it, now; cb runs when the last client is gone. At grace_ms those that are left are ended: closed
/// if they have nothing unsent, else aborted; then cb gets EDDY_ETIMEDOUT. EDDY_NEVER: never; 0: at once.
///
/// So no error means that every client has ended by itself, or was closed by the program, and none was cut
/// off; EDDY_ETIMEDOUT, that the grace was over for some, of which the message tells how many were closed
/// and how many aborted (those have lost bytes that were written). With 0 that is so for whoever is
/// connected; what has been written is sent before, as far as the sockets take it.
///
/// A program tells its clients to end by its own protocol: a client in the middle of something goes on
/// reading and writing. A second shutdown is one more to be told, and the shorter grace is the one that
/// counts. Cancelled, its cb gets EDDY_ECANCELED: the server stays closed, and the grace it gave counts no
/// more. A server that is freed keeps to it, and cb still runs. A server that is closed already can be shut
/// down all the same.
///
/// What cb waits for is what eddy_server_wait_closed() waits for. eddy_loop_run() may go on after it for
/// the sake of peers that have not ended their side: for 2 seconds, and for 30 at the most if they do not
/// even acknowledge what they were sent. eddy_loop_stop() or eddy_loop_free() in cb does not wait for them.
/// asyncio has no such call; it is close(), then close_clients() or abort_clients() by a timer.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_server_shutdown(
    server: *mut eddy_server,
    grace_ms: u64,
    cb: eddy_server_cb,
    arg: *mut c_void,
) -> eddy_op {
    let grace = if grace_ms == u64::MAX { Duration::MAX } else { Duration::from_millis(grace_ms) };
    door::start("eddy_server_shutdown", server, |hub, id| hub.server_shutdown(id, grace, callback!(cb, arg)?))
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

/// Until eddy_server_close(), also while it is paused.
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
