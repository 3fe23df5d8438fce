//! Objects by ticket.
//!
//! A ticket is a number that says what it stands for: its kind, its loop, its place in a table, and which of the
//! place's lives it belongs to. It is compared whole and never dereferenced, so that a stale, foreign or invented one
//! is found out by one comparison. The number is the Id in Rust, the token in the poll and the handle in C.
//!
//! ```text
//! 64 bits:  0xEDD (12)  kind (4)  loop (8)  generation (20)  place (20)     not a canonical address on x86-64, arm64
//! 32 bits:              kind (4)  loop (4)  generation (12)  place (12)
//! ```
//!
//! Places are reused first in, first out, so that a generation comes round as late as possible; one that has wrapped
//! is wrong but never unsafe.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

#[cfg(target_pointer_width = "64")]
mod layout {
    pub const MARK: usize = 0xEDD << 52;
    pub const KIND: u32 = 48;
    pub const LOOP: u32 = 40;
    pub const GENERATION: u32 = 20;
    /// Loops 1 to 255; 0 is nobody's.
    pub const LOOPS: usize = 256;
}

#[cfg(target_pointer_width = "32")]
mod layout {
    pub const MARK: usize = 0;
    pub const KIND: u32 = 28;
    pub const LOOP: u32 = 24;
    pub const GENERATION: u32 = 12;
    pub const LOOPS: usize = 16;
}

pub use layout::LOOPS;

const PLACE_MASK: usize = (1 << layout::GENERATION) - 1;
const GENERATION_MASK: usize = (1 << (layout::LOOP - layout::GENERATION)) - 1;
const NOWHERE: usize = PLACE_MASK;

/// What a number stands for. The faces of a connection (reader, writer, transport, protocol) share its place and its
/// generation; `Connection` is what they are faces of, and must stay 0: see [`Id::face`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    Connection = 0,
    Loop = 1,
    Server = 2,
    Reader = 3,
    Writer = 4,
    Transport = 5,
    Protocol = 6,
    Error = 7,
    Opening = 8,
    Post = 9,
    Listener = 10,
    /// A connection's, where a timer is set for it: its other timers go by its own number.
    Deadline = 11,
    /// Settings, in the process's own table: its loop is 0.
    Tls = 12,
}

impl Kind {
    /// Nearly all are.
    #[inline]
    pub fn is_connection(number: usize) -> bool {
        number & (layout::MARK | 0xf << layout::KIND) == layout::MARK
    }

    pub fn of(number: usize) -> Option<Kind> {
        use Kind::*;
        const ALL: [Kind; 13] = [
            Connection, Loop, Server, Reader, Writer, Transport, Protocol, Error, Opening, Post, Listener,
            Deadline, Tls,
        ];
        if number & layout::MARK != layout::MARK {
            return None;
        }
        ALL.get((number >> layout::KIND) & 0xf).copied()
    }
}

/// The number of a loop within the process: what a handle says about where its table is.
pub fn loop_of(number: usize) -> usize {
    (number >> layout::LOOP) & (LOOPS - 1)
}

pub fn loop_number(number: usize, generation: usize) -> usize {
    make(Kind::Loop, number, generation, 0)
}

fn make(kind: Kind, loop_number: usize, generation: usize, place: usize) -> usize {
    layout::MARK
        | (kind as usize) << layout::KIND
        | loop_number << layout::LOOP
        | (generation & GENERATION_MASK) << layout::GENERATION
        | place
}

/// A ticket for a `T`.
pub struct Id<T> {
    number: usize,
    kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// Whatever the number is: a table finds out whether it stands for anything.
    #[inline]
    pub const fn from_number(number: usize) -> Id<T> {
        Id { number, kind: PhantomData }
    }

    #[inline]
    pub const fn number(self) -> usize {
        self.number
    }

    /// The connection that `number` is a face of, if it is a face of that kind at all; otherwise an Id that no table
    /// knows, since its kind is not 0.
    pub const fn behind_face(number: usize, face: Kind) -> Id<T> {
        Id::from_number(number ^ ((face as usize) << layout::KIND))
    }

    /// The other way round: the handle of one face.
    pub const fn face(self, face: Kind) -> usize {
        self.number() | ((face as usize) << layout::KIND)
    }

    /// The same place and life, as a number of another kind.
    pub const fn turned(self, from: Kind, to: Kind) -> usize {
        self.number ^ ((from as usize ^ to as usize) << layout::KIND)
    }

    pub const fn place(self) -> usize {
        self.number() & PLACE_MASK
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Id<T> {}

impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Id<T> {}

impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.number())
    }
}

/// A full slot's `id` is the ticket. A free one's has no mark, and holds the next free place and its own generation.
#[derive(Debug)]
struct Slot<T> {
    id: usize,
    value: Option<T>,
}

#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    kind: Kind,
    loop_number: usize,
    first_generation: usize,
    free_head: usize,
    free_tail: usize,
    len: usize,
}

impl<T> Table<T> {
    /// Generations begin at `first_generation`, where the last loop of this number stopped.
    pub fn new(kind: Kind, loop_number: usize, first_generation: usize) -> Table<T> {
        let first_generation = first_generation & GENERATION_MASK;
        Table {
            slots: Vec::new(),
            kind,
            loop_number,
            first_generation,
            free_head: NOWHERE,
            free_tail: NOWHERE,
            len: 0,
        }
    }

    /// A ticket that no table will ever give out.
    pub fn never(kind: Kind) -> usize {
        make(kind, 0, 0, NOWHERE)
    }

    /// Room for so many, which inserting them then cannot lack. False: there is none.
    pub fn reserve(&mut self, more: usize) -> bool {
        self.slots.try_reserve(more).is_ok()
    }

    /// None: there is no memory, or no place, for one more.
    pub fn insert(&mut self, value: T) -> Option<Id<T>> {
        let place = self.free_head;
        let (place, generation) = if place == NOWHERE {
            let place = self.slots.len();
            if place == NOWHERE || (place == self.slots.capacity() && self.slots.try_reserve(1).is_err()) {
                return None;
            }
            self.slots.push(Slot { id: 0, value: None });
            (place, self.first_generation)
        } else {
            let free = self.slots[place].id;
            self.free_head = free & PLACE_MASK;
            if self.free_head == NOWHERE {
                self.free_tail = NOWHERE;
            }
            (place, free >> layout::GENERATION)
        };
        let id = make(self.kind, self.loop_number, generation, place);
        self.slots[place] = Slot { id, value: Some(value) };
        self.len += 1;
        Some(Id::from_number(id))
    }

    #[inline]
    pub fn get(&self, id: Id<T>) -> Option<&T> {
        match self.slots.get(id.place()) {
            Some(slot) if slot.id == id.number() => slot.value.as_ref(),
            _ => None,
        }
    }

    #[inline]
    pub fn get_mut(&mut self, id: Id<T>) -> Option<&mut T> {
        match self.slots.get_mut(id.place()) {
            Some(slot) if slot.id == id.number() => slot.value.as_mut(),
            _ => None,
        }
    }

    pub fn remove(&mut self, id: Id<T>) -> Option<T> {
        let place = id.place();
        let slot = self.slots.get_mut(place)?;
        if slot.id != id.number() {
            return None;
        }
        let value = slot.value.take();
        let generation = ((id.number() >> layout::GENERATION) + 1) & GENERATION_MASK;
        slot.id = generation << layout::GENERATION | NOWHERE;
        match self.free_tail {
            NOWHERE => self.free_head = place,
            last => self.slots[last].id = self.slots[last].id & !PLACE_MASK | place,
        }
        self.free_tail = place;
        self.len -= 1;
        value
    }

    /// Who lives at a place now: for receipts, which carry a place and a counter of their own.
    pub fn at(&self, place: usize) -> Option<Id<T>> {
        let slot = self.slots.get(place)?;
        slot.value.as_ref().map(|_| Id::from_number(slot.id))
    }

    /// All of them, while they may change: `0..places()` to begin with, and then what is left of it.
    pub fn next(&self, places: &mut Range<usize>) -> Option<Id<T>> {
        places.find_map(|place| self.at(place))
    }

    pub fn places(&self) -> usize {
        self.slots.len()
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A generation that no ticket of this table has had, unless it wrapped.
    pub fn next_generation(&self) -> usize {
        let newest = self.slots.iter().map(|slot| (slot.id >> layout::GENERATION) & GENERATION_MASK).max();
        newest.map_or(self.first_generation, |generation| (generation + 1) & GENERATION_MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table<u32> {
        Table::new(Kind::Server, 7, 0)
    }

    #[test]
    fn a_ticket_tells_its_kind_and_loop() {
        let id = table().insert(1).unwrap();
        assert_eq!(Kind::of(id.number()), Some(Kind::Server));
        assert_eq!(loop_of(id.number()), 7);
    }

    #[test]
    fn faces_are_told_apart() {
        let mut connections: Table<u32> = Table::new(Kind::Connection, 1, 0);
        let id = connections.insert(5).unwrap();
        let reader = id.face(Kind::Reader);
        assert_eq!(connections.get(Id::behind_face(reader, Kind::Reader)), Some(&5));
        assert_eq!(connections.get(Id::behind_face(reader, Kind::Writer)), None);
        assert_eq!(connections.get(Id::behind_face(0, Kind::Reader)), None);
    }

    #[test]
    fn places_are_reused_first_in_first_out_and_generations_go_on() {
        let mut table = table();
        let ids: Vec<_> = (0..3).map(|n| table.insert(n).unwrap()).collect();
        for id in &ids {
            table.remove(*id);
        }
        let again: Vec<_> = (0..3).map(|n| table.insert(n).unwrap().place()).collect();
        assert_eq!(again, [0, 1, 2]);
        assert!(ids.iter().all(|id| table.get(*id).is_none()));
        assert_eq!(table.next_generation(), 2);
    }

    #[test]
    fn generations_wrap_without_panic() {
        let mut table: Table<()> = Table::new(Kind::Post, 1, GENERATION_MASK);
        let last = table.insert(()).unwrap();
        table.remove(last);
        let first = table.insert(()).unwrap();
        assert_ne!(last, first);
        assert_eq!(table.get(first), Some(&()));
    }

    proptest! {
        /// Against a map: whatever is inserted and removed, a live ticket finds its value and a dead one nothing.
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..400)) {
            let mut table = table();
            let mut live: Vec<(Id<u32>, u32)> = Vec::new();
            let mut dead: Vec<Id<u32>> = Vec::new();
            for (n, (insert, pick)) in steps.into_iter().enumerate() {
                if insert || live.is_empty() {
                    live.push((table.insert(n as u32).unwrap(), n as u32));
                } else {
                    let (id, value) = live.swap_remove(pick as usize % live.len());
                    prop_assert_eq!(table.remove(id), Some(value));
                    prop_assert_eq!(table.remove(id), None);
                    dead.push(id);
                }
                prop_assert_eq!(table.len(), live.len());
                prop_assert!(live.iter().all(|(id, value)| table.get(*id) == Some(value)));
                prop_assert!(dead.iter().all(|id| table.get(*id).is_none()));
            }
        }
    }
}
