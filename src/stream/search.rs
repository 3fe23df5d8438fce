//! The search for a byte.

#![allow(unsafe_code)]

/// Where the first such byte is. By the C library, which chose the best way for this processor when it was loaded: for
/// something as short as a line that costs half of what choosing each time does.
#[inline]
pub fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    // SAFETY: it looks at no byte but these.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), byte.into(), bytes.len()) };
    if found.is_null() { None } else { Some(found.addr() - bytes.as_ptr().addr()) }
}
