//! Readers and their turns against a model that has everything in one string and looks through it anew each time.

use eddy::callback::Callback;
use eddy::callback::Lent;
use eddy::stream::{Pool, READ_SIZE, Reader, Separators, Settled, Turn, Want};

#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    Some(usize),
    Line,
    Exactly(usize),
    Until(Vec<Vec<u8>>),
    Peek(usize),
    All(usize),
}

impl Ask {
    fn want(&self) -> Want {
        match *self {
            Ask::Some(n) => Want::Some(n),
            Ask::Line => Want::Line,
            Ask::Exactly(n) => Want::Exactly(n),
            Ask::Until(_) => Want::Until,
            Ask::Peek(n) => Want::Peek(n),
            Ask::All(max) => Want::All(max),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Bytes(Vec<u8>),
    Incomplete(Vec<u8>, Option<usize>),
    Overrun(usize, bool),
    /// The error of the connection, or the user's.
    Failed,
    Canceled,
}

/// The model: what the specification says, with no care for cost.
#[derive(Debug, Default)]
pub struct Model {
    pub bytes: Vec<u8>,
    pub eof: bool,
    pub failed: bool,
    pub canceled: bool,
    pub skipping: bool,
    pub limit: usize,
}

impl Model {
    pub fn new(limit: usize) -> Model {
        Model { limit, ..Model::default() }
    }

    pub fn receive(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            if !self.skipping {
                self.bytes.push(byte);
            } else if byte == b'\n' {
                self.skipping = false;
            }
        }
    }

    fn take(&mut self, n: usize) -> Outcome {
        Outcome::Bytes(self.bytes.drain(..n).collect())
    }

    /// None: it waits.
    pub fn settle(&mut self, ask: &Ask) -> Option<Outcome> {
        if std::mem::take(&mut self.canceled) {
            return Some(Outcome::Canceled);
        }
        if self.failed {
            // What came before the error is read first; it is no end of the stream.
            let eof = std::mem::take(&mut self.eof);
            let settled = if self.bytes.is_empty() { None } else { self.settle_by_bytes(ask) };
            self.eof = eof;
            return settled.or(Some(Outcome::Failed));
        }
        self.settle_by_bytes(ask)
    }

    fn incomplete(&mut self, expected: Option<usize>) -> Option<Outcome> {
        self.eof.then(|| Outcome::Incomplete(std::mem::take(&mut self.bytes), expected))
    }

    fn settle_by_bytes(&mut self, ask: &Ask) -> Option<Outcome> {
        let len = self.bytes.len();
        match ask {
            Ask::Some(n) if len > 0 || *n == 0 || self.eof => Some(self.take(len.min(*n))),
            Ask::Exactly(n) if len >= *n => Some(self.take(*n)),
            Ask::Exactly(n) => self.incomplete(Some(*n)),
            Ask::Peek(n) if len >= *n => Some(Outcome::Bytes(self.bytes[..*n].to_vec())),
            Ask::Peek(n) if self.eof => Some(Outcome::Incomplete(self.bytes.clone(), Some(*n))),
            Ask::All(max) if len > *max => Some(Outcome::Overrun(*max, false)),
            Ask::All(_) if self.eof => Some(self.take(len)),
            Ask::Line => match self.bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) if at <= self.limit => Some(self.take(at + 1)),
                Some(at) => {
                    self.bytes.drain(..=at);
                    Some(Outcome::Overrun(at, true))
                }
                None if len > self.limit => {
                    self.bytes.clear();
                    self.skipping = true;
                    Some(Outcome::Overrun(len, false))
                }
                None if self.eof => Some(self.take(len)),
                None => None,
            },
            Ask::Until(separators) => {
                let longest = separators.iter().map(Vec::len).max().unwrap_or(0);
                let ends = (1..=len).find_map(|end| {
                    let matching = separators.iter().filter(|s| self.bytes[..end].ends_with(s));
                    matching.map(Vec::len).min().map(|len| (end - len, end))
                });
                let hopeless = (len + 1).saturating_sub(longest);
                match ends {
                    Some((start, end)) if start <= self.limit => Some(self.take(end)),
                    Some((start, _)) => Some(Outcome::Overrun(start, true)),
                    None if hopeless > self.limit => Some(Outcome::Overrun(hopeless, false)),
                    None => self.incomplete(None),
                }
            }
            _ => None,
        }
    }
}

/// A stream as the hub drives it: chunks come, reads are settled, what is left is kept.
pub struct Stream {
    pub reader: Reader,
    pub turn: Turn,
    pub pool: Pool,
    separators: Separators,
    failed: bool,
    in_turn: bool,
}

impl Stream {
    pub fn new(limit: usize) -> Stream {
        Stream {
            reader: Reader::new(limit),
            turn: Turn::new().unwrap(),
            pool: Pool::default(),
            separators: Separators::default(),
            failed: false,
            in_turn: false,
        }
    }

    fn begin(&mut self) {
        self.turn.begin(&mut self.reader);
        self.in_turn = true;
    }

    /// What nobody asked for is kept.
    pub fn finish(&mut self) {
        self.turn.finish(&mut self.reader, &mut self.pool).unwrap();
        self.in_turn = false;
    }

    /// A chunk comes from the socket, in its turn.
    pub fn receive(&mut self, chunk: &[u8]) {
        if !self.in_turn {
            self.begin();
        }
        let room = self.turn.room(&mut self.reader, &mut self.pool).unwrap();
        room[..chunk.len()].copy_from_slice(chunk);
        self.turn.received(chunk.len(), &mut self.reader, &mut self.pool).unwrap();
    }

    /// A chunk comes by hand, perhaps from within a callback of the turn.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.in_turn {
            self.turn.leave(&mut self.reader, &mut self.pool).unwrap();
        }
        self.reader.feed(chunk, &mut self.pool).unwrap();
        if self.in_turn {
            self.finish();
            self.begin();
        }
    }

    pub fn ask(&mut self, ask: &Ask) {
        if let Ask::Until(separators) = ask {
            self.separators.set(separators.iter().map(|s| &s[..])).unwrap();
        }
        self.reader.arm(ask.want(), Callback::default(), 0).unwrap();
        if self.in_turn {
            self.turn.rearm();
        }
    }

    /// What was lent, and a NUL behind it.
    fn copy(&self, lent: Lent) -> Vec<u8> {
        // SAFETY: lent until the turn goes on, and the NUL with it.
        let bytes = unsafe { std::slice::from_raw_parts(lent.start, lent.len + 1) };
        assert_eq!(bytes.last(), Some(&0));
        bytes[..lent.len].to_vec()
    }

    pub fn settle(&mut self) -> Option<Outcome> {
        let outcome = if let Some(line) = self.turn.line(&self.reader) {
            Outcome::Bytes(self.copy(line))
        } else {
            match self.turn.settle(&mut self.reader, &self.separators, self.failed) {
                Settled::Waiting if self.failed => Outcome::Failed,
                Settled::Waiting => return None,
                Settled::NoMemory => unreachable!("there is memory"),
                Settled::Canceled => Outcome::Canceled,
                Settled::Bytes(lent) => Outcome::Bytes(self.copy(lent)),
                Settled::Incomplete { partial, expected } => Outcome::Incomplete(partial, expected),
                Settled::Overrun { consumed, found } => Outcome::Overrun(consumed, found),
            }
        };
        self.reader.disarm();
        Some(outcome)
    }

    fn buffered(&self) -> usize {
        self.reader.buffered() + if self.in_turn { self.turn.len() } else { 0 }
    }
}

#[derive(Clone, Debug)]
pub enum Step {
    /// From the socket.
    Receive(Vec<u8>),
    /// By hand.
    Feed(Vec<u8>),
    /// Unless one is waiting.
    Ask(Ask),
    Cancel,
    /// The turn ends, or the next begins.
    Turn,
    End,
    Fail,
}

/// Whatever the cuts, each read gives what the model gives, and the same is left.
pub fn compare(limit: usize, steps: &[Step]) {
    let mut stream = Stream::new(limit);
    let mut model = Model::new(limit);
    let mut waiting: Option<&Ask> = None;
    for step in steps {
        match step {
            Step::Receive(_) | Step::Feed(_) if model.eof || model.failed => {}
            Step::Receive(chunk) => {
                let chunk = &chunk[..chunk.len().min(READ_SIZE)];
                stream.receive(chunk);
                model.receive(chunk);
            }
            Step::Feed(chunk) => {
                stream.feed(chunk);
                model.receive(chunk);
            }
            Step::Ask(ask) if waiting.is_none() => {
                stream.ask(ask);
                waiting = Some(ask);
            }
            Step::Ask(_) => {}
            Step::Cancel => {
                stream.reader.canceled = waiting.is_some();
                model.canceled = waiting.is_some();
            }
            Step::Turn if stream.in_turn => stream.finish(),
            Step::Turn => stream.begin(),
            Step::End => {
                stream.reader.eof = true;
                model.eof = true;
            }
            Step::Fail => {
                stream.failed = true;
                model.failed = true;
            }
        }
        if stream.in_turn
            && let Some(ask) = waiting
        {
            let outcome = stream.settle();
            assert_eq!(outcome, model.settle(ask), "{ask:?}");
            if outcome.is_some() {
                waiting = None;
            }
        }
        assert_eq!(stream.buffered(), model.bytes.len());
    }
}
