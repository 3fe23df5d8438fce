//! A stream over a socket whose other end is hostile: in clear, or a client or a server of TLS, who is spoken to in TLS
//! that is cut, flipped, repeated and swapped, while its user reads, writes and closes.

use std::cell::Cell;
use std::ffi::CStr;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;

use eddy::ffi::opening::*;
use eddy::ffi::reader::*;
use eddy::ffi::tls::*;
use eddy::ffi::types::*;
use eddy::ffi::writer::*;

use super::abi::{self, Loop, opened, written};
use super::input::Input;
use super::tls_records::{End, configs, harm};

/// How the stream is spoken to.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Clear,
    Client,
    Server,
}

/// Settings at the C door, made once: a client's and a server's.
fn settings(who: Who) -> *mut eddy_tls {
    thread_local! {
        static SETTINGS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    }
    if SETTINGS.get() == (0, 0) {
        let client = eddy_tls_client_new();
        // SAFETY: all end with a NUL.
        let server = unsafe {
            assert_eq!(eddy_tls_trust(client, super::AUTHORITY.as_ptr()), 0);
            eddy_tls_server_new(super::SERVER.as_ptr(), super::KEY.as_ptr())
        };
        SETTINGS.set((client as usize, server as usize));
    }
    match who {
        Who::Clear => ptr::null_mut(),
        Who::Client => SETTINGS.get().0 as *mut eddy_tls,
        Who::Server => SETTINGS.get().1 as *mut eddy_tls,
    }
}

/// The hostile end.
struct Peer {
    socket: UnixStream,
    /// With TLS.
    end: Option<End>,
    /// What it has sent, and what has come, without TLS.
    sent: Vec<u8>,
    came: Vec<u8>,
}

impl Peer {
    fn receive(&mut self, piece: usize) {
        let mut room = [0; 20_000];
        while let Ok(n @ 1..) = self.socket.read(&mut room) {
            match &mut self.end {
                Some(end) => {
                    end.incoming.extend_from_slice(&room[..n]);
                    end.take(piece);
                }
                None => self.came.extend_from_slice(&room[..n]),
            }
        }
    }

    fn send(&mut self, bytes: &[u8], input: &mut Input) {
        let mut flight = match &mut self.end {
            Some(end) => {
                end.seal(bytes);
                end.output()
            }
            None => bytes.to_vec(),
        };
        if self.end.is_some() {
            harm(&mut flight, input);
        }
        let sent = self.socket.write(&flight).unwrap_or(0);
        if self.end.is_none() {
            self.sent.extend_from_slice(&flight[..sent]);
        }
    }
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let who = [Who::Clear, Who::Client, Who::Server][input.below(3)];
    let (client, server) = &configs()[input.below(2)];
    let end = match who {
        Who::Clear => None,
        Who::Client => Some(End::new(server)),
        Who::Server => Some(End::new(client)),
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let mut peer = Peer { socket: theirs, end, sent: Vec::new(), came: Vec::new() };

    let mut eddy = Loop::new();
    let handle = eddy.handle;
    // SAFETY: zero is a value of every field.
    let mut options: eddy_options = unsafe { std::mem::zeroed() };
    options.size = size_of::<eddy_options>();
    options.limit = 1 + input.count();
    options.max_write_buffer = if input.below(4) == 0 { 5000 } else { 0 };
    options.tls = if who == Who::Client { settings(who) } else { ptr::null_mut() };
    options.server_hostname = if who == Who::Client { c"server.test".as_ptr() } else { ptr::null() };
    let fd = ours.into_raw_fd();
    // SAFETY: given away; the operation lives as long as the loop.
    let opening = eddy
        .start(|argument| unsafe { eddy_open_socket(handle, fd as isize, &options, Some(opened), argument) })
        .op
        .get();
    assert!(opening >= 0);
    if who == Who::Server {
        // Nobody opens a server's end but a server, or so.
        eddy.turn();
        let writer = eddy.started(opening).writer.get() as *mut eddy_writer;
        options.tls = settings(who);
        // SAFETY: as above.
        let upgrade = eddy
            .start(|argument| unsafe { eddy_writer_start_tls(writer, &options, Some(written), argument) });
        assert!(upgrade.op.get() >= 0);
    }
    let mut wrote = Vec::new();
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        let (reader, writer) = {
            let opening = eddy.started(opening);
            (opening.reader.get() as *mut eddy_reader, opening.writer.get() as *mut eddy_writer)
        };
        step(&mut input, &mut eddy, &mut peer, (reader, writer), &mut wrote);
    }
    for _ in 0..4 {
        eddy.turn();
        peer.receive(usize::MAX / 2);
    }
    let (sent, came) = match &peer.end {
        Some(end) => (&end.sealed, &end.opened),
        None => (&peer.sent, &peer.came),
    };
    assert!(sent.starts_with(&eddy.has_read()), "what was read is not what was sent");
    assert!(wrote.starts_with(came), "what came out is not what was written");
    eddy.free();
    // Closed: its other end finds that out, after whatever came before.
    let last =
        std::iter::repeat_with(|| peer.socket.read(&mut [0; 20_000])).find(|read| !matches!(read, Ok(1..)));
    assert!(
        !matches!(last, Some(Err(error)) if error.kind() == ErrorKind::WouldBlock),
        "a descriptor is left"
    );
}

fn step(
    input: &mut Input,
    eddy: &mut Loop,
    peer: &mut Peer,
    (reader, writer): (*mut eddy_reader, *mut eddy_writer),
    wrote: &mut Vec<u8>,
) {
    match input.below(16) {
        0..=3 => {
            eddy.turn();
        }
        4 | 5 => peer.receive(match input.count() {
            0 => usize::MAX / 2,
            piece => piece,
        }),
        6..=8 => {
            let len = input.count();
            let bytes = input.letters(len);
            peer.send(&bytes, input);
        }
        9 | 10 => {
            let n = 1 + input.count();
            eddy.start(|argument| eddy_reader_read(reader, n, Some(abi::read), argument));
        }
        11 => {
            let len = input.count();
            let bytes = input.letters(len);
            // SAFETY: as long as it says.
            if unsafe { eddy_writer_write(writer, bytes.as_ptr().cast(), bytes.len()) } >= 0 {
                wrote.extend_from_slice(&bytes);
            }
        }
        12 => {
            eddy.start(|argument| eddy_writer_drain(writer, Some(written), argument));
        }
        13 => {
            eddy.start(|argument| eddy_writer_wait_closed(writer, Some(written), argument));
        }
        14 => match input.below(8) {
            0 => drop(peer.socket.shutdown(Shutdown::Write)),
            1 => drop(peer.socket.shutdown(Shutdown::Both)),
            2 => peer.end.iter_mut().for_each(End::close),
            3 => {
                // Nothing that TLS would say.
                let invented = input.take(40);
                if peer.end.is_some() {
                    let _ = peer.socket.write(invented);
                }
            }
            _ => look(writer),
        },
        _ => match input.below(8) {
            0 => drop(eddy_writer_close(writer)),
            1 => drop(eddy_writer_abort(writer)),
            2 => drop(eddy_writer_write_eof(writer)),
            3 => eddy_writer_free(writer),
            4 => eddy_reader_free(reader),
            _ => drop(eddy_writer_flush(writer)),
        },
    }
}

fn look(writer: *mut eddy_writer) {
    for name in
        [c"cipher", c"version", c"alpn", c"peercert", c"server_hostname", c"session_reused", c"peername"]
    {
        // SAFETY: a name.
        unsafe { eddy_writer_get_extra_info(writer, CStr::as_ptr(name), ptr::null_mut()) };
    }
}
