//! Conversations in memory, through the functions that C has. The C tests say much more of what these do; here is
//! what Miri can run: the unsafe code at the door.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{null, null_mut};

use super::custom::*;
use super::errors::*;
use super::event_loop::*;
use super::looking::*;
use super::opening::*;
use super::reader::*;
use super::types::*;
use super::writer::*;

/// What one callback was told.
#[derive(Debug, PartialEq)]
enum Told {
    Bytes(Vec<u8>),
    Code(c_int, Vec<u8>),
    Done,
}
use Told::*;

/// # Safety
/// `arg` is the Vec that was given as argument, and nobody else is looking at it.
unsafe fn note(arg: *mut c_void, told: Told) {
    unsafe { (*arg.cast::<Vec<Told>>()).push(told) };
}

/// # Safety
/// As the header has it, and with a Vec of what is told as argument.
unsafe extern "C-unwind" fn on_read(
    reader: *mut eddy_reader,
    bytes: *const c_char,
    len: usize,
    error: *const eddy_error,
    arg: *mut c_void,
) {
    if !error.is_null() {
        let mut len = 0;
        let partial = unsafe { eddy_error_partial(error, &mut len) }.cast::<u8>();
        let partial =
            if partial.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(partial, len) } };
        assert!(!unsafe { CStr::from_ptr(eddy_error_message(error)) }.is_empty());
        return unsafe { note(arg, Code(eddy_error_code(error), partial.to_vec())) };
    }
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len + 1) };
    assert_eq!(bytes[len], 0);
    unsafe { note(arg, Bytes(bytes[..len].to_vec())) };
    if len > 0 {
        assert!(eddy_reader_readline(reader, Some(on_read), arg) >= 0);
    }
}

unsafe extern "C-unwind" fn on_writer(_: *mut eddy_writer, error: *const eddy_error, arg: *mut c_void) {
    assert!(error.is_null());
    unsafe { note(arg, Done) };
}

unsafe extern "C-unwind" fn on_released(arg: *mut c_void) {
    unsafe { note(arg, Done) };
}

struct Pair {
    around: *mut eddy_loop,
    readers: [*mut eddy_reader; 2],
    writers: [*mut eddy_writer; 2],
}

fn pair(options: *const eddy_options) -> Pair {
    let (mut readers, mut writers) = ([null_mut(); 2], [null_mut(); 2]);
    let around = eddy_loop_new();
    let opened = unsafe { eddy_open_pair(around, options, readers.as_mut_ptr(), writers.as_mut_ptr()) };
    assert_eq!(opened, 0);
    Pair { around, readers, writers }
}

#[test]
fn lines_go_through_a_pair_however_they_are_written() {
    let Pair { around, readers, writers } = pair(null());
    let (mut told, mut released): (Vec<Told>, Vec<Told>) = Default::default();
    let (told, released) = (&raw mut told, &raw mut released);
    unsafe {
        assert_eq!(eddy_writer_write(writers[0], c"one\nt".as_ptr().cast(), 5), 0);
        let lines = [b"wo\n", b"thr"].map(|part| eddy_bytes { data: part.as_ptr().cast(), len: part.len() });
        assert_eq!(eddy_writer_writelines(writers[0], lines.as_ptr(), lines.len()), 0);
        let rest: Vec<u8> = std::iter::repeat_n(b'e', 5000).collect();
        let released = released.cast();
        assert_eq!(
            eddy_writer_write_static(
                writers[0],
                rest.as_ptr().cast(),
                rest.len(),
                Some(on_released),
                released
            ),
            0
        );
        assert_eq!(eddy_writer_write_eof(writers[0]), 0);
        assert!(eddy_reader_readline(readers[1], Some(on_read), told.cast()) >= 0);
        assert_eq!(eddy_loop_run(around), 0);
    }
    let last = ["thr", &"e".repeat(5000)].concat();
    let expected = ["one\n", "two\n", &last, ""].map(|text| Bytes(text.into()));
    assert_eq!(unsafe { &*told }[..], expected);
    assert_eq!(unsafe { &*released }[..], [Done]);
    assert!(eddy_reader_at_eof(readers[1]));
    eddy_loop_free(around);
}

#[test]
fn errors_and_the_end_of_the_loop_are_told_once() {
    let Pair { around, readers, writers } = pair(null());
    let mut told: Vec<Told> = Vec::new();
    let told = &raw mut told;
    assert_eq!(unsafe { eddy_writer_write(writers[0], c"abc".as_ptr().cast(), 3) }, 0);
    eddy_writer_free(writers[0]);
    assert!(eddy_reader_readexactly(readers[1], 5, Some(on_read), told.cast()) >= 0);
    assert_eq!(eddy_loop_run(around), 0);
    assert_eq!(unsafe { &*told }[..], [Code(eddy_code::EDDY_EINCOMPLETE as c_int, b"abc".to_vec())]);

    let mut room = [0u8; 8];
    let stale = eddy_code::EDDY_ESTALE as i64;
    assert_eq!(eddy_reader_readline(readers[0], Some(on_read), told.cast()), stale);
    unsafe {
        let room = room.as_mut_ptr().cast();
        assert_eq!(eddy_reader_read_into(readers[0], room, 8, Some(on_read), told.cast()), stale);
    }
    let reader = eddy_reader_new(around, 100);
    assert!(
        unsafe { eddy_reader_read_into(reader, room.as_mut_ptr().cast(), 8, Some(on_read), told.cast()) }
            >= 0
    );
    eddy_loop_free(around);
    assert_eq!(unsafe { &*told }[1..], [Code(eddy_code::EDDY_ECANCELED as c_int, vec![])]);
    assert_eq!(unsafe { eddy_reader_feed_data(reader, c"x".as_ptr().cast(), 1) }, stale as c_int);
    assert!(!unsafe { CStr::from_ptr(eddy_repr(reader.cast())) }.is_empty());
}

#[test]
fn structures_are_read_and_filled_as_far_as_their_size_goes() {
    // As an older program has it: nothing lies behind what its size says.
    let short = [3 * size_of::<usize>(), 16, 4];
    let Pair { around, writers, .. } = pair(short.as_ptr().cast());
    let full = eddy_code::EDDY_EFULL as c_int;
    assert_eq!(unsafe { eddy_writer_write(writers[0], c"12345".as_ptr().cast(), 5) }, full);

    let mut stats = [2 * size_of::<u64>() as u64, 99];
    assert_eq!(unsafe { eddy_loop_stats(around, stats.as_mut_ptr().cast()) }, 0);
    assert_eq!(stats, [16, 0]);
    eddy_loop_free(around);
}

unsafe extern "C-unwind" fn write(
    _: *mut eddy_transport,
    bytes: *const c_char,
    len: usize,
    arg: *mut c_void,
) {
    unsafe { note(arg, Bytes(std::slice::from_raw_parts(bytes.cast(), len).to_vec())) };
}

unsafe extern "C-unwind" fn close(_: *mut eddy_transport, arg: *mut c_void) {
    unsafe { note(arg, Done) };
}

#[test]
fn a_transport_of_ones_own_is_called_through_its_functions() {
    let around = eddy_loop_new();
    let mut told: Vec<Told> = Vec::new();
    let told = &raw mut told;
    let ops = eddy_transport_ops {
        size: size_of::<eddy_transport_ops>(),
        write: Some(write),
        write_eof: None,
        close: Some(close),
        abort: Some(close),
        pause_reading: None,
        resume_reading: None,
        release: Some(on_released),
    };
    let reader = eddy_reader_new(around, 100);
    let protocol = eddy_protocol_new(around, reader, None, null_mut());
    let transport = unsafe { eddy_transport_new(around, &ops, told.cast()) };
    assert_eq!(eddy_protocol_connection_made(protocol, transport), 0);
    let writer = eddy_writer_new(transport, protocol, reader);
    unsafe {
        assert_eq!(eddy_writer_write(writer, c"out".as_ptr().cast(), 3), 0);
        assert!(eddy_writer_drain(writer, Some(on_writer), told.cast()) >= 0);
        assert_eq!(eddy_protocol_data_received(protocol, c"in".as_ptr().cast(), 2), 0);
        assert!(eddy_reader_readexactly(reader, 2, Some(on_read), told.cast()) >= 0);
        assert_eq!(eddy_loop_run_once(around, 0), 1); // an open connection, and so more to wait for
        assert!((*told).contains(&Bytes(b"out".to_vec())) && (*told).contains(&Bytes(b"in".to_vec())));
        assert_eq!(eddy_writer_close(writer), 0);
        assert_eq!(eddy_protocol_connection_lost(protocol, 0, null()), 0);
    }
    eddy_loop_free(around);
}
