//! Memory set apart, for code that cannot be told that there is none: rustls allocates as it goes, as much as a peer
//! sends, and where that fails the process ends. So while it works for a connection, what the system does not give comes
//! from here; whoever had it work is told so, and ends that connection, which gives it back.
//!
//! The reserve is a part of the library's image that costs nothing before it is touched. It stands behind the allocator
//! of this library, not of the program, and asks the system first, always. Only a program in Rust that takes the crate
//! as a crate (our tests and fuzzers do) has it for its own allocator as well, and can have no other one.
//!
//! No locks: a child of a fork would wait for one for ever that another thread had. What another thread had taken, the
//! child does without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The most that one call of the engine takes is 64 KiB of plaintext, sealed, twice: for some of those at once.
const SIZE: usize = 512 * 1024;
const PAGE: usize = 1024;
const PAGES: usize = SIZE / PAGE;

#[repr(C, align(4096))]
struct Room(UnsafeCell<[u8; SIZE]>);

// SAFETY: only its address is taken here; each part of it belongs to whoever it was given to.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; SIZE]));

/// Which pages are given away.
static TAKEN: [AtomicBool; PAGES] = [const { AtomicBool::new(false) }; PAGES];

/// How many threads are within. While none is, a thread that lacks memory does not look at its state: that may have to be
/// allocated too.
static WITHIN: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    Within,
    /// ... and the reserve was needed.
    Used,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Outside) };
}

/// Puts back what was, however it ends.
struct Back(State);

impl Drop for Back {
    fn drop(&mut self) {
        STATE.set(self.0);
        WITHIN.fetch_sub(1, Ordering::Relaxed);
    }
}

fn be(state: State) -> Back {
    WITHIN.fetch_add(1, Ordering::Relaxed);
    Back(STATE.replace(state))
}

/// What `f` allocates comes from the reserve, where the system has nothing. True: so it was, for some of it.
pub fn within<R>(f: impl FnOnce() -> R) -> (R, bool) {
    let _back = be(State::Within);
    let result = f();
    (result, STATE.get() == State::Used)
}

/// From within, for what can be told that there is no memory.
pub fn outside<R>(f: impl FnOnce() -> R) -> R {
    let _back = be(State::Outside);
    f()
}

fn pages(layout: Layout) -> usize {
    layout.size().div_ceil(PAGE).max(1)
}

fn holds(block: *mut u8) -> bool {
    (block as usize).wrapping_sub(ROOM.0.get() as usize) < SIZE
}

/// NULL: there is no such piece.
#[cold]
fn take(layout: Layout) -> *mut u8 {
    if layout.align() > PAGE || WITHIN.load(Ordering::Relaxed) == 0 || STATE.get() == State::Outside {
        return ptr::null_mut();
    }
    let mut first = 0;
    while let Some(run) = TAKEN.get(first..first + pages(layout)) {
        // Whoever comes to a page first has it. Those before one that is taken go back.
        let Some(mine) = run.iter().position(|page| page.swap(true, Ordering::Acquire)) else {
            STATE.set(State::Used);
            return ROOM.0.get().cast::<u8>().wrapping_add(first * PAGE);
        };
        release(&run[..mine]);
        first += mine + 1;
    }
    ptr::null_mut()
}

#[cold]
fn give(block: *mut u8, layout: Layout) {
    let first = (block as usize - ROOM.0.get() as usize) / PAGE;
    release(&TAKEN[first..first + pages(layout)]);
}

fn release(run: &[AtomicBool]) {
    run.iter().for_each(|page| page.store(false, Ordering::Release));
}

#[derive(Debug)]
pub struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: the system's, but for blocks of the reserve: these do not overlap, are as large and aligned as was asked for,
// and are known by their address when they come back.
unsafe impl GlobalAlloc for Allocator {
    // Never inlined: where memory is freed, the code is to be as small as without it.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { take(layout) } else { block }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = take(layout);
        if !block.is_null() {
            // SAFETY: a block of that size, nobody else's.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if holds(block) {
            return give(block, layout);
        }
        // SAFETY: the caller's promise, and it came from there.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !holds(block) {
            // SAFETY: the caller's promise, and it came from there.
            let moved = unsafe { System.realloc(block, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.move_to(block, layout, size) }
    }
}

impl Allocator {
    /// # Safety
    /// As for realloc.
    #[cold]
    unsafe fn move_to(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is not 0, by the caller's promise.
        let moved = if holds(block) { unsafe { self.alloc(new) } } else { take(new) };
        if !moved.is_null() {
            // SAFETY: two blocks that do not overlap, at least so large; the old one is given up.
            unsafe {
                ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 16).unwrap()
    }

    #[test]
    fn it_gives_only_from_within_and_gets_everything_back() {
        assert!(take(layout(100)).is_null());
        let ((), used) = within(|| {
            assert!(outside(|| take(layout(100))).is_null());
            let blocks = [1, PAGE, PAGE + 1, 5000].map(|size| (take(layout(size)), size));
            for (block, size) in blocks {
                assert!(holds(block));
                // SAFETY: it is ours, and so large.
                unsafe { block.write_bytes(size as u8, size) };
            }
            for (block, size) in blocks {
                // SAFETY: written above.
                assert!((0..size).all(|at| unsafe { *block.add(at) } == size as u8));
            }
            // SAFETY: a block of that layout; what it becomes is freed below.
            let moved = unsafe { ALLOCATOR.realloc(blocks[0].0, layout(1), 3 * PAGE) };
            // SAFETY: as above.
            assert_eq!(unsafe { *moved }, 1);
            // SAFETY: as above.
            unsafe { ALLOCATOR.dealloc(moved, layout(3 * PAGE)) };
            blocks[1..].iter().for_each(|(block, size)| give(*block, layout(*size)));
            assert!(take(layout(SIZE + 1)).is_null());
            let all = take(layout(SIZE));
            assert!(holds(all) && take(layout(1)).is_null());
            give(all, layout(SIZE));
        });
        assert!(used);
        assert!(!within(|| drop(vec![1_u8; 100])).1);
        assert!(!TAKEN.iter().any(|page| page.load(Ordering::Relaxed)));
    }
}
