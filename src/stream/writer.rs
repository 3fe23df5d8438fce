//! What a writer has gathered, and when it is time to drain.

use super::buffer::{Buffer, Pool};
use crate::error::Refusal;

/// The marks of flow control: drains wait from above `high` until `low` is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub high: usize,
    pub low: usize,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks::DEFAULT
    }
}

impl Marks {
    pub const DEFAULT: Marks = Marks { high: 64 * 1024, low: 16 * 1024 };

    /// asyncio's rule; None: what the other one says, or the default.
    pub fn new(high: Option<usize>, low: Option<usize>) -> Result<Marks, Refusal> {
        let high = match (high, low) {
            (Some(high), _) => high,
            (None, Some(low)) => low.saturating_mul(4),
            (None, None) => Marks::default().high,
        };
        let low = low.unwrap_or(high / 4);
        if low > high { Err(Refusal::Invalid) } else { Ok(Marks { high, low }) }
    }
}

#[derive(Debug, Default)]
pub struct Writer {
    /// What is not sent yet; None while that is nothing.
    pub output: Option<Box<Buffer>>,
    /// Above the high mark, and not yet down to the low one.
    pub paused: bool,
}

impl Writer {
    /// Nothing to send, and nobody waits for that.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.output.is_none() && !self.paused
    }

    #[inline]
    pub fn buffered(&self) -> usize {
        self.output.as_ref().map_or(0, |output| output.len())
    }

    /// So many bytes have gone out.
    #[inline(always)]
    pub fn sent(&mut self, n: usize, pool: &mut Pool) {
        if let Some(output) = &mut self.output {
            output.consume(n);
        }
        pool.reclaim(&mut self.output);
    }

    /// Looks at the marks after an attempt to send. True: drains that waited need wait no more.
    #[inline]
    pub fn judge(&mut self, marks: Marks, buffered: usize) -> bool {
        if buffered > marks.high {
            self.paused = true;
        } else if self.paused && buffered <= marks.low {
            self.paused = false;
            return true;
        }
        false
    }
}
