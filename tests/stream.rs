//! Readers, buffers and marks, each against a model that has everything in one place.

#[path = "../fuzz/src/model.rs"]
mod model;

use eddy::stream::{Buffer, Marks, Pool, Writer};
use proptest::prelude::*;

use model::{Ask, Outcome, Step, Stream, compare};

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
        (0usize..30).prop_map(Ask::Peek),
        (0usize..40).prop_map(Ask::All),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => letters().prop_map(Step::Receive),
        1 => letters().prop_map(Step::Feed),
        5 => asks().prop_map(Step::Ask),
        1 => Just(Step::Cancel),
        2 => Just(Step::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2000 }))]

    /// Shows R4, R15, R20, R21, R22, R26, R30, R31, R32, R33, R34, R41, R42, R43, R44, R45, R46, R47, R48, R49, R51, R52,
    /// R60, R61, R62, R63, R65, R66: whatever the cuts, each read gives what the model gives.
    #[test]
    fn a_reader_gives_what_the_model_gives(
        limit in 1usize..12,
        steps in proptest::collection::vec(steps(), 1..60),
        ends in prop_oneof![9 => Just(Step::End), 1 => Just(Step::Fail)],
        last in proptest::collection::vec(asks().prop_map(Step::Ask), 1..6),
    ) {
        // Within a turn or without, and then the other way round.
        compare(limit, &[&steps[..], &[ends], &last, &[Step::Turn], &last].concat());
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
    let long = if cfg!(miri) { 200 } else { 10_000 };
    for n in 0..long {
        stream.receive(b"x");
        assert!(stream.settle().is_none());
        stream.finish();
        assert_eq!(stream.reader.input.as_ref().unwrap().searched, n + 1);
    }
    stream.receive(b"\n");
    assert!(matches!(stream.settle(), Some(Outcome::Bytes(line)) if line.len() == long + 1));
}
