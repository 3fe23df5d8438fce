//! Sockets, pipes, names and addresses. Knows no lines, no loop and no callbacks.

mod connect;
mod eyeballs;
mod listen;
mod pipe;
mod resolve;
mod socket;
#[allow(unsafe_code)]
mod sys;

pub use connect::{Started, connect, is_connected};
pub use eyeballs::{Race, Step};
pub use listen::{Accepted, Listener, SocketFile, accept, is_transient, listen, listen_unix};
pub use pipe::{Direction, Given, PipeEnd, is_open_to, is_standard};
pub use resolve::{Answer, Resolver, literal};
pub use socket::*;

/// What is set on each socket made.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOptions {
    pub keep_alive: bool,
    /// Leave Nagle's algorithm on.
    pub delay: bool,
}

/// What a listening socket is made with.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    pub socket: SocketOptions,
    pub backlog: i32,
    pub reuse_port: bool,
    pub reuse_address: bool,
}
