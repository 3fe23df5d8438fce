//! The reader's state machine beside its model.

use super::input::Input;
use super::model::{Ask, Step, compare};

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limit = 1 + input.count();
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < 200 {
        steps.push(step(&mut input));
    }
    compare(limit, &steps);
}

fn step(input: &mut Input) -> Step {
    match input.below(16) {
        0..=4 => Step::Receive(chunk(input)),
        5 => Step::Feed(chunk(input)),
        6..=11 => Step::Ask(ask(input)),
        12 => Step::Cancel,
        13..=14 => Step::Turn,
        _ => match input.below(8) {
            0 => Step::End,
            1 => Step::Fail,
            _ => Step::Turn,
        },
    }
}

fn chunk(input: &mut Input) -> Vec<u8> {
    let len = input.count();
    input.letters(len)
}

pub fn ask(input: &mut Input) -> Ask {
    match input.below(8) {
        0 => Ask::Some(input.count()),
        1 | 2 => Ask::Line,
        3 => Ask::Exactly(input.count()),
        4 | 5 => {
            let count = 1 + input.below(3);
            Ask::Until((0..count).map(|_| mark(input)).collect())
        }
        6 => Ask::Peek(input.count()),
        _ => Ask::All(input.count()),
    }
}

fn mark(input: &mut Input) -> Vec<u8> {
    let len = 1 + input.below(4);
    input.letters(len)
}
