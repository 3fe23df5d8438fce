//! Another library in Rust, with a standard library of its own: see neighbour.sh.

use std::collections::HashMap;
use std::panic;

/// Threads, hashes, a panic that is caught: what the standard library keeps something for.
#[unsafe(no_mangle)]
pub extern "C" fn neighbour(number: u32) -> u32 {
    panic::set_hook(Box::new(|_| {}));
    let caught = panic::catch_unwind(|| if number > 0 { panic!("caught") }).is_err();
    let doubled = std::thread::spawn(move || HashMap::from([(number, 2 * number)])[&number]).join().unwrap_or(0);
    if caught { doubled } else { 0 }
}
