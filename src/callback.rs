//! C functions, as the core knows them: numbers that it carries from the door and back to the door.

/// The address of a C function whose type only the door knows; what it is called with follows from the
/// [`Call`](crate::hub::Call) it comes in. A number, not a pointer: the core carries it, also between threads, and can
/// do nothing else with it.
pub type Function = usize;

/// A C function and the argument that its owner gave with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    pub function: Function,
    pub argument: usize,
}

/// Bytes lent to a callback. They lie in a buffer that the hub leaves alone until it is next asked what to call.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    pub start: *const u8,
    pub len: usize,
}

/// A custom transport's functions, as its owner gave them; None where it cannot.
#[derive(Clone, Copy, Debug)]
pub struct TransportOps {
    pub write: Function,
    pub write_eof: Option<Function>,
    pub close: Function,
    pub abort: Function,
    pub pause_reading: Option<Function>,
    pub resume_reading: Option<Function>,
    pub release: Function,
}
