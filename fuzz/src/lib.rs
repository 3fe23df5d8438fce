//! What the fuzzers do with an input: one function for each target. They know neither libFuzzer nor sanitizers, so that
//! `cargo test` puts the corpus through them as well (tests/fuzz.rs).

pub mod abi;
pub mod addresses;
pub mod input;
pub mod model;
pub mod options;
pub mod peer;
pub mod reader;
pub mod tls_records;
pub mod tls_settings;
pub mod transport;

use std::ffi::CStr;

/// For server.test and 127.0.0.1, until 2126, issued by the authority. For tests: everybody has the key.
pub const SERVER: &CStr = text(concat!(include_str!("../keys/server.pem"), "\0"));
pub const KEY: &CStr = text(concat!(include_str!("../keys/server.key"), "\0"));
pub const AUTHORITY: &CStr = text(concat!(include_str!("../keys/authority.pem"), "\0"));

const fn text(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a NUL in the middle"),
    }
}
