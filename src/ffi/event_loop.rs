//! The loop: running it, stepping it from another one, and having it call.

use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use super::callbacks::*;
use super::deliver::{deliver, deliver_drained, deliver_read};
use super::door::{self, callback};
use super::errors::code;
use super::reader::user_error;
use super::types::*;
use crate::error::Refusal;
use crate::hub::{Call, Run};

/// For this thread. NULL: no memory, no descriptor, or 255 of them already.
///
/// asyncio: new_event_loop(). A thread may have several.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_new() -> *mut eddy_loop {
    match door::new_loop() {
        Ok(number) => number as *mut eddy_loop,
        Err(error) => {
            door::report(format!("eddy_loop_new: {error}"));
            std::ptr::null_mut()
        }
    }
}

/// What is still waiting ends with EDDY_ECANCELED; what was gathered is sent, if the sockets take it.
///
/// Callbacks run from within. Inside a callback of the same loop it takes effect when run returns.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_free(r#loop: *mut eddy_loop) {
    let number = r#loop as usize;
    if door::end_forked(number) {
        return;
    }
    let mut end = false;
    door::free("eddy_loop_free", r#loop, |hub, _| {
        if hub.number() != number {
            return Err(Refusal::Stale);
        }
        if hub.is_running() {
            hub.free_after_run = true;
            hub.stop();
        } else {
            hub.end();
            end = true;
        }
        Ok(())
    });
    if end {
        finish(number);
    }
}

/// Everybody is told; then the loop is gone.
fn finish(number: usize) {
    while let Ok(Some(call)) = door::within(number, |hub| Ok(hub.next_at_end())) {
        deliver(number, call);
    }
    door::end_loop(number);
}

/// Most of what there is to call: readers whose line is here already, and drains with nothing to wait for.
#[inline(never)]
fn deliver_quickly(r#loop: *mut eddy_loop) {
    loop {
        while let Some(line) = door::quick(r#loop, |hub, _| hub.next_line()) {
            deliver_read(line);
        }
        if !deliver_quick_drain(r#loop) {
            return;
        }
    }
}

#[inline(never)]
fn deliver_quick_drain(r#loop: *mut eddy_loop) -> bool {
    let drained = door::quick(r#loop, |hub, _| hub.next_drained());
    if let Some((callback, writer)) = drained {
        deliver_drained(callback, writer);
    }
    drained.is_some()
}

/// Runs. True: there is more to wait for.
fn drive(function: &'static str, r#loop: *mut eddy_loop, run: Run) -> Result<bool, Refusal> {
    let number = r#loop as usize;
    let run = door::call(function, r#loop, |hub, _| hub.begin_run(run))?;
    let ended = loop {
        deliver_quickly(r#loop);
        let step = door::within(number, |hub| {
            hub.step(run).map_err(|error| {
                hub.report(format!("{function}: {error}"), None);
                Refusal::System
            })
        });
        match step {
            Ok(Some(Call::Read(read))) => deliver_read(read),
            Ok(Some(call)) => deliver(number, call),
            Ok(None) => break Ok(()),
            Err(refusal) => break Err(refusal),
        }
    };
    let (alive, free) = door::within(number, |hub| {
        hub.end_run();
        if hub.free_after_run {
            hub.end();
        }
        Ok((hub.is_alive(), hub.free_after_run))
    })?;
    if free {
        finish(number);
    }
    ended.map(|()| alive && !free)
}

/// Until nothing is left to wait for, or eddy_loop_stop().
///
/// Left are operations, timers, posts, listening servers, bytes unsent and connections that are
/// closing; not open connections that nobody asks anything of. 0, or a negative code: EDDY_EBUSY from
/// within a callback of the same loop. asyncio: run_until_complete().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_run(r#loop: *mut eddy_loop) -> c_int {
    drive("eddy_loop_run", r#loop, Run { while_alive: true, one_round: None }).map_or_else(code, |_| 0)
}

/// Until eddy_loop_stop().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_run_forever(r#loop: *mut eddy_loop) -> c_int {
    drive("eddy_loop_run_forever", r#loop, Run::default()).map_or_else(code, |_| 0)
}

/// One round, which waits no longer than this; -1: no bound. 1: there is more to wait for; 0: there is not.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_run_once(r#loop: *mut eddy_loop, timeout_ms: c_int) -> c_int {
    let limit = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    let run = Run { while_alive: true, one_round: Some(limit) };
    drive("eddy_loop_run_once", r#loop, run).map_or_else(code, c_int::from)
}

/// Run returns after the callback that says so; whom else there was to call is called in the next run.
///
/// Stopped before it runs, the loop makes one round without waiting, as asyncio's does.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_stop(r#loop: *mut eddy_loop) -> c_int {
    door::status("eddy_loop_stop", r#loop, |hub, _| {
        hub.stop();
        Ok(())
    })
}

/// Also while it is being freed.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_is_running(r#loop: *mut eddy_loop) -> bool {
    door::ask("eddy_loop_is_running", r#loop, |hub, _| Ok(hub.is_running()))
}

/// Let go of this thread, while not running, for another one to attach.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_detach(r#loop: *mut eddy_loop) -> c_int {
    let idle =
        door::call(
            "eddy_loop_detach",
            r#loop,
            |hub, _| {
                if hub.is_running() { Err(Refusal::Busy) } else { Ok(()) }
            },
        );
    idle.map_or_else(code, |()| {
        door::detach(r#loop as usize);
        0
    })
}

/// Belong to the thread that calls this. EDDY_ETHREAD while another one has it.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_attach(r#loop: *mut eddy_loop) -> c_int {
    door::attach(r#loop as usize).map_or_else(code, |()| 0)
}

/// In the next round, in the order in which they were asked for.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_call_soon(r#loop: *mut eddy_loop, cb: eddy_loop_cb, arg: *mut c_void) -> eddy_op {
    door::start("eddy_loop_call_soon", r#loop, |hub, _| hub.call_soon(callback!(cb, arg)?))
}

/// Never early; equal ones in the order in which they were asked for. UINT64_MAX is never.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_call_later(
    r#loop: *mut eddy_loop,
    delay_ms: u64,
    cb: eddy_loop_cb,
    arg: *mut c_void,
) -> eddy_op {
    let delay = if delay_ms == u64::MAX { Duration::MAX } else { Duration::from_millis(delay_ms) };
    door::start("eddy_loop_call_later", r#loop, |hub, _| hub.call_later(delay, callback!(cb, arg)?))
}

/// From any thread; cb runs on the loop's. When the loop is freed before, it gets EDDY_ECANCELED. Refused, and
/// never called: EDDY_ESTALE, the loop was freed already; EDDY_EFULL, there is no memory for it.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_call_soon_threadsafe(
    r#loop: *mut eddy_loop,
    cb: eddy_loop_cb,
    arg: *mut c_void,
) -> c_int {
    callback!(cb, arg).and_then(|callback| door::post(r#loop as usize, callback)).map_or_else(code, |()| 0)
}

/// Its callback gets EDDY_ECANCELED, in the next round. EDDY_ESTALE: it has been called already.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_cancel(r#loop: *mut eddy_loop, op: eddy_op) -> c_int {
    let mut refused = None;
    let status = door::status("eddy_loop_cancel", r#loop, |hub, _| {
        // A receipt that is no good is told by the code, and is no stale handle to report.
        refused = hub.cancel(op).err();
        Ok(())
    });
    refused.map_or(status, code)
}

/// fn runs from the loop when the process has got this signal; it replaces the one that was there.
/// EDDY_EINVAL: no such signal, or none that a handler can do something about: SIGKILL, SIGSTOP,
/// SIGSEGV, SIGBUS, SIGFPE, SIGILL.
///
/// asyncio: add_signal_handler(), but in any thread, and several loops may watch the same signal: each is told. A
/// standing callback: it runs any number of times, once for all signals of one number that come between two rounds of
/// the loop, in order of their numbers, and never again once the call that removes or replaces it has returned, or
/// eddy_loop_free() has. What has come and is not told yet goes to the one that replaces it. A signal wakes a loop that
/// sleeps, but waiting for one is nothing to wait for: eddy_loop_run() returns nonetheless, eddy_loop_run_forever() goes
/// on.
///
/// A handler that the program had installed before goes on to be called, with the flags and the mask that it came with;
/// the default action does not take place while a loop watches. One that is installed later takes the place of eddy's,
/// and hears of the signal alone, unless it calls the one that it found there.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_add_signal_handler(
    r#loop: *mut eddy_loop,
    signum: c_int,
    r#fn: eddy_fn,
    arg: *mut c_void,
) -> c_int {
    door::status("eddy_loop_add_signal_handler", r#loop, |hub, _| {
        hub.add_signal_handler(signum, callback!(r#fn, arg)?)
    })
}

/// EDDY_ESTATE: this loop has none for this signal. The signal does again what it did before.
///
/// What has come and is not told yet is dropped. When no loop of the process watches the signal any more, what was there
/// before eddy's handler is put back (so do eddy_loop_free(), and the end of a thread, for all of a loop's; and a forked
/// child has nothing of it from the beginning); unless the program has installed another one over it since, which is
/// left alone. asyncio: remove_signal_handler().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_remove_signal_handler(r#loop: *mut eddy_loop, signum: c_int) -> c_int {
    door::status("eddy_loop_remove_signal_handler", r#loop, |hub, _| hub.remove_signal_handler(signum))
}

/// NULL: the default one, which prints a line on standard error.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_set_exception_handler(
    r#loop: *mut eddy_loop,
    cb: eddy_exception_cb,
    arg: *mut c_void,
) -> c_int {
    door::status("eddy_loop_set_exception_handler", r#loop, |hub, _| {
        hub.set_exception_handler(callback!(cb, arg).ok());
        Ok(())
    })
}

/// To the exception handler, from the next round, as if eddy itself had something to say. Code 0: no error.
///
/// For what goes wrong where nobody else can be told, as in a layer above this one. `error` in the handler has `code`
/// (any of the header's, or a positive one of yours) and the message; NULL with code 0. Equal messages that wait are
/// counted, not repeated, and while the loop is being freed nothing is told any more. EDDY_EINVAL: no message, or no
/// UTF-8. asyncio: call_exception_handler().
///
/// # Safety
/// `message` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_loop_call_exception_handler(
    r#loop: *mut eddy_loop,
    message: *const c_char,
    code: c_int,
) -> c_int {
    door::status("eddy_loop_call_exception_handler", r#loop, |hub, _| {
        // SAFETY: the caller's promise.
        let text = unsafe { door::text(message) }?.ok_or(Refusal::Invalid)?;
        // SAFETY: the same.
        hub.report(text.into(), unsafe { user_error(code, message) }?);
        Ok(())
    })
}

/// Milliseconds since the loop was made, by a clock that never goes back.
///
/// That clock is the system's monotonic one, unless eddy_loop_set_clock() has said otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_time(r#loop: *mut eddy_loop) -> u64 {
    door::ask("eddy_loop_time", r#loop, |hub, _| Ok(hub.time().as_millis() as u64))
}

/// To watch from another loop: readable whenever eddy_loop_run_once(loop, 0) has work. -1: no loop.
///
/// Timers do not make it readable; eddy_loop_timeout() tells when the next is due, and is to be asked again after each
/// round. Watched once it has been asked for, it becomes readable also when something is started between two rounds:
/// a write, a read of what is buffered, a call, a timer that is due before the others. By level or by edge; it stays the
/// loop's own, and is to be closed by nobody.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_fd(r#loop: *mut eddy_loop) -> c_int {
    door::ask("eddy_loop_fd", r#loop, |hub, _| Ok(Some(hub.watch()))).unwrap_or(-1)
}

/// Milliseconds until something is due; -1: nothing is.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_timeout(r#loop: *mut eddy_loop) -> c_int {
    let timeout = door::ask("eddy_loop_timeout", r#loop, |hub, _| Ok(hub.timeout()));
    // Rounded up, so that nobody wakes up too early and then waits for nothing.
    timeout.map_or(-1, |due| due.as_nanos().div_ceil(1_000_000).min(c_int::MAX as u128) as c_int)
}

/// Before it sleeps, look for events this long: quicker answers, for a processor that is never idle.
///
/// Default 0: sleep at once. To be woken up takes some 20 to 50 microseconds, which a peer on the same machine or
/// network waits for each time; 50 is a good number. It costs nothing while there is always something to do.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_set_busy_poll(r#loop: *mut eddy_loop, microseconds: u64) -> c_int {
    door::status("eddy_loop_set_busy_poll", r#loop, |hub, _| {
        hub.set_busy_poll(Duration::from_micros(microseconds));
        Ok(())
    })
}

/// For tests: not 0, time stands still while the loop has something to do, and when it is idle jumps to
/// the next timer. EDDY_ESTATE: something has been timed on it already.
///
/// Idle is a loop that has nobody to call, finds no descriptor ready and waits for no name to be looked up. What other
/// threads and processes, or the network, will do a moment later is not waited for while a timer is set: the timer
/// comes first. Without a timer the loop waits as ever, and no time passes. eddy_loop_run_once() lets no more time pass
/// than its timeout says: 0 none, -1 as much as it takes to the next timer; so it moves the clock by steps.
/// Every timer of the loop goes by this clock, eddy's own too; eddy_loop_time() and eddy_loop_timeout() tell its
/// milliseconds; and it begins where the other one stood, so it never goes back either. 0: the system's clock again, on
/// the same condition.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_loop_set_clock(r#loop: *mut eddy_loop, virtual_clock: c_int) -> c_int {
    door::status("eddy_loop_set_clock", r#loop, |hub, _| hub.set_clock(virtual_clock != 0))
}
