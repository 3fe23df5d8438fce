//! What a reader keeps, and when a read is settled.

use memchr::memmem;

use super::buffer::{Buffer, NoMemory, Pool};
use super::search::find;
use crate::callback::Callback;
use crate::error::Refusal;

/// asyncio's own: the longest line, and half the most that is buffered.
pub const DEFAULT_LIMIT: usize = 64 * 1024;

/// What a reader waits for. The separators of `Until` lie elsewhere, since few readers have any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Nothing,
    /// At least one byte, at most so many.
    Some(usize),
    Line,
    Exactly(usize),
    Until,
    /// So many bytes, which stay.
    Peek(usize),
    /// Everything up to the end, but no more than this.
    All(usize),
}

/// The separators of a `readuntil`, kept between calls so that the same ones need not be copied again.
#[derive(Clone, Debug, Default)]
pub struct Separators {
    all: Vec<Box<[u8]>>,
    shortest: usize,
    longest: usize,
}

impl Separators {
    pub const fn none() -> Separators {
        Separators { all: Vec::new(), shortest: 0, longest: 0 }
    }

    /// Refuses none at all, and an empty one among them.
    pub fn check<'a>(separators: impl Iterator<Item = &'a [u8]>) -> Result<(), Refusal> {
        match separators.map(<[u8]>::len).min() {
            None | Some(0) => Err(Refusal::Invalid),
            Some(_) => Ok(()),
        }
    }

    /// Those of the next read, which [`check`](Separators::check) has let through.
    pub fn set<'a>(&mut self, separators: impl Iterator<Item = &'a [u8]> + Clone) -> Result<(), Refusal> {
        let lengths = || separators.clone().map(<[u8]>::len);
        if !self.all.iter().map(|kept| &kept[..]).eq(separators.clone()) {
            self.all.clear();
            for separator in separators.clone() {
                let mut copy = Vec::new();
                copy.try_reserve_exact(separator.len()).map_err(|_| Refusal::Full)?;
                copy.extend_from_slice(separator);
                self.all.push(copy.into_boxed_slice());
            }
        }
        self.shortest = lengths().min().unwrap_or(0);
        self.longest = lengths().max().unwrap_or(0);
        Ok(())
    }

    /// The match that ends first, of two that end together the shorter: where it begins and ends, from `from` on.
    fn find(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = self.all.iter().filter_map(|separator| {
            let at = match separator[..] {
                [byte] => find(byte, &bytes[from..]),
                _ => memmem::find(&bytes[from..], separator),
            }?;
            Some((from + at, from + at + separator.len()))
        });
        found.min_by_key(|(start, end)| (*end, end - start))
    }
}

/// How a read stands, given the bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Wait,
    /// So many bytes are the answer; none, at the end of the stream.
    Take(usize),
    /// So many are the answer, and stay.
    Show(usize),
    /// The end came too early.
    Incomplete,
    /// The limit is exceeded: by bytes before a separator that was found at `consumed`, or by `consumed` bytes
    /// that cannot be part of one.
    Overrun {
        consumed: usize,
        found: bool,
    },
}

#[derive(Debug)]
pub struct Reader {
    /// What has come and is not asked for yet; None while that is nothing.
    pub input: Option<Box<Buffer>>,
    pub want: Want,
    pub callback: Callback,
    pub limit: usize,
    /// The counter of the receipt for what is wanted.
    pub serial: u32,
    pub eof: bool,
    /// The rest of an over-long line is on its way, and goes nowhere.
    pub skipping: bool,
    pub canceled: bool,
}

impl Reader {
    pub fn new(limit: usize) -> Reader {
        Reader {
            input: None,
            want: Want::Nothing,
            callback: Callback::default(),
            limit,
            serial: 0,
            eof: false,
            skipping: false,
            canceled: false,
        }
    }

    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.want != Want::Nothing
    }

    /// One read at a time.
    #[inline]
    pub fn arm(&mut self, want: Want, callback: Callback, serial: u32) -> Result<(), Refusal> {
        if self.is_waiting() {
            return Err(Refusal::Busy);
        }
        self.want = want;
        self.callback = callback;
        self.serial = serial;
        if let Some(input) = &mut self.input {
            input.searched = 0;
        }
        Ok(())
    }

    /// Ends the waiting: whom to tell.
    #[inline]
    pub fn disarm(&mut self) -> Callback {
        self.want = Want::Nothing;
        self.canceled = false;
        self.callback
    }

    pub fn buffered(&self) -> usize {
        self.input.as_ref().map_or(0, |input| input.len())
    }

    /// Keeps a copy, but for what belongs to a line that is being skipped.
    pub fn feed(&mut self, bytes: &[u8], pool: &mut Pool) -> Result<(), NoMemory> {
        let skip = self.skip(bytes);
        pool.append(&mut self.input, &bytes[skip..])
    }

    /// How many of these bytes, which have just come, are the rest of an over-long line.
    #[inline]
    pub fn skip(&mut self, bytes: &[u8]) -> usize {
        if !self.skipping {
            return 0;
        }
        match find(b'\n', bytes) {
            Some(at) => {
                self.skipping = false;
                at + 1
            }
            None => bytes.len(),
        }
    }

    /// How the read stands. `searched` remembers what a search has seen, so that a line that comes byte by byte
    /// costs no more than one that comes at once. Overruns are looked for before the end of the stream, as asyncio does.
    #[inline]
    pub fn verdict(
        &self,
        separators: &Separators,
        bytes: &[u8],
        searched: &mut usize,
        failed: bool,
    ) -> Verdict {
        let len = bytes.len();
        let eof = self.eof && !failed;
        if failed && len == 0 {
            return Verdict::Wait;
        }
        match self.want {
            Want::Nothing => Verdict::Wait,
            Want::Line if *searched == len && len <= self.limit && !eof => Verdict::Wait,
            Want::Line => match find(b'\n', &bytes[*searched..]) {
                Some(at) if *searched + at <= self.limit => Verdict::Take(*searched + at + 1),
                Some(at) => Verdict::Overrun { consumed: *searched + at, found: true },
                None if len > self.limit => Verdict::Overrun { consumed: len, found: false },
                None if eof => Verdict::Take(len),
                None => {
                    *searched = len;
                    Verdict::Wait
                }
            },
            Want::Some(n) if len > 0 || n == 0 || eof => Verdict::Take(n.min(len)),
            Want::Exactly(n) if len >= n => Verdict::Take(n),
            Want::Peek(n) if len >= n => Verdict::Show(n),
            Want::Exactly(_) | Want::Peek(_) if eof => Verdict::Incomplete,
            Want::Until => self.verdict_until(separators, bytes, searched, eof),
            Want::All(max) if len > max => Verdict::Overrun { consumed: max, found: false },
            Want::All(_) if eof => Verdict::Take(len),
            Want::Some(_) | Want::Exactly(_) | Want::Peek(_) | Want::All(_) => Verdict::Wait,
        }
    }

    fn verdict_until(
        &self,
        separators: &Separators,
        bytes: &[u8],
        searched: &mut usize,
        eof: bool,
    ) -> Verdict {
        if bytes.len() >= *searched + separators.shortest {
            match separators.find(bytes, *searched) {
                Some((start, end)) if start <= self.limit => return Verdict::Take(end),
                Some((start, _)) => return Verdict::Overrun { consumed: start, found: true },
                None => {}
            }
            // What follows may still be the beginning of the longest.
            *searched = (bytes.len() + 1).saturating_sub(separators.longest);
            if *searched > self.limit {
                return Verdict::Overrun { consumed: *searched, found: false };
            }
        }
        if eof { Verdict::Incomplete } else { Verdict::Wait }
    }
}
