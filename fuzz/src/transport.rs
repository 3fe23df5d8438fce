//! Transports of our own that obey nobody: what happens to them happens in any order, from within any callback, while
//! streams are read, written, drained, closed, cancelled and freed. Each read is what the model says, each operation is
//! called back once, what is written comes out as it went in, and nothing waits that could go on.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::slice;

use eddy::ffi::custom::*;
use eddy::ffi::errors::*;
use eddy::ffi::event_loop::*;
use eddy::ffi::looking::*;
use eddy::ffi::reader::*;
use eddy::ffi::types::*;
use eddy::ffi::writer::*;

use super::abi::{EBUSY, ECANCELED, EINCOMPLETE, EINVAL, ELIMIT, ESTALE, ESTATE};
use super::input::Input;
use super::model::{Ask, Model, Outcome};
use super::reader::ask;

const STREAMS: usize = 2;
/// Of those that are started in one input.
const OPERATIONS: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Read,
    Drain,
    WaitClosed,
    Static,
    Soon,
}

#[derive(Debug)]
struct Operation {
    kind: Kind,
    stream: usize,
    op: eddy_op,
    called: bool,
    canceled: bool,
}

/// A stream, and what must be so of it.
struct Stream {
    reader: *mut eddy_reader,
    protocol: *mut eddy_protocol,
    transport: *mut eddy_transport,
    writer: *mut eddy_writer,
    has_reader: bool,
    has_protocol: bool,
    has_client: bool,
    announced: bool,
    made: bool,
    joined: bool,
    lost: bool,
    model: Model,
    /// What the model failed with.
    code: c_int,
    /// What is read, by which operation, and into which memory.
    ask: Option<(Ask, usize)>,
    into: Option<Box<[u8]>>,
    written: Vec<u8>,
    sent: usize,
    writing_paused: bool,
    told: Told,
    extra: Option<Vec<u8>>,
}

/// What its transport has been told.
#[derive(Debug, Default)]
struct Told {
    eof: bool,
    close: bool,
    abort: bool,
    paused: bool,
    released: bool,
}

struct World<'a> {
    input: RefCell<Input<'a>>,
    handle: *mut eddy_loop,
    streams: RefCell<Vec<Stream>>,
    operations: RefCell<Vec<Operation>>,
    statics: RefCell<Vec<Box<[u8]>>>,
    /// Within a call that may not call back.
    calling: Cell<bool>,
    callbacks: Cell<u64>,
    /// Freed from within a callback; then every later callback is of its end.
    freed: Cell<bool>,
    ending: Cell<bool>,
    running: Cell<bool>,
}

thread_local! {
    /// The world of the input that is being run.
    static WORLD: Cell<*const c_void> = const { Cell::new(ptr::null()) };
}

fn world<'a>() -> &'a World<'a> {
    // SAFETY: set by `run`, which outlives the loop whose callbacks ask for it.
    unsafe { &*WORLD.get().cast::<World<'a>>() }
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let handle = eddy_loop_new();
    assert!(!handle.is_null());
    eddy_loop_set_exception_handler(handle, Some(reported), ptr::null_mut());
    let world = World {
        handle,
        streams: RefCell::default(),
        operations: RefCell::default(),
        statics: RefCell::default(),
        calling: Cell::new(false),
        callbacks: Cell::new(0),
        freed: Cell::new(false),
        ending: Cell::new(false),
        running: Cell::new(false),
        input: RefCell::new(Input::new(&[])),
    };
    WORLD.set((&raw const world).cast());
    for n in 0..STREAMS {
        let stream = world.stream(n, &mut input);
        world.streams.borrow_mut().push(stream);
    }
    world.input.replace(input);
    while !world.input.borrow().is_empty() && !world.freed.get() {
        match world.below(8) {
            0 => world.turn(),
            1 => world.settle(),
            _ => world.act(),
        }
    }
    world.settle();
    if !world.freed.get() {
        world.end();
        eddy_loop_free(handle);
    }
    world.check_end();
    WORLD.set(ptr::null());
}

impl World<'_> {
    fn stream(&self, n: usize, input: &mut Input) -> Stream {
        let limit = 1 + input.count();
        let reader = eddy_reader_new(self.handle, limit);
        let can = input.byte();
        let ops = eddy_transport_ops {
            size: size_of::<eddy_transport_ops>(),
            write: Some(write),
            write_eof: (can & 1 == 0).then_some(write_eof),
            close: Some(close),
            abort: Some(abort),
            pause_reading: (can & 2 == 0).then_some(pause_reading),
            resume_reading: (can & 2 == 0).then_some(resume_reading),
            release: Some(release),
        };
        let has_client = can & 4 != 0;
        let client = has_client.then_some(announced as _);
        // SAFETY: ops as they should be; the argument is a number.
        let transport = unsafe { eddy_transport_new(self.handle, &ops, n as *mut c_void) };
        let protocol = eddy_protocol_new(self.handle, reader, client, n as *mut c_void);
        assert!(!reader.is_null() && !transport.is_null() && !protocol.is_null());
        Stream {
            reader,
            protocol,
            transport,
            writer: ptr::null_mut(),
            has_reader: true,
            has_protocol: true,
            has_client,
            announced: false,
            made: false,
            joined: false,
            lost: false,
            model: Model::new(limit),
            code: 0,
            ask: None,
            into: None,
            written: Vec::new(),
            sent: 0,
            writing_paused: false,
            told: Told::default(),
            extra: None,
        }
    }

    fn below(&self, bound: usize) -> usize {
        self.input.borrow_mut().below(bound)
    }

    /// Calls what may not call back.
    fn call<R>(&self, call: impl FnOnce() -> R) -> R {
        assert!(!self.calling.replace(true));
        let result = call();
        self.calling.set(false);
        result
    }

    fn with<R>(&self, n: usize, look: impl FnOnce(&mut Stream) -> R) -> R {
        look(&mut self.streams.borrow_mut()[n])
    }

    fn turn(&self) {
        self.running.set(true);
        let more = eddy_loop_run_once(self.handle, 0);
        self.running.set(false);
        assert!(more == 0 || more == 1 || self.freed.get(), "eddy_loop_run_once: {more}");
    }

    /// Until nothing happens any more: then nothing waits that could go on.
    fn settle(&self) {
        let mut still = 0;
        while still < 3 {
            if self.freed.get() {
                return;
            }
            let before = self.callbacks.get();
            self.turn();
            still = if self.callbacks.get() == before { still + 1 } else { 0 };
        }
        if self.freed.get() {
            return;
        }
        let operations = self.operations.borrow();
        for (n, stream) in self.streams.borrow_mut().iter_mut().enumerate() {
            if let Some((ask, at)) = &stream.ask {
                let Model { bytes, eof, failed, canceled, skipping, limit } = &stream.model;
                let mut model = Model {
                    bytes: bytes.clone(),
                    eof: *eof,
                    failed: *failed,
                    canceled: *canceled,
                    skipping: *skipping,
                    limit: *limit,
                };
                assert!(!operations[*at].called);
                assert_eq!(model.settle(ask), None, "a read was forgotten: {ask:?}");
            }
            let waits =
                |kind| operations.iter().any(|o| o.stream == n && o.kind == kind && o.op >= 0 && !o.called);
            assert!(!waits(Kind::Drain) || (stream.writing_paused && !stream.lost), "a drain was forgotten");
            assert!(!waits(Kind::WaitClosed) || !stream.lost, "an end was forgotten");
            assert!(!waits(Kind::Static), "a release was forgotten");
            assert!(!waits(Kind::Soon), "a call was forgotten");
            if !stream.lost && !stream.told.abort && !stream.told.close {
                assert_eq!(stream.sent, stream.written.len(), "a write was forgotten");
            }
            assert!(stream.told.released || !(stream.lost && stream.joined), "a transport was forgotten");
        }
    }

    /// All that waits is cancelled, and all connections are lost.
    fn end(&self) {
        if self.ending.replace(true) {
            return;
        }
        for stream in self.streams.borrow_mut().iter_mut() {
            stream.model.canceled |= stream.ask.is_some();
            lose(stream, 0);
        }
    }

    fn check_end(&self) {
        for operation in self.operations.borrow().iter() {
            assert_eq!(operation.called, operation.op >= 0, "{operation:?}");
        }
        for stream in self.streams.borrow().iter() {
            assert!(stream.told.released, "a transport is left");
            assert!(stream.ask.is_none());
        }
    }

    // ---- what a user does, and a transport --------------------------------------------------------------------------

    /// In a callback: does a few things more.
    fn called(&self) {
        assert!(!self.calling.get(), "called back from within a call");
        self.callbacks.set(self.callbacks.get() + 1);
        if self.freed.get() {
            self.end();
        }
    }

    fn react(&self) {
        for _ in 0..self.below(4) {
            self.act();
        }
    }

    fn start(&self, kind: Kind, stream: usize, start: impl FnOnce(*mut c_void) -> eddy_op) -> Option<usize> {
        let at = self.operations.borrow().len();
        if at >= OPERATIONS {
            return None;
        }
        let op = self.call(|| start(at as *mut c_void));
        let operation = Operation { kind, stream, op, called: false, canceled: false };
        self.operations.borrow_mut().push(operation);
        Some(at)
    }

    fn op(&self, at: usize) -> eddy_op {
        self.operations.borrow()[at].op
    }

    fn act(&self) {
        let n = self.below(STREAMS);
        let what = self.below(32);
        let (reader, protocol, transport, writer) =
            self.with(n, |stream| (stream.reader, stream.protocol, stream.transport, stream.writer));
        match what {
            0..=4 => self.read(n, reader),
            5 => self.read_into(n, reader),
            6..=9 => self.feed(n, true),
            10 => self.feed(n, false),
            11 => self.connect(n),
            12 | 13 => self.write(n, writer),
            14 => self.write_static(n, writer),
            15 => {
                self.start(Kind::Drain, n, |arg| eddy_writer_drain(writer, Some(done), arg));
            }
            16 => {
                self.start(Kind::WaitClosed, n, |arg| eddy_writer_wait_closed(writer, Some(done), arg));
            }
            17 => self.cancel(),
            18 => self.end_of_stream(n),
            19 => self.fail(n),
            20 => self.lose(n),
            21 => {
                let pause = self.below(2) == 0;
                let code = self.call(|| {
                    if pause {
                        eddy_protocol_pause_writing(protocol)
                    } else {
                        eddy_protocol_resume_writing(protocol)
                    }
                });
                self.with(n, |stream| {
                    assert_eq!(code, if stream.has_protocol { 0 } else { ESTALE });
                    if code == 0 {
                        stream.writing_paused = pause;
                    }
                });
            }
            22 => {
                let pause = self.below(2) == 0;
                self.call(|| {
                    if pause {
                        eddy_transport_pause_reading(transport)
                    } else {
                        eddy_transport_resume_reading(transport)
                    };
                    eddy_transport_is_reading(transport);
                });
            }
            23 => {
                let how = self.below(6);
                self.call(|| match how {
                    0 | 1 => eddy_writer_close(writer),
                    2 => eddy_writer_abort(writer),
                    3 => eddy_transport_close(transport),
                    4 => eddy_transport_abort(transport),
                    _ => eddy_writer_write_eof(writer),
                });
            }
            24 => self.look(n),
            25 => self.free(n),
            26 => {
                self.call(|| eddy_writer_flush(writer));
                let (high, low) = (self.below(4), self.below(4));
                self.call(|| eddy_writer_set_write_buffer_limits(writer, high * 100, low * 100));
            }
            27 => {
                let handle = self.handle;
                self.start(Kind::Soon, n, |arg| eddy_loop_call_soon(handle, Some(soon), arg));
            }
            28 => {
                let len = self.below(20);
                let value = self.input.borrow_mut().letters(len);
                // SAFETY: as long as it says.
                let code = self.call(|| unsafe {
                    eddy_transport_set_extra_info(
                        transport,
                        c"x".as_ptr(),
                        value.as_ptr().cast(),
                        value.len(),
                    )
                });
                if code == 0 {
                    self.with(n, |stream| stream.extra = Some(value));
                }
            }
            29 if self.running.get() && self.below(8) == 0 => {
                self.call(|| eddy_loop_free(self.handle));
                self.freed.set(true);
            }
            29 if self.running.get() => {
                self.call(|| eddy_loop_stop(self.handle));
                assert_eq!(eddy_loop_run_once(self.handle, 0), EBUSY);
            }
            _ => {}
        }
    }

    fn read(&self, n: usize, reader: *mut eddy_reader) {
        let wanted = ask(&mut self.input.borrow_mut());
        let at = self.start(Kind::Read, n, |arg| match &wanted {
            Ask::Some(n) => eddy_reader_read(reader, *n, Some(read), arg),
            Ask::Line => eddy_reader_readline(reader, Some(read), arg),
            Ask::Exactly(n) => eddy_reader_readexactly(reader, *n, Some(read), arg),
            Ask::Peek(n) => eddy_reader_peek(reader, *n, Some(read), arg),
            Ask::All(max) => eddy_reader_readall(reader, *max, Some(read), arg),
            Ask::Until(marks) => {
                let marks: Vec<_> = marks
                    .iter()
                    .map(|mark| eddy_bytes { data: mark.as_ptr().cast(), len: mark.len() })
                    .collect();
                // SAFETY: as many, and as long, as they say.
                unsafe { eddy_reader_readuntil_any(reader, marks.as_ptr(), marks.len(), Some(read), arg) }
            }
        });
        self.asked(n, at, wanted, None);
    }

    fn read_into(&self, n: usize, reader: *mut eddy_reader) {
        let len = self.input.borrow_mut().count();
        let mut memory = vec![0; len].into_boxed_slice();
        let buffer = memory.as_mut_ptr();
        // SAFETY: kept until it is called back, or cancelled.
        let at = self.start(Kind::Read, n, |arg| unsafe {
            eddy_reader_read_into(reader, buffer.cast(), len, Some(read), arg)
        });
        self.asked(n, at, Ask::Some(len), Some(memory));
    }

    fn asked(&self, n: usize, at: Option<usize>, ask: Ask, into: Option<Box<[u8]>>) {
        let Some(at) = at else { return };
        let op = self.op(at);
        let free = !self.ending.get();
        self.with(n, |stream| {
            let right = stream.has_reader && stream.ask.is_none() && free;
            assert_eq!(op >= 0, right, "a read gave {op}");
            if op >= 0 {
                (stream.ask, stream.into) = (Some((ask, at)), into);
            }
        });
    }

    /// As a protocol, or by hand.
    fn feed(&self, n: usize, by_protocol: bool) {
        let bytes = {
            let mut input = self.input.borrow_mut();
            let len = input.count();
            input.letters(len)
        };
        let (reader, protocol) = self.with(n, |stream| (stream.reader, stream.protocol));
        // SAFETY: as long as it says.
        let code = self.call(|| unsafe {
            if by_protocol {
                eddy_protocol_data_received(protocol, bytes.as_ptr().cast(), bytes.len())
            } else {
                eddy_reader_feed_data(reader, bytes.as_ptr().cast(), bytes.len())
            }
        });
        self.with(n, |stream| {
            let expected = match by_protocol {
                true if !stream.has_protocol => ESTALE,
                true if stream.lost => ESTATE,
                false if !stream.has_reader => ESTALE,
                _ if stream.model.eof => ESTATE,
                _ => 0,
            };
            assert_eq!(code, expected, "by a protocol: {by_protocol}");
            if code == 0 && stream.has_reader {
                stream.model.receive(&bytes);
            }
        });
    }

    fn connect(&self, n: usize) {
        let (reader, protocol, transport) =
            self.with(n, |stream| (stream.reader, stream.protocol, stream.transport));
        match self.below(4) {
            0 => {
                let code = self.call(|| eddy_reader_set_transport(reader, transport));
                self.with(n, |stream| stream.joined |= code == 0);
            }
            1 => {
                let protocol = if self.below(2) == 0 { protocol } else { ptr::null_mut() };
                let writer = self.call(|| eddy_writer_new(transport, protocol, reader));
                if !writer.is_null() {
                    self.with(n, |stream| (stream.writer, stream.joined) = (writer, true));
                }
            }
            _ => {
                let code = self.call(|| eddy_protocol_connection_made(protocol, transport));
                self.with(n, |stream| {
                    assert!(code == 0 || code == ESTATE || code == ESTALE, "connection_made: {code}");
                    assert!(code != 0 || (stream.has_protocol && !stream.made && !stream.lost));
                    if code == 0 {
                        (stream.made, stream.joined) = (true, true);
                    }
                });
            }
        }
    }

    fn write(&self, n: usize, writer: *mut eddy_writer) {
        let bytes = {
            let mut input = self.input.borrow_mut();
            let len = input.count();
            input.letters(len)
        };
        // SAFETY: as long as it says.
        let code = self.call(|| unsafe {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            if bytes.len() % 2 == 0 {
                eddy_writer_write(writer, bytes.as_ptr().cast(), bytes.len())
            } else {
                let lines =
                    [first, second].map(|line| eddy_bytes { data: line.as_ptr().cast(), len: line.len() });
                eddy_writer_writelines(writer, lines.as_ptr(), 2)
            }
        });
        self.wrote(n, code, &bytes);
    }

    fn wrote(&self, n: usize, code: c_int, bytes: &[u8]) {
        assert!([0, 1, ESTALE, ESTATE].contains(&code), "a write gave {code}");
        self.with(n, |stream| {
            if code >= 0 && !stream.lost {
                stream.written.extend_from_slice(bytes);
            }
        });
    }

    fn write_static(&self, n: usize, writer: *mut eddy_writer) {
        let bytes: Box<[u8]> = {
            let mut input = self.input.borrow_mut();
            let len = input.count();
            input.letters(len).into()
        };
        let (start, len) = (bytes.as_ptr(), bytes.len());
        // SAFETY: kept until the end.
        let at = self.start(Kind::Static, n, |arg| unsafe {
            eddy_writer_write_static(writer, start.cast(), len, Some(released), arg).into()
        });
        if let Some(at) = at {
            self.wrote(n, self.op(at) as c_int, &bytes);
        }
        self.statics.borrow_mut().push(bytes);
    }

    fn cancel(&self) {
        let count = self.operations.borrow().len();
        if count == 0 {
            return;
        }
        let at = count - 1 - self.below(count.min(8));
        let (op, stream, kind, waits) = {
            let operations = self.operations.borrow();
            let operation = &operations[at];
            let waits = operation.op >= 0 && !operation.called && !operation.canceled;
            (operation.op, operation.stream, operation.kind, waits)
        };
        if kind == Kind::Static {
            return;
        }
        let code = self.call(|| eddy_loop_cancel(self.handle, op));
        if op < 0 {
            return assert_eq!(code, EINVAL);
        }
        assert!(code == ESTALE || code == 0 && waits, "a cancel gave {code}");
        if code == 0 {
            self.operations.borrow_mut()[at].canceled = true;
        }
        if kind == Kind::Read && waits {
            self.with(stream, |stream| {
                assert!(code == 0 || stream.model.canceled, "a read that waits cannot be cancelled");
                stream.model.canceled = true;
                // Ours again.
                stream.into = None;
            });
        }
    }

    fn end_of_stream(&self, n: usize) {
        let (reader, protocol) = self.with(n, |stream| (stream.reader, stream.protocol));
        let ended = if self.below(2) == 0 {
            self.call(|| eddy_reader_feed_eof(reader)) == 0
        } else {
            let open = self.call(|| eddy_protocol_eof_received(protocol));
            self.with(n, |stream| assert_eq!(open, stream.has_protocol && !stream.lost));
            open
        };
        self.with(n, |stream| stream.model.eof |= ended);
    }

    fn fail(&self, n: usize) {
        let code = 1 + self.below(3) as c_int;
        let reader = self.with(n, |stream| stream.reader);
        // SAFETY: it ends with a NUL.
        let result = self.call(|| unsafe { eddy_reader_set_exception(reader, code, c"by hand".as_ptr()) });
        self.with(n, |stream| {
            assert_eq!(result, if stream.has_reader { 0 } else { ESTALE });
            if result == 0 {
                (stream.model.failed, stream.code) = (true, code);
            }
        });
    }

    fn lose(&self, n: usize) {
        let code = self.below(3) as c_int;
        let protocol = self.with(n, |stream| stream.protocol);
        // SAFETY: NULL.
        let result = self.call(|| unsafe { eddy_protocol_connection_lost(protocol, code, ptr::null()) });
        self.with(n, |stream| {
            let expected = match stream {
                Stream { has_protocol: false, .. } => ESTALE,
                Stream { lost: true, .. } => ESTATE,
                _ => 0,
            };
            assert_eq!(result, expected);
            if result == 0 {
                lose(stream, code);
            }
        });
    }

    fn look(&self, n: usize) {
        let (reader, transport, writer) =
            self.with(n, |stream| (stream.reader, stream.transport, stream.writer));
        let mut start = ptr::null();
        self.call(|| {
            let at_eof = eddy_reader_at_eof(reader);
            let code = eddy_error_code(eddy_reader_exception(reader));
            eddy_writer_get_write_buffer_size(writer);
            eddy_writer_is_closing(writer);
            eddy_transport_is_closing(transport);
            for handle in [reader.cast::<c_void>(), transport.cast(), writer.cast(), self.handle.cast()] {
                // SAFETY: a text.
                assert!(unsafe { CStr::from_ptr(eddy_repr(handle)) }.to_bytes().starts_with(b"<"));
            }
            let mut len = 0;
            // SAFETY: a name, and room for a length.
            let extra = unsafe { eddy_writer_get_extra_info(writer, c"x".as_ptr(), &mut len) };
            // SAFETY: room for a pointer.
            let buffered = unsafe { eddy_reader_buffered(reader, &mut start) };
            self.with(n, |stream| {
                if stream.has_reader {
                    assert_eq!(at_eof, stream.model.eof && stream.model.bytes.is_empty());
                    assert_eq!(code, if stream.model.failed { stream.code } else { 0 });
                    // SAFETY: lent until the next call.
                    assert_eq!(unsafe { lent(start, buffered) }, stream.model.bytes);
                }
                if let (false, Some(value)) = (extra.is_null(), &stream.extra) {
                    // SAFETY: lent until the connection is gone.
                    assert_eq!(unsafe { lent(extra, len) }, *value);
                }
            });
        });
    }

    fn free(&self, n: usize) {
        let (reader, protocol, writer) =
            self.with(n, |stream| (stream.reader, stream.protocol, stream.writer));
        match self.below(4) {
            0 => {
                self.call(|| eddy_reader_free(reader));
                self.with(n, free_reader);
            }
            1 => {
                self.call(|| eddy_protocol_free(protocol));
                self.with(n, |stream| {
                    if stream.has_protocol && (stream.made || stream.joined && !stream.told.released) {
                        lose(stream, 0);
                    }
                    stream.has_protocol = false;
                });
            }
            _ if writer.is_null() => {}
            _ => {
                self.call(|| eddy_writer_free(writer));
                self.with(n, |stream| {
                    free_reader(stream);
                    stream.writer = ptr::null_mut();
                });
            }
        }
    }

    // ---- what a transport is told -----------------------------------------------------------------------------------

    fn tell(&self, transport: *mut eddy_transport, arg: *mut c_void, look: impl FnOnce(&mut Stream)) {
        self.called();
        self.with(arg as usize, |stream| {
            assert_eq!(transport, stream.transport);
            assert!(!stream.told.released && !stream.told.abort, "{:?}", stream.told);
            look(stream);
        });
        self.react();
    }
}

fn lose(stream: &mut Stream, code: c_int) {
    if !std::mem::replace(&mut stream.lost, true) {
        if code == 0 {
            stream.model.eof = true;
        } else {
            (stream.model.failed, stream.code) = (true, code);
        }
    }
}

fn free_reader(stream: &mut Stream) {
    if std::mem::replace(&mut stream.has_reader, false) {
        stream.model.canceled = stream.ask.is_some();
        // It is cancelled: the memory is ours again once it is called back.
    }
}

/// # Safety
/// So many bytes are there, or it is NULL.
unsafe fn lent<'a>(start: *const c_char, len: usize) -> &'a [u8] {
    if start.is_null() {
        assert_eq!(len, 0);
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(start.cast(), len) }
}

unsafe extern "C-unwind" fn write(
    transport: *mut eddy_transport,
    bytes: *const c_char,
    len: usize,
    arg: *mut c_void,
) {
    world().tell(transport, arg, |stream| {
        // SAFETY: lent.
        let bytes = unsafe { lent(bytes, len) };
        assert!(!bytes.is_empty() && !stream.told.close && !stream.told.eof, "{:?}", stream.told);
        assert!(
            stream.written[stream.sent..].starts_with(bytes),
            "what is to be sent is not what was written"
        );
        stream.sent += len;
    });
}

unsafe extern "C-unwind" fn write_eof(transport: *mut eddy_transport, arg: *mut c_void) {
    world().tell(transport, arg, |stream| {
        assert!(!std::mem::replace(&mut stream.told.eof, true) && !stream.told.close);
        assert_eq!(stream.sent, stream.written.len());
    });
}

unsafe extern "C-unwind" fn close(transport: *mut eddy_transport, arg: *mut c_void) {
    world().tell(transport, arg, |stream| {
        assert!(!std::mem::replace(&mut stream.told.close, true));
        assert_eq!(stream.sent, stream.written.len());
        unheard(stream);
    });
}

unsafe extern "C-unwind" fn abort(transport: *mut eddy_transport, arg: *mut c_void) {
    world().tell(transport, arg, |stream| {
        stream.told.abort = true;
        unheard(stream);
    });
}

/// Nobody can say that it is lost.
fn unheard(stream: &mut Stream) {
    if stream.joined && !stream.has_protocol {
        lose(stream, 0);
    }
}

unsafe extern "C-unwind" fn pause_reading(transport: *mut eddy_transport, arg: *mut c_void) {
    world().tell(transport, arg, |stream| assert!(!std::mem::replace(&mut stream.told.paused, true)));
}

unsafe extern "C-unwind" fn resume_reading(transport: *mut eddy_transport, arg: *mut c_void) {
    world().tell(transport, arg, |stream| assert!(std::mem::replace(&mut stream.told.paused, false)));
}

unsafe extern "C-unwind" fn release(arg: *mut c_void) {
    let world = world();
    world.called();
    world.with(arg as usize, |stream| assert!(!std::mem::replace(&mut stream.told.released, true)));
    world.react();
}

// ---- what a user is told --------------------------------------------------------------------------------------------

impl World<'_> {
    /// An operation is called back.
    fn answered(&self, arg: *mut c_void, code: c_int) -> usize {
        self.called();
        let mut operations = self.operations.borrow_mut();
        let operation = &mut operations[arg as usize];
        assert!(!operation.called && operation.op >= 0, "{operation:?}");
        operation.called = true;
        assert!(!operation.canceled || code == ECANCELED, "{operation:?} got {code}");
        operation.stream
    }
}

unsafe extern "C-unwind" fn read(
    reader: *mut eddy_reader,
    bytes: *const c_char,
    len: usize,
    error: *const eddy_error,
    arg: *mut c_void,
) {
    let world = world();
    let code = eddy_error_code(error);
    let n = world.answered(arg, code);
    world.with(n, |stream| {
        assert_eq!(reader, stream.reader);
        let (ask, at) = stream.ask.take().unwrap();
        assert_eq!(at, arg as usize);
        // SAFETY: lent.
        let read = unsafe { lent(bytes, len) };
        let outcome = stream.model.settle(&ask);
        match outcome.as_ref().expect("a read that should wait") {
            Outcome::Bytes(expected) => {
                assert_eq!((code, read), (0, &expected[..]), "{ask:?}");
                match stream.into.take() {
                    Some(memory) => assert!(len == 0 || memory.as_ptr() == read.as_ptr()),
                    // SAFETY: a NUL follows what is lent.
                    None => assert_eq!(unsafe { *bytes.add(len) }, 0),
                }
            }
            Outcome::Incomplete(partial, expected) => {
                assert_eq!(code, EINCOMPLETE, "{ask:?}");
                let mut len = 0;
                // SAFETY: room for a length; lent as the error is.
                let given = unsafe { lent(eddy_error_partial(error, &mut len), len) };
                assert_eq!(given, partial);
                assert_eq!(eddy_error_expected(error), expected.unwrap_or(0));
            }
            Outcome::Overrun(consumed, _) => {
                assert_eq!((code, eddy_error_consumed(error)), (ELIMIT, *consumed), "{ask:?}");
            }
            Outcome::Failed => assert_eq!(code, stream.code, "{ask:?}"),
            Outcome::Canceled => assert_eq!(code, ECANCELED, "{ask:?}"),
        }
        stream.into = None;
    });
    world.react();
}

unsafe extern "C-unwind" fn done(_: *mut eddy_writer, error: *const eddy_error, arg: *mut c_void) {
    world().answered(arg, eddy_error_code(error));
    world().react();
}

unsafe extern "C-unwind" fn soon(_: *mut eddy_loop, error: *const eddy_error, arg: *mut c_void) {
    world().answered(arg, eddy_error_code(error));
    world().react();
}

unsafe extern "C-unwind" fn released(arg: *mut c_void) {
    world().answered(arg, 0);
    world().react();
}

unsafe extern "C-unwind" fn announced(
    reader: *mut eddy_reader,
    writer: *mut eddy_writer,
    error: *const eddy_error,
    arg: *mut c_void,
) {
    let world = world();
    world.called();
    world.with(arg as usize, |stream| {
        assert!(error.is_null() && stream.has_client && stream.made);
        assert!(!std::mem::replace(&mut stream.announced, true));
        assert_eq!(reader, stream.reader);
        stream.writer = writer;
    });
    world.react();
}

unsafe extern "C-unwind" fn reported(
    _: *mut eddy_loop,
    message: *const c_char,
    _: *const eddy_error,
    _: *mut c_void,
) {
    world().called();
    // SAFETY: a text.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    assert!(!message.contains("a bug in eddy"), "{message}");
}
