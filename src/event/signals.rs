//! The signals of the process, told to the loops that watch them. `caught` and what it calls are the only code of ours
//! that runs in the context of a signal handler.
//!
//! Signals belong to the host. Our handler is a link in front of what it finds there: it tells the loops, then calls
//! the handler that was there before, as the system would have. When nobody watches any more, what was there before is
//! put back. Where somebody has put a handler over ours since, that one is left alone; it may go on to call ours, which
//! passes the signal on, and whoever watches next puts another link on top. (Were it the same one again, the two would
//! call each other without end.)
//!
//! signal-hook-registry was looked at and does not fit: it never gives a signal back, calls on the handler that it
//! found the first time even when the host has changed it since, and waits for ever once a handler that it called has
//! left by longjmp, or when fork comes at the wrong time.
//!
//! A handler may neither lock nor allocate: all that it looks at is atomic. Whoever takes something away from it waits
//! until no handler is under way (`INSIDE`).

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::{mem, process, ptr, thread};

use mio::Waker;

use super::remote::ring;
use crate::table::LOOPS;

/// Signals are 1 to 64; 0 is none.
const SIGNALS: usize = 65;
/// So many of our handlers may stand in the chain of one signal, with other people's between them. When there are more,
/// those people do not call what they have found, and the oldest is out of use.
const LINKS: usize = 4;
const WORDS: usize = LOOPS.div_ceil(64);

type Handler = extern "C-unwind" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Our handler, once for each link, so that they can be told apart.
static ENTRIES: [Handler; LINKS] = [caught::<0>, caught::<1>, caught::<2>, caught::<3>];

/// Which handler stood there before each link: an address, SIG_DFL or SIG_IGN.
static BEFORE: [[AtomicUsize; SIGNALS]; LINKS] = [const { [const { AtomicUsize::new(0) }; SIGNALS] }; LINKS];

/// The loops that watch each signal: a bit for each.
static WATCHERS: [[AtomicU64; WORDS]; SIGNALS] = [const { [const { AtomicU64::new(0) }; WORDS] }; SIGNALS];

/// What has come for each loop, and how it is woken.
static MAIL: [Mail; LOOPS] =
    [const { Mail { came: AtomicU64::new(0), bell: AtomicPtr::new(ptr::null_mut()) } }; LOOPS];

struct Mail {
    /// A bit for each signal.
    came: AtomicU64,
    bell: AtomicPtr<Waker>,
}

/// How many handlers are looking at the above.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// The process that all this is about: not a child of it, which has a copy.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// For the loop, in order of their numbers.
#[derive(Debug)]
pub struct Signals {
    /// The loop's, among those of the process.
    place: usize,
    watched: u64,
    bell: Arc<Waker>,
}

impl Signals {
    pub fn new(place: usize, bell: Arc<Waker>) -> Signals {
        MAIL[place].came.store(0, SeqCst);
        MAIL[place].bell.store(Arc::as_ptr(&bell).cast_mut(), SeqCst);
        Signals { place, watched: 0, bell }
    }

    /// From now on. EINVAL: there is no such signal, it cannot be caught, or it stands for a fault of the program, which
    /// would be at the same place again when the handler returns.
    pub fn watch(&mut self, signum: c_int) -> io::Result<()> {
        const FAULTS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
        if !(1..SIGNALS as c_int).contains(&signum) || FAULTS.contains(&signum) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let (this, known) = (process::id(), PROCESS.load(SeqCst));
        if known == 0 {
            PROCESS.store(this, SeqCst);
        } else if known != this {
            // The child of a fork that told nobody.
            forked();
        }
        let before = self.watched & bit(signum) != 0;
        let mut links = LINKED.lock();
        self.set(signum, true);
        cover(&mut links, signum).inspect_err(|_| self.set(signum, before))
    }

    /// What of it has come by now is dropped.
    pub fn forget(&mut self, signum: c_int) {
        if !(1..SIGNALS as c_int).contains(&signum) || self.watched & bit(signum) == 0 {
            return;
        }
        let mut links = LINKED.lock();
        self.set(signum, false);
        if !is_watched(signum as usize) {
            uncover(&mut links, signum);
        }
        drop(links);
        wait_for_handlers();
        MAIL[self.place].came.fetch_and(!bit(signum), SeqCst);
    }

    pub fn any(&self) -> bool {
        MAIL[self.place].came.load(SeqCst) != 0
    }

    /// What has come since the last time: a bit for each, the lowest for signal 1.
    pub fn take(&self) -> u64 {
        MAIL[self.place].came.swap(0, SeqCst)
    }

    fn set(&mut self, signum: c_int, on: bool) {
        let word = &WATCHERS[signum as usize][self.place / 64];
        let me = 1 << (self.place % 64);
        if on {
            self.watched |= bit(signum);
            word.fetch_or(me, SeqCst);
        } else {
            self.watched &= !bit(signum);
            word.fetch_and(!me, SeqCst);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for signum in 1..SIGNALS as c_int {
            self.forget(signum);
        }
        MAIL[self.place].bell.store(ptr::null_mut(), SeqCst);
        if !wait_for_handlers() {
            // One that will never end, or will ring yet: so the bell must stay.
            mem::forget(self.bell.clone());
        }
    }
}

fn bit(signum: c_int) -> u64 {
    1 << (signum - 1)
}

fn is_watched(signum: usize) -> bool {
    WATCHERS[signum].iter().any(|word| word.load(SeqCst) != 0)
}

/// Until no handler can still see what has been taken away. False: there is always one; it may have been left by a
/// longjmp out of another signal's handler, so there is an end to waiting.
fn wait_for_handlers() -> bool {
    for _ in 0..100_000 {
        if INSIDE.load(SeqCst) == 0 {
            return true;
        }
        thread::yield_now();
    }
    false
}

/// A child goes on after fork: nothing of its parent's is watched in it, and its signals are what they would have been.
/// Locks nothing, allocates nothing and frees nothing: this may be called in the child of a process with many threads.
pub fn forked() {
    for word in WATCHERS.iter().flatten() {
        word.store(0, SeqCst);
    }
    for mail in &MAIL {
        mail.came.store(0, SeqCst);
    }
    INSIDE.store(0, SeqCst);
    PROCESS.store(process::id(), SeqCst);
    if LINKED.locked.swap(false, SeqCst) {
        // A thread that this process does not have was at them: they are not even to be dropped. Our handlers, where they
        // stand, pass on what they get.
        // SAFETY: the child has this thread only, and it is not in there itself.
        unsafe { LINKED.links.get().write(Vec::new()) };
    } else {
        let mut links = LINKED.lock();
        for signum in 1..SIGNALS as c_int {
            uncover(&mut links, signum);
        }
    }
}

// ---- in the handler -----------------------------------------------------------------------------------------------

extern "C-unwind" fn caught<const LINK: usize>(
    signum: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    let errno = errno::errno();
    let told = tell(signum as usize);
    match BEFORE[LINK][signum as usize].load(SeqCst) {
        libc::SIG_DFL if !told => act_by_default(signum, LINK),
        libc::SIG_DFL | libc::SIG_IGN => {}
        before => {
            errno::set_errno(errno);
            // SAFETY: the system would have called it so: all handlers get three arguments, and those that were
            // installed without SA_SIGINFO look at the first only. It may not come back, so nothing is held here.
            unsafe { mem::transmute::<usize, Handler>(before)(signum, info, context) };
            return;
        }
    }
    errno::set_errno(errno);
}

/// True: somebody watches.
fn tell(signum: usize) -> bool {
    if PROCESS.load(SeqCst) != process::id() {
        // After vfork, or before `forked`: these loops are another process's.
        return false;
    }
    let mut told = false;
    INSIDE.fetch_add(1, SeqCst);
    for (index, word) in WATCHERS[signum].iter().enumerate() {
        let mut loops = word.load(SeqCst);
        while loops != 0 {
            let mail = &MAIL[index * 64 + loops.trailing_zeros() as usize];
            loops &= loops - 1;
            told = true;
            let first = mail.came.fetch_or(1 << (signum - 1), SeqCst) == 0;
            // SAFETY: NULL, or the bell of a loop that waits for `INSIDE` to be 0 before it lets go of it.
            if let Some(bell) = unsafe { mail.bell.load(SeqCst).as_ref() }
                && first
            {
                // One write to a descriptor. A bell that cannot ring is one that rings already.
                ring(bell);
            }
        }
    }
    INSIDE.fetch_sub(1, SeqCst);
    told
}

/// Nobody watches any more, and our handler has not been taken away yet, or was put back by somebody who had found it
/// there. What the system would have done, it does when this handler returns.
fn act_by_default(signum: c_int, link: usize) {
    if let Ok(standing) = exchange(signum, None)
        && link_of(&standing) == Some(link)
        && exchange(signum, Some(&nothing())).is_ok()
    {
        // SAFETY: a system call.
        unsafe { libc::raise(signum) };
    }
}

// ---- links --------------------------------------------------------------------------------------------------------

/// One of our handlers, in its place, and what stood there before.
struct Link {
    signum: c_int,
    link: usize,
    before: libc::sigaction,
}

/// Puts our handler on top, unless it is there.
fn cover(links: &mut Vec<Link>, signum: c_int) -> io::Result<()> {
    let found = exchange(signum, None)?;
    if link_of(&found).is_some() {
        return Ok(());
    }
    let mut mine = links.iter().filter(|link| link.signum == signum).map(|link| link.link);
    let link = match (0..LINKS).find(|free| !mine.clone().any(|link| link == *free)) {
        Some(free) => free,
        None => mine.next().unwrap_or(0),
    };
    links.retain(|other| (other.signum, other.link) != (signum, link));
    links.try_reserve(1).map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))?;
    let before = &BEFORE[link][signum as usize];
    before.store(found.sa_sigaction, SeqCst);
    let replaced = exchange(signum, Some(&ours(link, &found)))?;
    if link_of(&replaced).is_none() {
        // The same as a rule; another thread may have been quicker.
        before.store(replaced.sa_sigaction, SeqCst);
    }
    links.push(Link { signum, link, before: replaced });
    Ok(())
}

/// Puts back what was there before, as far as ours is on top.
fn uncover(links: &mut Vec<Link>, signum: c_int) {
    while links.iter().any(|link| link.signum == signum)
        && let Ok(standing) = exchange(signum, None)
        && let Some(link) = link_of(&standing)
        && let Some(at) = links.iter().position(|other| (other.signum, other.link) == (signum, link))
    {
        let before = links.remove(at).before;
        if let Ok(replaced) = exchange(signum, Some(&before))
            && link_of(&replaced) != Some(link)
        {
            // Another thread's, put there this very moment.
            let _ = exchange(signum, Some(&replaced));
        }
    }
}

/// Which of our links a disposition is.
fn link_of(action: &libc::sigaction) -> Option<usize> {
    ENTRIES.iter().position(|entry| *entry as usize == action.sa_sigaction)
}

/// Our handler, in place of `found`: with its mask and its flags if that is a handler, since it will be called in turn.
/// (One that asked to be called once only is called each time, lest we be called once only.)
fn ours(link: usize, found: &libc::sigaction) -> libc::sigaction {
    let mut action = nothing();
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    if !matches!(found.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        action.sa_flags = found.sa_flags & !libc::SA_RESETHAND;
        action.sa_mask = found.sa_mask;
    }
    action.sa_flags |= libc::SA_SIGINFO;
    action.sa_sigaction = ENTRIES[link] as usize;
    action
}

/// SIG_DFL, with no flags and an empty mask.
fn nothing() -> libc::sigaction {
    // SAFETY: a struct of numbers, for which 0 is a value.
    unsafe { mem::zeroed() }
}

/// What is there, and, if something is given, replaces it.
fn exchange(signum: c_int, action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut found = nothing();
    // SAFETY: a system call on two structs that live, or NULL.
    let result =
        unsafe { libc::sigaction(signum, action.map_or(ptr::null(), ptr::from_ref), &raw mut found) };
    if result == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
}

/// All links of the process, the oldest first, under a lock that a forked child can break open: held for a few system
/// calls at a time.
struct Linked {
    locked: AtomicBool,
    links: UnsafeCell<Vec<Link>>,
}

// SAFETY: `links` is touched only by who has set `locked`, and by a child that has no other thread.
unsafe impl Sync for Linked {}

static LINKED: Linked = Linked { locked: AtomicBool::new(false), links: UnsafeCell::new(Vec::new()) };

struct Locked;

impl Linked {
    fn lock(&self) -> Locked {
        while self.locked.swap(true, SeqCst) {
            thread::yield_now();
        }
        Locked
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        LINKED.locked.store(false, SeqCst);
    }
}

impl Deref for Locked {
    type Target = Vec<Link>;

    fn deref(&self) -> &Vec<Link> {
        // SAFETY: whoever has a Locked is alone with them.
        unsafe { &*LINKED.links.get() }
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut Vec<Link> {
        // SAFETY: as above.
        unsafe { &mut *LINKED.links.get() }
    }
}
