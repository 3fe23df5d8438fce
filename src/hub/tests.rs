//! The hub without a door: what it says is to be called is looked at as data.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use super::*;
use crate::net::SocketOptions;
use crate::stream::Want;

fn hub() -> Hub {
    Hub::new(table::loop_number(1, 1), 1, 0).unwrap()
}

fn options() -> Options {
    Options {
        limits: Limits { input: 1024, output: None },
        timeout: None,
        head_start: None,
        local_host: None,
        local_port: 0,
        family: 0,
        socket: SocketOptions::default(),
        backlog: 1,
        max_clients: usize::MAX,
        reuse_port: false,
        reuse_address: true,
        keep_socket_file: false,
        secure: None,
    }
}

/// A callback is known by its argument here.
fn callback(argument: usize) -> Callback {
    Callback { function: 1, argument }
}

const RUN: Run = Run { while_alive: true, one_round: None };

/// The next call of a run, which must come.
fn next(hub: &mut Hub) -> Call {
    hub.step(RUN).unwrap().expect("there is somebody to call")
}

fn who(call: &Call) -> usize {
    match call {
        Call::Read(Read { callback, .. }) | Call::ReadFailed { callback, .. } => callback.argument,
        Call::Writer { callback, .. } | Call::Stream { callback, .. } => callback.argument,
        Call::Server { callback, .. } | Call::Loop { callback, .. } => callback.argument,
        _ => 0,
    }
}

#[test]
fn nothing_is_called_before_somebody_asks() {
    let mut hub = hub();
    let reader = hub.reader_new(100).unwrap();
    hub.feed_data(reader, b"one\ntwo\n").unwrap();
    hub.read(reader, Want::Line, callback(1)).unwrap();
    hub.begin_run(RUN).unwrap();
    let Call::Read(Read { bytes, stream, .. }) = next(&mut hub) else { panic!("not a read") };
    assert_eq!((bytes.len, stream), (4, reader));
    // Nobody asked for the second line, and nothing is left to wait for.
    assert!(hub.step(RUN).unwrap().is_none());
    assert!(!hub.is_alive());
}

#[test]
fn posts_come_in_order_and_timers_when_they_are_due() {
    let mut hub = hub();
    hub.set_clock(true).unwrap(); // else it depends on how long the lines here take
    hub.call_later(Duration::from_millis(2), callback(4)).unwrap();
    hub.call_later(Duration::from_millis(1), callback(3)).unwrap();
    hub.call_soon(callback(1)).unwrap();
    hub.call_soon(callback(2)).unwrap();
    hub.begin_run(RUN).unwrap();
    let order: Vec<usize> = (0..4).map(|_| who(&next(&mut hub))).collect();
    assert_eq!(order, [1, 2, 3, 4]);
    assert!(hub.step(RUN).unwrap().is_none());
    assert!(!hub.is_alive());
}

#[test]
fn a_receipt_cancels_once_and_only_what_it_is_for() {
    let mut hub = hub();
    let reader = hub.reader_new(100).unwrap();
    let first = hub.read(reader, Want::Line, callback(1)).unwrap();
    assert_eq!(hub.cancel(first), Ok(()));
    assert_eq!(hub.cancel(first), Err(Refusal::Stale));
    hub.begin_run(RUN).unwrap();
    assert!(matches!(next(&mut hub), Call::ReadFailed { error, .. } if *error == Error::Canceled));
    let second = hub.read(reader, Want::Line, callback(2)).unwrap();
    assert_eq!(hub.cancel(first), Err(Refusal::Stale));
    assert_eq!(hub.cancel(second), Ok(()));
}

#[test]
#[cfg_attr(miri, ignore = "it knows no TCP_NODELAY")]
fn a_connection_is_made_spoken_over_and_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut hub = hub();
    hub.open(Target::Host("127.0.0.1".into(), port), options(), None, callback(1)).unwrap();
    hub.begin_run(RUN).unwrap();
    let Call::Stream { stream: Some(stream), .. } = next(&mut hub) else { panic!("not connected") };
    let (mut peer, _) = listener.accept().unwrap();

    // However many writes: one send, when the round is over.
    for word in ["to ", "be ", "sent ", "at once"] {
        hub.write(stream, word.as_bytes()).unwrap();
    }
    assert_eq!(hub.write_buffer_size(stream), Ok(18));
    peer.write_all(b"answer\n").unwrap();
    hub.read(stream, Want::Line, callback(2)).unwrap();
    assert_eq!(who(&next(&mut hub)), 2);
    let mut heard = [0; 64];
    assert_eq!(peer.read(&mut heard).unwrap(), 18);

    hub.wait_closed(stream, callback(3)).unwrap();
    hub.writer_free(stream).unwrap();
    drop(peer);
    assert_eq!(who(&next(&mut hub)), 3);
    assert!(hub.step(RUN).unwrap().is_none());
    assert!(hub.connections.is_empty());
}

#[test]
fn the_end_tells_everybody_once() {
    let mut hub = hub();
    let reader = hub.reader_new(100).unwrap();
    hub.read(reader, Want::Exactly(5), callback(1)).unwrap();
    hub.call_later(Duration::from_secs(60), callback(2)).unwrap();
    hub.open(Target::Everywhere(0), options(), Some(callback(9)), callback(3)).unwrap();
    hub.end();
    let mut told: Vec<usize> = std::iter::from_fn(|| hub.next_at_end()).map(|call| who(&call)).collect();
    told.sort();
    assert_eq!(told, [1, 2, 3]);
    assert_eq!(hub.read(reader, Want::Line, callback(4)), Err(Refusal::State));
}
