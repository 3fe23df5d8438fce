//! Streams without sockets, loop or clock: bytes in, answers out.

mod buffer;
mod reader;
mod search;
mod turn;
mod writer;

pub use buffer::{Buffer, NoMemory, Pool};
pub use reader::{DEFAULT_LIMIT, Reader, Separators, Verdict, Want};
pub use turn::{READ_SIZE, Settled, Turn};
pub use writer::{Marks, Writer};
