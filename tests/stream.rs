//! Readers and their turns against a model that has everything in one string and looks through it anew each time.

use proptest::prelude::*;

use super::*;
use crate::callback::Callback;

/// A stream as the hub drives it: chunks come, reads are settled, what is left is kept.
struct Stream {
    reader: Reader,
    turn: Turn,
    pool: Pool,
    separators: Separators,
}

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Bytes(Vec<u8>),
    Incomplete(Vec<u8>, Option<usize>),
    Overrun(usize, bool),
}

impl Stream {
    fn new(limit: usize) -> Stream {
        Stream {
            reader: Reader::new(limit),
            turn: Turn::new().unwrap(),
            pool: Pool::default(),
            separators: Separators::default(),
        }
    }

    /// A chunk comes from the socket, in a turn of its own.
    fn receive(&mut self, chunk: &[u8]) {
        self.turn.begin(&mut self.reader);
        let room = self.turn.room(&mut self.reader, &mut self.pool).unwrap();
        room[..chunk.len()].copy_from_slice(chunk);
        self.turn.received(chunk.len(), &mut self.reader, &mut self.pool).unwrap();
    }

    fn ask(&mut self, want: &Ask) {
        if let Ask::Until(separators) = want {
            self.separators.set(separators.iter().map(|s| &s[..])).unwrap();
        }
        self.reader.arm(want.want(), Callback::default(), 0).unwrap();
        self.turn.rearm();
    }

    fn settle(&mut self) -> Option<Outcome> {
        let outcome = match self.turn.settle(&mut self.reader, &self.separators, false) {
            Settled::Waiting => return None,
            Settled::NoMemory | Settled::Canceled => unreachable!("there is memory, and nobody cancels"),
            Settled::Bytes(lent) => Outcome::Bytes(self.turn.peek(lent)),
            Settled::Incomplete { partial, expected } => Outcome::Incomplete(partial, expected),
            Settled::Overrun { consumed, found } => Outcome::Overrun(consumed, found),
        };
        self.reader.disarm();
        Some(outcome)
    }

    fn finish(&mut self) {
        self.turn.finish(&mut self.reader, &mut self.pool).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Ask {
    Some(usize),
    Line,
    Exactly(usize),
    Until(Vec<Vec<u8>>),
    All(usize),
}

impl Ask {
    fn want(&self) -> Want {
        match *self {
            Ask::Some(n) => Want::Some(n),
            Ask::Line => Want::Line,
            Ask::Exactly(n) => Want::Exactly(n),
            Ask::Until(_) => Want::Until,
            Ask::All(max) => Want::All(max),
        }
    }
}

/// The model: what the specification says, with no care for cost.
struct Model {
    bytes: Vec<u8>,
    eof: bool,
    skipping: bool,
    limit: usize,
}

impl Model {
    fn receive(&mut self, chunk: &[u8]) {
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

    fn incomplete(&mut self, expected: Option<usize>) -> Option<Outcome> {
        self.eof.then(|| Outcome::Incomplete(std::mem::take(&mut self.bytes), expected))
    }

    fn settle(&mut self, ask: &Ask) -> Option<Outcome> {
        let len = self.bytes.len();
        match ask {
            Ask::Some(n) if len > 0 || *n == 0 || self.eof => Some(self.take(len.min(*n))),
            Ask::Exactly(n) if len >= *n => Some(self.take(*n)),
            Ask::Exactly(n) => self.incomplete(Some(*n)),
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
                let longest = separators.iter().map(Vec::len).max().unwrap();
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

fn letters() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n')], 0..12)
}

fn asks() -> impl Strategy<Value = Ask> {
    let separator = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n')], 1..4);
    prop_oneof![
        (0usize..9).prop_map(Ask::Some),
        Just(Ask::Line),
        (0usize..30).prop_map(Ask::Exactly),
        proptest::collection::vec(separator, 1..4).prop_map(Ask::Until),
        (0usize..40).prop_map(Ask::All),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Shows R4, R15, R20, R21, R22, R26, R30, R31, R32, R33, R34, R41, R42, R43, R44, R45, R46, R47, R48, R49, R51, R52,
    /// R60, R61, R62, R63, R65, R66: whatever the cuts, each read gives what the model gives.
    #[test]
    fn a_reader_gives_what_the_model_gives(
        limit in 1usize..12,
        steps in proptest::collection::vec((letters(), asks()), 1..40),
    ) {
        let mut stream = Stream::new(limit);
        let mut model = Model { bytes: Vec::new(), eof: false, skipping: false, limit };
        let mut waiting: Option<Ask> = None;
        let last = steps.len() - 1;
        for (n, (chunk, ask)) in steps.into_iter().enumerate() {
            if n == last {
                stream.reader.eof = true;
                model.eof = true;
                stream.turn.begin(&mut stream.reader);
            } else {
                stream.receive(&chunk);
                model.receive(&chunk);
            }
            // A read that waited is settled first, then new ones as long as they are, in the same turn.
            for _ in 0..4 {
                if waiting.is_none() {
                    stream.ask(&ask);
                    waiting = Some(ask.clone());
                }
                let outcome = stream.settle();
                prop_assert_eq!(&outcome, &model.settle(waiting.as_ref().unwrap()), "{:?}", waiting);
                if outcome.is_none() {
                    break;
                }
                waiting = None;
            }
            stream.finish();
            prop_assert_eq!(stream.reader.buffered(), model.bytes.len());
        }
    }

    /// What a callback looks at, or adds to, while it holds what it was lent.
    #[test]
    fn leaving_a_turn_loses_nothing(first in letters(), second in letters(), take in 0usize..6) {
        let mut stream = Stream::new(100);
        stream.receive(&first);
        stream.ask(&Ask::Some(take));
        let taken = match stream.settle() {
            Some(Outcome::Bytes(bytes)) => bytes,
            _ => Vec::new(),
        };
        stream.turn.leave(&mut stream.reader, &mut stream.pool).unwrap();
        stream.reader.feed(&second, &mut stream.pool).unwrap();
        stream.finish();
        let kept = stream.reader.input.as_ref().map_or(&[][..], |input| input.as_slice());
        prop_assert_eq!([&taken[..], kept].concat(), [first, second].concat());
    }

    #[test]
    fn a_buffer_is_a_queue(steps in proptest::collection::vec((letters(), 0usize..12), 0..60)) {
        let (mut buffer, mut model) = (Buffer::default(), Vec::new());
        for (bytes, take) in steps {
            buffer.append(&bytes).unwrap();
            model.extend(bytes);
            let take = take.min(model.len());
            buffer.consume(take);
            model.drain(..take);
            prop_assert_eq!(buffer.as_slice(), &model[..]);
        }
    }

    /// Shows F1, F2, F10.
    #[test]
    fn the_marks_pause_above_the_high_and_resume_at_the_low(
        high in 0usize..20,
        low in 0usize..20,
        sizes in proptest::collection::vec((0usize..12, 0usize..12), 0..40),
    ) {
        let marks = Marks::new(Some(high), Some(low));
        prop_assert_eq!(marks.is_err(), low > high);
        let Ok(marks) = marks else { return Ok(()) };
        let (mut writer, mut pool, mut paused) = (Writer::default(), Pool::default(), false);
        for (add, send) in sizes {
            pool.append(&mut writer.output, &vec![0; add]).unwrap();
            writer.sent(send.min(writer.buffered()), &mut pool);
            let resumed = writer.judge(marks, writer.buffered());
            let was = paused;
            paused = writer.buffered() > high || (paused && writer.buffered() > low);
            prop_assert_eq!(writer.paused, paused);
            prop_assert_eq!(resumed, was && !paused);
        }
    }
}

/// Shows F1.
#[test]
fn marks_that_are_not_given_follow_from_the_others() {
    assert_eq!(Marks::new(None, None), Ok(Marks { high: 65536, low: 16384 }));
    assert_eq!(Marks::new(None, Some(10)), Ok(Marks { high: 40, low: 10 }));
    assert_eq!(Marks::new(Some(0), None), Ok(Marks { high: 0, low: 0 }));
}

/// Shows R42. A line that comes byte by byte costs as many steps as it has bytes: what was searched is not searched
/// again, nor moved more than once.
#[test]
fn a_line_in_single_bytes_is_searched_once() {
    let mut stream = Stream::new(1 << 20);
    stream.ask(&Ask::Line);
    for n in 0..10_000 {
        stream.receive(b"x");
        assert!(stream.settle().is_none());
        stream.finish();
        assert_eq!(stream.reader.input.as_ref().unwrap().searched, n + 1);
    }
    stream.receive(b"\n");
    assert!(matches!(stream.settle(), Some(Outcome::Bytes(line)) if line.len() == 10_001));
}
