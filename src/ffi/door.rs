//! Where C comes in: the loops of the process, the wall that stops panics, and what arguments become.
//!
//! A loop belongs to one thread at a time; which one is an atomic beside it. So a call finds its loop by the number in
//! the handle, compares the owner with itself, and borrows: no lock, no reference count, no system call.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use super::errors::code;
use super::types::*;
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::event::{self, Remote};
use crate::hub::{Connection, Hub, Posted, Server};
use crate::memory::Memory;
use crate::table::{self, Id, Kind, LOOPS};
use crate::tls;

/// Owners that are not threads.
const NOBODY: usize = 0;
const DETACHED: usize = 1;
const FORKED: usize = 2;

/// Where a loop of some number lives.
struct Place {
    owner: AtomicUsize,
    /// The loop's ticket.
    number: AtomicUsize,
    /// Where the generations of the next loop here begin, and the counters of its receipts.
    generation: AtomicUsize,
    serial: AtomicU32,
    hub: RefCell<Option<Box<Hub>>>,
    /// What other threads may touch, and the ticket of the loop whose that is.
    remote: Mutex<Option<(usize, Arc<Remote<Posted>>)>>,
}

// SAFETY: `hub` is touched only by the thread that `owner` names. It changes from one to another only through
// DETACHED, NOBODY or FORKED, by a release that an acquire of the next one follows.
unsafe impl Sync for Place {}

static PLACES: [Place; LOOPS] = [const {
    Place {
        owner: AtomicUsize::new(NOBODY),
        number: AtomicUsize::new(0),
        generation: AtomicUsize::new(0),
        serial: AtomicU32::new(0),
        hub: RefCell::new(None),
        remote: Mutex::new(None),
    }
}; LOOPS];

/// The calling thread, as an owner: looked at in every call, and so the place where the thread's own data lies, which
/// a register knows. (A thread-local variable's address would do as well, and costs a call.)
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]
#[inline]
fn this_thread() -> usize {
    let thread: usize;
    // SAFETY: the ABI has this word say where it lies itself.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) thread, options(pure, readonly, nostack, preserves_flags));
    }
    thread
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(miri))))]
fn this_thread() -> usize {
    // (Not pthread_self(): that may be a small number, as under Miri, and then one of those above.)
    thread_local! { static HERE: u8 = const { 0 } }
    HERE.with(|here| (&raw const *here).addr())
}

thread_local! {
    /// The place of the loop that this thread made or attached last: who hears of its mistakes.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    /// The handle that a call was refused for, where that is not the first.
    static BLAME: Cell<Option<(&'static str, usize)>> = const { Cell::new(None) };
    static END: EndOfThread = const { EndOfThread };
}

/// A thread that ends takes its loops along: descriptors are closed, and nobody is called.
struct EndOfThread;

impl Drop for EndOfThread {
    fn drop(&mut self) {
        PLACES.iter().filter(|place| place.is_mine()).for_each(Place::vacate);
    }
}

impl Place {
    #[inline]
    fn is_mine(&self) -> bool {
        self.owner.load(Ordering::Relaxed) == this_thread()
    }

    /// Takes the loop apart; its owner does.
    fn vacate(&self) {
        if let Ok(mut hub) = self.hub.try_borrow_mut()
            && let Some(hub) = hub.take()
        {
            self.generation.store(hub.next_generation(), Ordering::Relaxed);
            self.serial.store(hub.serial(), Ordering::Relaxed);
            drop(hub.remote().close());
        }
        self.number.store(0, Ordering::Relaxed);
        *self.remote.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.owner.store(NOBODY, Ordering::Release);
    }

    /// Gives up the copy of a loop that a forked child has; the child's only thread does. The descriptors are closed
    /// without a word to the epoll, which is the parent's too. What may still be in use stays where it is, and its place
    /// is never used again: by a callback further down the stack, which holds what it was lent, or by a thread that
    /// the child does not have, which stopped in the middle of anything, perhaps with a lock in its hand.
    fn abandon(&self) {
        self.number.store(0, Ordering::Relaxed);
        let (Ok(mut hub), Ok(mut remote)) = (self.hub.try_borrow_mut(), self.remote.try_lock()) else {
            return;
        };
        if let Some(hub) = &mut *hub {
            hub.drop_sockets();
        }
        if !hub.as_ref().is_some_and(|hub| hub.is_running()) {
            *hub = None;
            *remote = None;
            self.owner.store(NOBODY, Ordering::Release);
        }
    }

    #[cold]
    fn refusal(&self, number: usize) -> Refusal {
        let of_this_loop = match Kind::of(number) {
            None => false,
            Some(Kind::Loop) => self.number.load(Ordering::Relaxed) == number,
            Some(_) => true,
        };
        if of_this_loop && self.owner.load(Ordering::Relaxed) != NOBODY {
            Refusal::Thread
        } else {
            Refusal::Stale
        }
    }
}

extern "C" fn before_fork() {
    tls::before_fork();
}

extern "C" fn after_fork() {
    tls::after_fork();
}

/// A child that goes on after fork shares the parent's epoll: it may free its loops, and nothing else.
extern "C" fn forked() {
    tls::after_fork();
    event::signals_forked();
    for place in &PLACES {
        if place.owner.load(Ordering::Relaxed) != NOBODY {
            place.owner.store(FORKED, Ordering::Relaxed);
        }
    }
}

/// EDDY_DEBUG=abort: misuse ends the process, where a debugger sees it.
static ABORT: AtomicBool = AtomicBool::new(false);

/// Once for the process, with the first loop, or the first settings of TLS.
pub(super) fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: these touch nothing but atomics and the lock that they take and give back, and stay loaded for as long
        // as the process lives (the library is linked with -z nodelete).
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(forked)) };
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // A panic within a call is told by its code and a report; nothing is printed for it.
            let inside = |place: &Place| place.is_mine() && place.hub.try_borrow().is_err();
            if !PLACES.iter().any(inside) {
                previous(info);
            }
        }));
        ABORT.store(std::env::var_os("EDDY_DEBUG").is_some_and(|value| value == "abort"), Ordering::Relaxed);
    });
}

// ---- a loop's life ------------------------------------------------------------------------------------------------

pub(super) fn new_loop() -> Result<usize, Error> {
    set_up();
    let end = |errno| Error::System { what: "make a loop".into(), errno };
    // Asked for by name, so that the thread's end is told; too late if it is ending already.
    END.try_with(|_| ()).map_err(|_| end(libc::ESHUTDOWN))?;
    panic::catch_unwind(settle_in).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        Err(end(libc::ENOMEM))
    })
}

/// Finds a place for a new loop of this thread.
fn settle_in() -> Result<usize, Error> {
    for (index, place) in PLACES.iter().enumerate().skip(1) {
        if place.owner.compare_exchange(NOBODY, this_thread(), Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            continue;
        }
        let (Ok(mut hub), Ok(mut remote)) = (place.hub.try_borrow_mut(), place.remote.try_lock()) else {
            // Held since a fork, by a thread that this process does not have.
            place.owner.store(FORKED, Ordering::Relaxed);
            continue;
        };
        let generation = place.generation.load(Ordering::Relaxed).wrapping_add(1);
        let number = table::loop_number(index, generation);
        let made = Hub::new(number, generation, place.serial.load(Ordering::Relaxed)).map_err(|error| {
            place.owner.store(NOBODY, Ordering::Release);
            Error::system("make a loop", &error)
        })?;
        *remote = Some((number, made.remote().clone()));
        *hub = Some(Box::new(made));
        place.number.store(number, Ordering::Relaxed);
        CURRENT.set(index);
        return Ok(number);
    }
    Err(Error::System { what: "make a loop".into(), errno: libc::EMFILE })
}

pub(super) fn end_loop(number: usize) {
    PLACES[table::loop_of(number)].vacate();
}

/// True: the loop is a copy that fork left in a child, and is given up now.
pub(super) fn end_forked(number: usize) -> bool {
    let place = &PLACES[table::loop_of(number)];
    let copy =
        place.owner.load(Ordering::Acquire) == FORKED && place.number.load(Ordering::Relaxed) == number;
    if copy {
        place.abandon();
    }
    copy
}

pub(super) fn detach(number: usize) {
    PLACES[table::loop_of(number)].owner.store(DETACHED, Ordering::Release);
}

pub(super) fn attach(number: usize) -> Result<(), Refusal> {
    let place = &PLACES[table::loop_of(number)];
    END.try_with(|_| ()).map_err(|_| Refusal::State)?;
    if place.number.load(Ordering::Relaxed) != number {
        return Err(Refusal::Stale);
    }
    if place.is_mine() {
        return Ok(());
    }
    let claimed = place.owner.compare_exchange(DETACHED, this_thread(), Ordering::Acquire, Ordering::Relaxed);
    claimed.map_err(|_| place.refusal(number))?;
    if place.number.load(Ordering::Relaxed) != number {
        // Another loop has come to live here in between, and is detached as well.
        place.owner.store(DETACHED, Ordering::Release);
        return Err(Refusal::Stale);
    }
    CURRENT.set(table::loop_of(number));
    Ok(())
}

/// From any thread.
pub(super) fn post(number: usize, callback: Callback) -> Result<(), Refusal> {
    let place = &PLACES[table::loop_of(number)];
    if number == 0 || place.number.load(Ordering::Relaxed) != number {
        return Err(Refusal::Stale);
    }
    if place.owner.load(Ordering::Relaxed) == FORKED {
        return Err(Refusal::Thread);
    }
    // Compared under the lock: the place may have changed hands since.
    let remote = match &*place.remote.lock().unwrap_or_else(PoisonError::into_inner) {
        Some((current, remote)) if *current == number => remote.clone(),
        _ => return Err(Refusal::Stale),
    };
    remote.post(Posted::Call(callback))
}

// ---- handles ------------------------------------------------------------------------------------------------------

/// A type of the header, and what the core calls that.
pub(crate) trait Handle {
    type Record;
    const KIND: Kind;
    const WORD: &'static str;

    fn id(hub: &Hub, number: usize) -> Id<Self::Record>;
}

macro_rules! face {
    ($handle:ty, $kind:ident, $word:literal) => {
        impl Handle for $handle {
            type Record = Connection;
            const KIND: Kind = Kind::$kind;
            const WORD: &'static str = $word;

            #[inline]
            fn id(_: &Hub, number: usize) -> Id<Connection> {
                Id::behind_face(number, Kind::$kind)
            }
        }
    };
}

face!(eddy_reader, Reader, "reader");
face!(eddy_writer, Writer, "writer");
face!(eddy_protocol, Protocol, "protocol");

impl Handle for eddy_transport {
    type Record = Connection;
    const KIND: Kind = Kind::Transport;
    const WORD: &'static str = "transport";

    /// One made of C functions may have joined a stream.
    fn id(hub: &Hub, number: usize) -> Id<Connection> {
        hub.transport(Id::behind_face(number, Kind::Transport))
    }
}

impl Handle for eddy_server {
    type Record = Server;
    const KIND: Kind = Kind::Server;
    const WORD: &'static str = "server";

    fn id(_: &Hub, number: usize) -> Id<Server> {
        Id::from_number(number)
    }
}

impl Handle for eddy_loop {
    type Record = Hub;
    const KIND: Kind = Kind::Loop;
    const WORD: &'static str = "loop";

    fn id(_: &Hub, number: usize) -> Id<Hub> {
        Id::from_number(number)
    }
}

/// What comes out of a call: it can say that the call was refused.
pub(crate) trait Outcome {
    fn refused(refusal: Refusal) -> Self;
}

impl<R> Outcome for Result<R, Refusal> {
    fn refused(refusal: Refusal) -> Self {
        Err(refusal)
    }
}

/// As C sees it: a negative code.
impl Outcome for i64 {
    #[cold]
    fn refused(refusal: Refusal) -> Self {
        code(refusal).into()
    }
}

/// The loop that a number belongs to, if it is this thread's.
#[inline]
fn enter<R: Outcome>(number: usize, f: impl FnOnce(&mut Hub) -> R) -> R {
    let place = &PLACES[table::loop_of(number)];
    if !place.is_mine() {
        return R::refused(place.refusal(number));
    }
    match place.hub.try_borrow_mut() {
        Ok(mut hub) => match &mut *hub {
            Some(hub) => f(hub),
            None => R::refused(Refusal::Stale),
        },
        // From a signal handler, or an allocator's hook.
        Err(_) => R::refused(Refusal::Busy),
    }
}

/// Goes in by a number, where a refusal is nobody's mistake. The wall: whatever goes wrong inside comes out as a
/// refusal.
#[inline]
pub(super) fn within<R: Outcome>(number: usize, f: impl FnOnce(&mut Hub) -> R) -> R {
    let result = panic::catch_unwind(AssertUnwindSafe(|| enter(number, f)));
    result.unwrap_or_else(|payload| R::refused(panicked(payload)))
}

#[cold]
fn panicked(payload: Box<dyn Any + Send>) -> Refusal {
    let text =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    report(format!("a bug in eddy: {}", text.unwrap_or("panic")));
    // Dropping it could panic again.
    std::mem::forget(payload);
    Refusal::Panic
}

/// The quick way in, for what nearly every call is in the middle of a batch: without a wall, since `f` has nothing in it
/// that could panic, no index and no allocation (tests/quick.py looks at the machine code). None: nothing has happened,
/// and the long way decides.
#[inline(always)]
pub(super) fn quick<H: Handle, R>(
    handle: *mut H,
    f: impl FnOnce(&mut Hub, Id<H::Record>) -> Option<R>,
) -> Option<R> {
    let number = handle as usize;
    let place = &PLACES[table::loop_of(number)];
    if !place.is_mine() {
        return None;
    }
    let mut hub = place.hub.try_borrow_mut().ok()?;
    let hub = hub.as_mut()?;
    let id = H::id(hub, number);
    f(hub, id)
}

/// Goes in by a handle.
#[inline]
fn by_handle<H: Handle, R: Outcome>(handle: *mut H, f: impl FnOnce(&mut Hub, Id<H::Record>) -> R) -> R {
    let number = handle as usize;
    within(number, |hub| {
        // A loop's own number is its ticket; of the others the tables know.
        if H::KIND as usize == Kind::Loop as usize && hub.number() != number {
            return R::refused(Refusal::Stale);
        }
        let id = H::id(hub, number);
        f(hub, id)
    })
}

/// Goes in by a handle. One that is no good is reported.
pub(super) fn call<H: Handle, R>(
    function: &'static str,
    handle: *mut H,
    f: impl FnOnce(&mut Hub, Id<H::Record>) -> Result<R, Refusal>,
) -> Result<R, Refusal> {
    let result = by_handle(handle, f);
    if let Err(refusal @ (Refusal::Stale | Refusal::Thread)) = result {
        misused(function, H::WORD, handle as usize, refusal);
    }
    result
}

/// The same, with what C sees: a number that is not negative, or why the call was refused. Starts an operation.
#[inline]
pub(super) fn start<H: Handle>(
    function: &'static str,
    handle: *mut H,
    f: impl FnOnce(&mut Hub, Id<H::Record>) -> Result<i64, Refusal>,
) -> eddy_op {
    let answer = by_handle(handle, |hub, id| f(hub, id).unwrap_or_else(Outcome::refused));
    if answer < 0 {
        look_at_refusal(function, H::WORD, handle as usize, answer);
    }
    answer
}

#[cold]
fn look_at_refusal(function: &str, word: &'static str, number: usize, code: i64) {
    for refusal in [Refusal::Stale, Refusal::Thread] {
        if code == i64::refused(refusal) {
            misused(function, word, number, refusal);
        }
    }
}

/// A further handle of a call: it must be of the same loop, and alive.
pub(super) fn also<H: Handle>(hub: &Hub, handle: *mut H) -> Result<Id<H::Record>, Refusal> {
    let number = handle as usize;
    if Kind::of(number) == Some(H::KIND) && hub.describe(number).is_some() {
        return Ok(H::id(hub, number));
    }
    blame(H::WORD, number);
    let place = &PLACES[table::loop_of(number)];
    Err(if place.is_mine() { Refusal::Stale } else { place.refusal(number) })
}

/// The handle that the refusal of this call is about, where that is not the first.
pub(super) fn blame(word: &'static str, number: usize) {
    BLAME.set(Some((word, number)));
}

/// Does something, now.
#[inline]
pub(super) fn status<H: Handle>(
    function: &'static str,
    handle: *mut H,
    f: impl FnOnce(&mut Hub, Id<H::Record>) -> Result<(), Refusal>,
) -> c_int {
    start(function, handle, |hub, id| f(hub, id).map(|()| 0)) as c_int
}

/// For calls that have no code: any refusal is reported, and the answer is the empty one.
pub(super) fn ask<H: Handle, R: Default>(
    function: &'static str,
    handle: *mut H,
    f: impl FnOnce(&mut Hub, Id<H::Record>) -> Result<R, Refusal>,
) -> R {
    call(function, handle, f).unwrap_or_else(|refusal| {
        if !matches!(refusal, Refusal::Stale | Refusal::Thread) {
            report(format!("{function}: {refusal}"));
        }
        R::default()
    })
}

/// NULL and what was freed before are freed without a word.
pub(super) fn free<H: Handle>(
    function: &'static str,
    handle: *mut H,
    f: impl FnOnce(&mut Hub, Id<H::Record>) -> Result<(), Refusal>,
) {
    let number = handle as usize;
    let result = within(number, |hub| {
        let id = H::id(hub, number);
        f(hub, id)
    });
    let of_its_kind = number == 0 || Kind::of(number) == Some(H::KIND);
    match result {
        Err(Refusal::Stale) if of_its_kind => {}
        Err(refusal @ (Refusal::Stale | Refusal::Thread)) => misused(function, H::WORD, number, refusal),
        _ => {}
    }
}

// ---- reports ------------------------------------------------------------------------------------------------------

#[cold]
pub(super) fn misused(function: &str, word: &str, number: usize, refusal: Refusal) {
    let (word, number) = BLAME.take().unwrap_or((word, number));
    let what = match refusal {
        Refusal::Thread => "another thread's",
        _ if number == 0 => "NULL instead of a",
        _ => "stale",
    };
    let message = if number == 0 {
        format!("{function}: {what} {word}")
    } else {
        format!("{function}: {what} {word} {number:#x}")
    };
    if ABORT.load(Ordering::Relaxed) {
        print_line(&message);
        std::process::abort();
    }
    report(message);
}

/// Tells the exception handler of this thread's loop, from its next run. Without a loop there is nobody
/// to tell.
#[cold]
pub(super) fn report(message: String) {
    let current = &PLACES[CURRENT.get()];
    let place = if current.is_mine() { Some(current) } else { PLACES.iter().find(|place| place.is_mine()) };
    if let Some(place) = place
        && let Ok(mut hub) = place.hub.try_borrow_mut()
        && let Some(hub) = &mut *hub
    {
        hub.report(message, None);
    }
}

/// The only thing that the library ever prints. A standard error that takes nothing is no reason to
/// fail.
pub(super) fn print_line(message: &str) {
    let _ = std::io::stderr().write_all(format!("{message}\n").as_bytes());
}

// ---- arguments ----------------------------------------------------------------------------------------------------

/// A callback of any type; there must be one.
macro_rules! callback {
    ($function:expr, $argument:expr) => {
        match $function {
            Some(function) => {
                Ok(crate::callback::Callback { function: function as usize, argument: $argument as usize })
            }
            None => Err(crate::error::Refusal::Invalid),
        }
    };
}
pub(super) use callback;

/// No version of a struct will ever be larger; a size that is was never one.
const LARGEST: usize = 4096;

/// A struct whose first field is its size, as its owner's header has it: read as far as both go, the
/// rest zero. What this version does not know must not be asked for. NULL: all zero.
///
/// # Safety
/// `given` is NULL, or has as many bytes as its first field says; zero is a value of every field of `T`.
pub(super) unsafe fn sized<T>(given: *const T) -> Result<T, Refusal> {
    // SAFETY: the caller's promise.
    let mut known: T = unsafe { std::mem::zeroed() };
    if given.is_null() {
        return Ok(known);
    }
    let given = given.cast::<u8>();
    // SAFETY: the caller's promise; the size is looked at before anything behind it.
    let size = unsafe { given.cast::<usize>().read_unaligned() };
    if !(size_of::<usize>()..=LARGEST).contains(&size) {
        return Err(Refusal::Invalid);
    }
    // SAFETY: no more than its owner says is there, and no more than ours has room for.
    unsafe { std::ptr::copy_nonoverlapping(given, (&raw mut known).cast(), size.min(size_of::<T>())) };
    // SAFETY: as above.
    let asks_for_more = (size_of::<T>()..size).any(|at| unsafe { given.add(at).read() } != 0);
    if asks_for_more { Err(Refusal::Invalid) } else { Ok(known) }
}

/// The other way round: fills in a struct as far as its owner's header has it, and leaves its first field as it is. What
/// this version does not know is 0.
///
/// # Safety
/// `given` is NULL, or has as many bytes as its first field says; `T` has no padding.
pub(super) unsafe fn give_sized<T>(given: *mut T, known: T) -> Result<(), Refusal> {
    if given.is_null() {
        return Err(Refusal::Invalid);
    }
    let given = given.cast::<u8>();
    // SAFETY: the caller's promise; the size is looked at before anything behind it.
    let size = unsafe { given.cast::<usize>().read_unaligned() };
    if !(size_of::<usize>()..=LARGEST).contains(&size) {
        return Err(Refusal::Invalid);
    }
    let (first, both) = (size_of::<usize>(), size.min(size_of::<T>()));
    // SAFETY: no more than its owner says is there, and no more than ours has.
    unsafe {
        std::ptr::copy_nonoverlapping(
            (&raw const known).cast::<u8>().add(first),
            given.add(first),
            both - first,
        );
        given.add(both).write_bytes(0, size - both);
    }
    Ok(())
}

/// # Safety
/// Unless NULL, `text` must be a string that ends with a NUL, and stay so for `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Result<Option<&'a str>, Refusal> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().map(Some).map_err(|_| Refusal::Invalid)
}

/// No object is larger.
const MOST: usize = isize::MAX as usize;

/// # Safety
/// Unless `len` is 0 or larger than any object, `len` bytes must lie at `data`, and stay for `'a`.
#[inline]
pub(super) unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Refusal> {
    if !data.is_null() && len <= MOST {
        // SAFETY: the caller's promise; it is not NULL, and no larger than an object may be.
        return Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) });
    }
    if len == 0 { Ok(&[]) } else { Err(Refusal::Invalid) }
}

/// # Safety
/// As [`Memory::lent`]; of what is NULL, or larger than any object, nothing is promised.
pub(super) unsafe fn memory(start: *const c_void, len: usize) -> Result<Memory, Refusal> {
    let nowhere = std::ptr::NonNull::<u8>::dangling().as_ptr().cast_const();
    match (start.is_null(), len) {
        (_, 0) => Ok(unsafe { Memory::lent(nowhere.cast(), 0) }),
        (false, ..=MOST) => Ok(unsafe { Memory::lent(start, len) }),
        _ => Err(Refusal::Invalid),
    }
}

/// # Safety
/// As [`bytes`], for `count` of them at `list`, and for what each of them says.
pub(super) unsafe fn list<'a>(list: *const eddy_bytes, count: usize) -> Result<&'a [eddy_bytes], Refusal> {
    if count == 0 {
        return Ok(&[]);
    }
    if list.is_null() || count > isize::MAX as usize / size_of::<eddy_bytes>() {
        return Err(Refusal::Invalid);
    }
    // SAFETY: the caller's promise, and the two checks.
    let list: &[eddy_bytes] = unsafe { std::slice::from_raw_parts(list, count) };
    for one in list {
        // SAFETY: the caller's promise.
        unsafe { bytes(one.data, one.len) }?;
    }
    Ok(list)
}

/// The bytes of a list that has been looked through.
pub(super) fn each(list: &[eddy_bytes]) -> impl Iterator<Item = &[u8]> + Clone {
    // SAFETY: `list` has checked each one, and its caller has promised for each.
    list.iter().map(|one| unsafe { bytes(one.data, one.len) }.unwrap_or(&[]))
}
