//! The fuzzers' corpus, once through each of their targets. fuzz/run is what finds more.
#![cfg(feature = "tls")]

#[allow(dead_code)] // Some of it is for the one target or the other.
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

fn replay(name: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    files.sort();
    for file in files {
        // Shown when it fails.
        println!("{}", file.display());
        run(&fs::read(file).unwrap());
    }
}

#[test]
fn readers() {
    replay("reader", targets::reader::run);
}

#[test]
fn addresses() {
    replay("addresses", targets::addresses::run);
}

#[test]
fn options() {
    replay("options", targets::options::run);
}

#[test]
fn transports() {
    replay("transport", targets::transport::run);
}

#[test]
fn peers() {
    replay("peer", targets::peer::run);
}

#[test]
fn tls_records() {
    replay("tls_records", targets::tls_records::run);
}

#[test]
fn tls_settings() {
    replay("tls_settings", targets::tls_settings::run);
}
