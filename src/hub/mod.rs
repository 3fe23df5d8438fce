//! The event loop's inside: it owns every object, by ticket, and is the only place where sockets and readers meet.
//!
//! It calls nobody. The door asks [`Hub::step`] whom to call, calls with nothing borrowed, and asks again; a step waits for
//! events once there is nobody to call. In between the door asks for what most of them are, in a way of their own:
//! [`Hub::next_line`] and [`Hub::next_drained`]. So a round goes:
//!
//! 1. what was queued when the round began (posts, timers, streams that have something to tell), then the events, one
//!    by one: each has its turn, in which everything it has to tell is told, and what its reads leave goes back to it;
//! 2. flush: one send for each stream that has gathered something;
//! 3. the poll, which waits only if nothing is queued; the timers that are due; what other threads have posted.
//!
//! Fairness: a turn is over after so many calls, receives or accepts, and a round after so many calls. What is queued
//! while a round runs, and the events that it does not get to, belong to the next. Those who had much to do in their last
//! turn wait behind all others in a line of their own, of which each round serves a little: whoever asks little is
//! answered soon, whatever the others ask.

mod call;
mod clock;
mod connecting;
mod connection;
mod custom;
mod opening;
mod serving;
mod signals;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

pub use call::{Call, Read, Report};
pub use connection::{Connection, Limits, Secure, face};
pub use opening::{Adoption, Opening, Options, Target};
pub use serving::{Listening, Server};
pub use stats::Stats;

use crate::callback::Callback;
use crate::error::{Error, LentError, Refusal};
use crate::event::{Event, Poll, Remote, Timers};
use crate::net::{Answer, Resolver};
use crate::stream::{Buffer, Pool, Turn};
use crate::table::{self, Id, Kind, Table};

const ROUND_CALLS: u32 = 4096;
/// One object's share of a round, so that one peer cannot starve the rest.
const TURN_CALLS: u32 = 512;
/// What a turn takes is counted in calls; a KiB received is as good as one. More than this is much ...
const LITTLE_WORK: u32 = 128;
/// ... and so much is done in a round for those who had much to do.
const BULK_WORK: u32 = 512;
/// Places in line, and timers, of each object, beside what is left over from those that are gone: more than there are.
const EACH: usize = 2;
const SPARE: usize = 72;
/// Different reports that wait for the exception handler; more than these are counted only.
const REPORTS: usize = 64;

/// What other threads send.
pub enum Posted {
    Call(Callback),
    Answer(Answer),
}

/// What a receipt is for. With a place and a counter it makes an `eddy_op`:
/// `0 | kind (3) | loop (8) | place (20) | counter (32)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    Read = 0,
    Drain = 1,
    WaitClosed = 2,
    Opening = 3,
    Post = 4,
    ServerClosed = 5,
    StartTls = 6,
}

/// A function to be called from the loop: soon, or when its time has come.
#[derive(Debug)]
struct Post {
    callback: Callback,
    serial: u32,
    timed: bool,
    queued: bool,
    canceled: bool,
}

#[derive(Debug)]
struct Counted {
    report: Report,
    count: u32,
}

/// How long a run goes on: until it is stopped, and perhaps less.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Ends when nothing is left to wait for.
    pub while_alive: bool,
    /// Ends after one round, which waits no longer than this for an event; None: as long as it takes.
    pub one_round: Option<Option<Duration>>,
}

pub struct Hub {
    number: usize,
    loop_number: usize,

    connections: Table<Connection>,
    servers: Table<Server>,
    listeners: Table<Listening>,
    openings: Table<Opening>,
    posts: Table<Post>,
    /// From other threads: never cancelled one by one, so they need no ticket.
    posted: VecDeque<Callback>,
    /// Errors lent to callbacks.
    errors: Table<LentError>,

    poll: Poll,
    timers: Timers,
    remote: Arc<Remote<Posted>>,
    signal_handlers: Option<Box<signals::Handlers>>,
    resolver: Option<Resolver>,
    pool: Pool,

    /// Whose turn it is; 0: nobody's.
    current: usize,
    turn_of: Option<Id<Connection>>,
    turn: Turn,
    turn_moved: bool,
    /// A drain in this turn that has nothing to wait for.
    turn_drain: Option<connection::Waiting>,
    /// Its share of this round in calls, and what is left of it.
    turn_share: u32,
    turn_left: u32,
    turn_reads: u32,
    /// What all streams had received when it began.
    turn_received: u64,
    queue: VecDeque<usize>,
    /// Those who had much to do.
    bulk: VecDeque<usize>,
    events: Vec<Event>,
    next_event: usize,
    dirty: Vec<Id<Connection>>,
    lent_output: Option<Box<Buffer>>,
    round_calls: u32,
    /// What those have done who had much to do.
    round_work: u32,
    /// Where `round_work` ends the round; 0: its bulk has not begun.
    round_end: u32,
    stats: Stats,
    debug: Option<Box<stats::Debug>>,
    /// How much of the queue belongs to this round.
    round_queue: usize,
    round_bulk: usize,

    reports: VecDeque<Counted>,
    reporting: bool,
    /// How many of them belong to this round: what the handler itself does wrong belongs to the next.
    round_reports: usize,
    handler: Option<Callback>,
    /// What eddy_reader_exception lent last.
    shown: Option<Id<LentError>>,

    serial: u32,
    /// Callbacks owed.
    waiting: usize,
    /// Connections whose output the socket did not take; those on their way out; listening servers.
    blocked: usize,
    leaving: usize,
    serving: usize,

    running: bool,
    /// This run has begun a round.
    waited: bool,
    stopping: bool,
    /// Neither stopping, nor is each callback looked at.
    hurried: bool,
    ending: bool,
    /// Freed from within a callback: ends when the run returns.
    pub free_after_run: bool,
    /// Somebody watches the loop's descriptor, and is told when there is work between runs.
    watched: bool,
    rung: bool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({:#x})", self.number)
    }
}

impl Hub {
    /// `number` is the loop's ticket. The generations of its tables, and the counters of its receipts, begin where the
    /// last loop of that number stopped.
    pub fn new(number: usize, first_generation: usize, serial: u32) -> io::Result<Hub> {
        let no_memory = |_| io::Error::from_raw_os_error(libc::ENOMEM);
        let loop_number = table::loop_of(number);
        let mut errors = Table::new(Kind::Error, loop_number, first_generation);
        // A failure must never have to be told without its error: one to a callback, and one shown.
        if !errors.reserve(2) {
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let poll = Poll::new()?;
        let waker = poll.waker(number)?;
        Ok(Hub {
            number,
            loop_number,
            connections: Table::new(Kind::Connection, loop_number, first_generation),
            servers: Table::new(Kind::Server, loop_number, first_generation),
            listeners: Table::new(Kind::Listener, loop_number, first_generation),
            openings: Table::new(Kind::Opening, loop_number, first_generation),
            posts: Table::new(Kind::Post, loop_number, first_generation),
            posted: VecDeque::new(),
            errors,
            poll,
            timers: Timers::default(),
            remote: Arc::new(Remote::new(waker)),
            signal_handlers: None,
            resolver: None,
            pool: Pool::default(),
            current: 0,
            turn_of: None,
            turn: Turn::new().map_err(no_memory)?,
            turn_moved: false,
            turn_drain: None,
            turn_share: 0,
            turn_left: 0,
            turn_reads: 0,
            turn_received: 0,
            queue: VecDeque::new(),
            bulk: VecDeque::new(),
            events: Poll::list()?,
            next_event: 0,
            dirty: Vec::new(),
            lent_output: None,
            round_calls: 0,
            round_work: 0,
            round_end: 0,
            stats: Stats::default(),
            debug: None,
            round_queue: 0,
            round_bulk: 0,
            reports: VecDeque::new(),
            reporting: false,
            round_reports: 0,
            handler: None,
            shown: None,
            serial,
            waiting: 0,
            blocked: 0,
            leaving: 0,
            serving: 0,
            running: false,
            waited: false,
            stopping: false,
            hurried: true,
            ending: false,
            free_after_run: false,
            watched: false,
            rung: false,
        })
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn remote(&self) -> &Arc<Remote<Posted>> {
        &self.remote
    }

    /// Where the generations of the next loop of this number begin.
    pub fn next_generation(&self) -> usize {
        let tables = [
            self.connections.next_generation(),
            self.servers.next_generation(),
            self.openings.next_generation(),
            self.errors.next_generation(),
        ];
        tables.into_iter().max().unwrap_or(0)
    }

    pub fn serial(&self) -> u32 {
        self.serial
    }

    // ---- running ----------------------------------------------------------------------------------------------

    pub fn begin_run(&mut self, mut run: Run) -> Result<Run, Refusal> {
        if self.running {
            return Err(Refusal::Busy);
        }
        self.accepting()?;
        self.running = true;
        self.waited = false;
        if std::mem::take(&mut self.stopping) {
            // asyncio's rule: stopped before it runs, a loop makes one round without waiting.
            run.one_round = Some(Some(Duration::ZERO));
        }
        self.set_pace();
        Ok(run)
    }

    /// The next one to call in a run; waits until there is somebody. None: the run is over.
    #[inline]
    pub fn step(&mut self, run: Run) -> io::Result<Option<Call>> {
        if self.debug.is_some() {
            self.callback_ends();
        }
        loop {
            if self.stopping {
                return Ok(None);
            }
            if let Some(call) = self.next_call() {
                if self.debug.is_some() {
                    self.callback_begins(&call);
                }
                return Ok(Some(call));
            }
            if self.waited && run.one_round.is_some() {
                return Ok(None);
            }
            let mut limit = run.one_round.flatten();
            if run.while_alive {
                self.flush();
                if !self.is_alive() {
                    // Nobody is owed a call; but one round takes what has come for connections that are just open.
                    if run.one_round.is_none() {
                        return Ok(None);
                    }
                    limit = Some(Duration::ZERO);
                }
            }
            self.wait(limit)?;
            self.waited = true;
        }
    }

    /// What was gathered is sent, as at the end of any round.
    pub fn end_run(&mut self) {
        self.flush();
        self.running = false;
        self.stopping = false;
        self.set_pace();
        self.rung = false;
        if self.has_work() {
            self.stir();
        }
    }

    pub fn is_running(&self) -> bool {
        self.running
    }

    pub fn stop(&mut self) {
        self.stopping = true;
        self.set_pace();
    }

    fn set_pace(&mut self) {
        self.hurried = !self.stopping && self.debug.is_none();
    }

    /// The next one to call. None: there is nobody, or the round is over.
    pub fn next_call(&mut self) -> Option<Call> {
        loop {
            if self.current != 0 {
                if self.turn_left == 0 {
                    self.put_off();
                } else if let Some(call) = self.take_turn() {
                    self.turn_left -= 1;
                    return Some(call);
                }
                self.end_current();
            }
            if self.round_calls >= ROUND_CALLS {
                return None;
            }
            if self.round_queue > 0 {
                self.round_queue -= 1;
                self.current = self.queue.pop_front()?;
                if Kind::of(self.current) == Some(Kind::Listener) {
                    self.listener_left_queue(Id::from_number(self.current));
                }
                self.begin_current();
            } else if let Some(event) = self.events.get(self.next_event).copied() {
                self.next_event += 1;
                if Kind::is_connection(event.number) {
                    self.current = event.number;
                    self.begin_turn(Id::from_number(event.number), Some(event));
                } else {
                    self.current = self.happened(event);
                    self.begin_current();
                }
            } else {
                self.current = self.next_of_bulk()?;
                self.begin_current();
            }
        }
    }

    /// After all others: of those who had much to do one at the least, and more as long as they do little.
    fn next_of_bulk(&mut self) -> Option<usize> {
        if self.round_bulk == 0 {
            return None;
        }
        if self.round_end == 0 {
            self.round_end = self.round_work + BULK_WORK;
        } else if self.round_work >= self.round_end {
            return None;
        }
        self.round_bulk -= 1;
        self.bulk.pop_front()
    }

    #[inline(always)]
    fn take_turn(&mut self) -> Option<Call> {
        match self.turn_of {
            Some(id) => self.connection_turn(id),
            None => self.other_turn(self.current),
        }
    }

    #[inline(never)]
    fn other_turn(&mut self, number: usize) -> Option<Call> {
        match Kind::of(number)? {
            Kind::Listener => self.listener_turn(Id::from_number(number)),
            Kind::Opening => self.opening_turn(Id::from_number(number)),
            Kind::Server => self.server_turn(Id::from_number(number)),
            Kind::Post => self.post_turn(Id::from_number(number)),
            Kind::Loop => self.own_turn(),
            _ => None,
        }
    }

    /// Its share of this round is used up: the rest in the next.
    #[cold]
    fn put_off(&mut self) {
        match Kind::of(self.current) {
            Some(Kind::Connection) => self.again(Id::from_number(self.current)),
            Some(Kind::Server) => self.enqueue_server(Id::from_number(self.current)),
            Some(Kind::Listener) => self.enqueue_listener(Id::from_number(self.current)),
            _ => self.queue(self.current),
        }
    }

    fn begin_current(&mut self) {
        if Kind::is_connection(self.current) {
            return self.begin_turn(Id::from_number(self.current), None);
        }
        self.turn_share = TURN_CALLS;
        self.turn_left = TURN_CALLS;
        match Kind::of(self.current) {
            Some(Kind::Listener) => self.begin_listener(Id::from_number(self.current)),
            Some(Kind::Server) => self.begin_server(Id::from_number(self.current)),
            Some(Kind::Loop) => self.round_reports = self.reports.len(),
            _ => {}
        }
    }

    #[inline(always)]
    fn end_current(&mut self) {
        self.current = 0;
        let calls = self.turn_share - self.turn_left;
        self.round_calls += calls;
        if let Some(id) = self.turn_of.take() {
            self.end_turn(id, calls);
        }
    }

    /// Whose turn an event makes it; 0: nobody's.
    fn happened(&mut self, event: Event) -> usize {
        match Kind::of(event.number) {
            Some(Kind::Connection) => self.connection_event(Id::from_number(event.number), event),
            Some(Kind::Listener) => self.listener_event(Id::from_number(event.number)),
            Some(Kind::Opening) => {}
            Some(Kind::Writer) => {
                self.write_end_event(Id::behind_face(event.number, Kind::Writer));
                return 0;
            }
            _ => return 0,
        }
        event.number
    }

    /// Sends what was gathered, waits for events, and gathers what is due: the beginning of a round.
    pub fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        self.flush();
        self.defer_events();
        self.poll.wait(self.patience(limit), &mut self.events)?;
        self.rung = false;
        self.pass_time(limit);
        self.gather_due();
        self.stats.turns += 1;
        self.stats.callbacks += u64::from(self.round_calls);
        self.begin_round();
        Ok(())
    }

    fn begin_round(&mut self) {
        self.round_calls = 0;
        self.round_work = 0;
        self.round_end = 0;
        self.round_queue = self.queue.len();
        self.round_bulk = self.bulk.len();
    }

    /// Events that the round had no calls left for get in line with everybody else, lest they starve.
    fn defer_events(&mut self) {
        while let Some(event) = self.events.get(self.next_event).copied() {
            self.next_event += 1;
            match Kind::of(self.happened(event)) {
                Some(Kind::Connection) => self.enqueue(Id::from_number(event.number)),
                Some(_) => self.queue(event.number),
                None => {}
            }
        }
        self.events.clear();
        self.next_event = 0;
    }

    fn gather_due(&mut self) {
        if self.timers.next() == Some(Duration::ZERO) {
            let now = self.timers.now();
            while let Some(number) = self.timers.pop(now) {
                self.due(number);
            }
        }
        let posted = &mut self.posted;
        for posted in self.remote.take_if(|n| posted.try_reserve(n).is_ok()) {
            match posted {
                Posted::Call(callback) => self.post_from_elsewhere(callback),
                Posted::Answer(answer) => self.answered(answer),
            }
        }
        self.gather_signals();
    }

    fn due(&mut self, number: usize) {
        match Kind::of(number) {
            Some(Kind::Connection) => self.connection_timer(Id::from_number(number)),
            Some(Kind::Deadline) => self.deadline_came(Id::behind_face(number, Kind::Deadline)),
            Some(Kind::Listener) => self.listener_timer(Id::from_number(number)),
            Some(Kind::Server) => self.server_timer(Id::from_number(number)),
            Some(Kind::Opening) => self.opening_timer(Id::from_number(number)),
            Some(Kind::Post) => self.post_due(Id::from_number(number)),
            _ => {}
        }
    }

    /// So many timers are no longer wanted.
    fn forget_timers(&mut self, count: usize) {
        let (connections, posts, openings) = (&self.connections, &self.posts, &self.openings);
        self.timers.forget(count, |due, number| match Kind::of(number) {
            Some(Kind::Connection) => connections.get(Id::from_number(number)).is_some(),
            Some(Kind::Deadline) => connections
                .get(Id::behind_face(number, Kind::Deadline))
                .is_some_and(|connection| connection.deadline_timer() == Some(due)),
            Some(Kind::Post) => {
                posts.get(Id::from_number(number)).is_some_and(|post| post.timed && !post.queued)
            }
            Some(Kind::Opening) => openings.get(Id::from_number(number)).is_some(),
            _ => true,
        });
    }

    /// Something can be done without waiting.
    fn has_work(&self) -> bool {
        self.current != 0
            || !self.queue.is_empty()
            || !self.bulk.is_empty()
            || self.next_event < self.events.len()
            || !self.dirty.is_empty()
            || self.remote.any()
            || self.has_signals()
    }

    /// Something is left to wait for.
    pub fn is_alive(&self) -> bool {
        self.waiting + self.blocked + self.leaving + self.serving > 0 || self.has_work()
    }

    /// So many more objects: what they may put in line, or set timers for, has room then. False: there is no memory for that.
    /// (A peer decides how many there are, and there is nobody to tell once one has its turn.)
    fn make_room(&mut self, more: usize) -> bool {
        let objects = more
            + self.connections.len()
            + self.servers.len()
            + self.listeners.len()
            + self.openings.len()
            + self.posts.len();
        let room = EACH * objects + SPARE;
        let (queue, bulk, dirty) = (&mut self.queue, &mut self.bulk, &mut self.dirty);
        queue.try_reserve(room.saturating_sub(queue.len())).is_ok()
            && bulk.try_reserve(objects.saturating_sub(bulk.len())).is_ok()
            && dirty.try_reserve(room.saturating_sub(dirty.len())).is_ok()
            && self.timers.make_room(room)
    }

    /// In the order in which they asked.
    #[inline]
    fn queue(&mut self, number: usize) {
        self.queue.push_back(number);
        self.stir();
    }

    /// Work has come up. Whoever watches the descriptor between runs has no other way to know.
    #[inline]
    fn stir(&mut self) {
        if self.watched && !self.running && !self.rung {
            self.rung = true;
            self.remote.wake();
        }
    }

    pub fn watch(&mut self) -> RawFd {
        self.watched = true;
        if self.has_work() {
            self.stir();
        }
        self.poll.raw_fd()
    }

    pub fn set_busy_poll(&mut self, busy: Duration) {
        self.poll.busy = busy;
    }

    // ---- receipts ---------------------------------------------------------------------------------------------

    /// Nothing new can be started on a loop that is being freed.
    #[inline]
    fn accepting(&self) -> Result<(), Refusal> {
        if self.ending { Err(Refusal::State) } else { Ok(()) }
    }

    #[inline]
    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    #[inline]
    fn receipt(&self, what: Receipt, place: usize, serial: u32) -> i64 {
        (what as i64) << 60 | (self.loop_number as i64) << 52 | (place as i64) << 32 | i64::from(serial)
    }

    /// Its callback gets EDDY_ECANCELED, in the next turn.
    pub fn cancel(&mut self, receipt: i64) -> Result<(), Refusal> {
        if receipt < 0 {
            return Err(Refusal::Invalid);
        }
        let place = (receipt >> 32) as usize & 0xf_ffff;
        let serial = receipt as u32;
        let ours = (receipt >> 52) as usize & 0xff == self.loop_number;
        let found = ours
            && match receipt >> 60 {
                0 => self.cancel_at(place, Receipt::Read, serial),
                1 => self.cancel_at(place, Receipt::Drain, serial),
                2 => self.cancel_at(place, Receipt::WaitClosed, serial),
                3 => self.openings.at(place).is_some_and(|id| self.cancel_opening(id, serial)),
                4 => self.posts.at(place).is_some_and(|id| self.cancel_post(id, serial)),
                6 => self.cancel_at(place, Receipt::StartTls, serial),
                5 => self.servers.at(place).is_some_and(|id| self.cancel_server(id, serial)),
                _ => false,
            };
        if found { Ok(()) } else { Err(Refusal::Stale) }
    }

    fn cancel_at(&mut self, place: usize, what: Receipt, serial: u32) -> bool {
        self.connections.at(place).is_some_and(|id| self.cancel_connection(id, what, serial))
    }

    // ---- posts ------------------------------------------------------------------------------------------------

    pub fn call_soon(&mut self, callback: Callback) -> Result<i64, Refusal> {
        self.accepting()?;
        self.post(callback, None)
    }

    pub fn call_later(&mut self, delay: Duration, callback: Callback) -> Result<i64, Refusal> {
        self.accepting()?;
        self.post(callback, Some(delay))
    }

    fn post(&mut self, callback: Callback, delay: Option<Duration>) -> Result<i64, Refusal> {
        let serial = self.next_serial();
        let timed = delay.is_some();
        let post = Post { callback, serial, timed, queued: !timed, canceled: false };
        if !self.make_room(1) {
            return Err(Refusal::Full);
        }
        let id = self.posts.insert(post).ok_or(Refusal::Full)?;
        self.waiting += 1;
        match delay {
            None => self.queue(id.number()),
            Some(delay) => {
                self.timers.set(delay, id.number());
                self.stir();
            }
        }
        Ok(self.receipt(Receipt::Post, id.place(), serial))
    }

    fn post_from_elsewhere(&mut self, callback: Callback) {
        if self.posted.is_empty() {
            self.queue(self.number);
        }
        self.posted.push_back(callback);
        self.waiting += 1;
    }

    fn next_from_elsewhere(&mut self) -> Option<Call> {
        let callback = self.posted.pop_front()?;
        self.waiting -= 1;
        let error = self.ending.then(|| Box::new(Error::Canceled));
        Some(Call::Loop { callback, error })
    }

    fn post_due(&mut self, id: Id<Post>) {
        if let Some(post) = self.posts.get_mut(id)
            && !post.queued
        {
            post.queued = true;
            self.queue(id.number());
        }
    }

    fn post_turn(&mut self, id: Id<Post>) -> Option<Call> {
        let post = self.posts.remove(id)?;
        self.waiting -= 1;
        let error = post.canceled.then(|| Box::new(Error::Canceled));
        Some(Call::Loop { callback: post.callback, error })
    }

    fn cancel_post(&mut self, id: Id<Post>, serial: u32) -> bool {
        let Some(post) = self.posts.get_mut(id).filter(|post| post.serial == serial && !post.canceled) else {
            return false;
        };
        post.canceled = true;
        if !post.queued {
            post.queued = true;
            self.queue(id.number());
            self.forget_timers(1);
        }
        true
    }

    // ---- reports ----------------------------------------------------------------------------------------------

    /// For the exception handler, from the next run. Equal ones are counted.
    /// What goes wrong while the loop is being freed is not told any more: that might have no end.
    pub fn report(&mut self, message: String, error: Option<Error>) {
        if self.ending {
            return;
        }
        if let Some(counted) = self.reports.iter_mut().find(|counted| counted.report.message == message) {
            counted.count += 1;
            return;
        }
        if self.reports.len() >= REPORTS {
            return;
        }
        let error = error.map(Box::new);
        self.reports.push_back(Counted { report: Report { message, error }, count: 1 });
        if !std::mem::replace(&mut self.reporting, true) {
            self.queue(self.number);
        }
    }

    fn next_report(&mut self) -> Option<Call> {
        if self.round_reports == 0 {
            return None;
        }
        self.round_reports -= 1;
        let Counted { mut report, count } = self.reports.pop_front()?;
        if count > 1 {
            report.message = format!("{} ({count} times)", report.message);
        }
        Some(Call::Exception { callback: self.handler, report: Box::new(report) })
    }

    /// The loop's own turn: signals, reports, and what other threads have posted.
    fn own_turn(&mut self) -> Option<Call> {
        let call = self.signal_turn().or_else(|| self.next_report()).or_else(|| self.next_from_elsewhere());
        if call.is_none() {
            self.reporting = !self.reports.is_empty();
            if self.reporting {
                self.queue(self.number);
            }
        }
        call
    }

    /// None: the default one, which prints a line.
    pub fn set_exception_handler(&mut self, handler: Option<Callback>) {
        self.handler = handler;
    }

    // ---- errors lent ------------------------------------------------------------------------------------------

    pub fn lend_error(&mut self, error: Error) -> Option<Id<LentError>> {
        self.errors.insert(error.into())
    }

    pub fn take_back_error(&mut self, id: Id<LentError>) {
        self.errors.remove(id);
    }

    pub fn error(&self, id: Id<LentError>) -> Option<&LentError> {
        self.errors.get(id)
    }

    /// Lent until the next one is shown.
    pub fn show_error(&mut self, error: Option<Error>) -> Option<Id<LentError>> {
        if let Some(shown) = self.shown.take() {
            self.errors.remove(shown);
        }
        self.shown = error.and_then(|error| self.lend_error(error));
        self.shown
    }

    // ---- the end ----------------------------------------------------------------------------------------------

    /// Cancels everything that waits. What is owed to callbacks is then had from [`next_call`](Hub::next_call), as ever.
    pub fn end(&mut self) {
        // All that the sockets take, whatever one stream's share of a batch is.
        loop {
            let sent = self.stats.bytes_out;
            self.flush();
            if self.dirty.is_empty() || self.stats.bytes_out == sent {
                break;
            }
        }
        self.running = true;
        self.stopping = false;
        self.set_pace();
        self.end_current();
        self.signal_handlers = None;
        for posted in self.remote.close() {
            if let Posted::Call(callback) = posted {
                self.post_from_elsewhere(callback);
            }
        }
        if !self.posted.is_empty() {
            // Its turn may have been cut short above.
            self.queue(self.number);
        }
        if self.debug.is_some() {
            self.report_leaks();
        }
        self.ending = true;
        let mut places = 0..self.openings.places();
        while let Some(id) = self.openings.next(&mut places) {
            self.end_opening(id);
        }
        let mut places = 0..self.posts.places();
        while let Some(id) = self.posts.next(&mut places) {
            if let Some(serial) = self.posts.get(id).map(|post| post.serial) {
                self.cancel_post(id, serial);
            }
        }
        let mut places = 0..self.servers.places();
        while let Some(id) = self.servers.next(&mut places) {
            self.end_server(id);
        }
        let mut places = 0..self.connections.places();
        while let Some(id) = self.connections.next(&mut places) {
            self.end_connection(id);
        }
        self.events.clear();
        self.next_event = 0;
    }

    /// Closes what a forked child has a copy of, and nothing more: the peers, the epoll and the socket files are the
    /// parent's too.
    pub fn drop_sockets(&mut self) {
        let mut places = 0..self.connections.places();
        while let Some(id) = self.connections.next(&mut places) {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.drop_socket();
            }
        }
        let mut places = 0..self.listeners.places();
        while let Some(id) = self.listeners.next(&mut places) {
            self.listeners.remove(id);
        }
        let mut places = 0..self.openings.places();
        while let Some(id) = self.openings.next(&mut places) {
            self.openings.remove(id);
        }
    }

    /// The next one who is owed a call at the end.
    pub fn next_at_end(&mut self) -> Option<Call> {
        self.begin_round();
        self.next_call()
    }

    pub fn describe(&self, number: usize) -> Option<String> {
        match Kind::of(number)? {
            Kind::Loop if number == self.number => Some(format!(
                "<eddy_loop {}{} connections, {} servers, {} waiting>",
                if self.running { "running, " } else { "" },
                self.connections.len(),
                self.servers.len(),
                self.waiting
            )),
            Kind::Server => self.describe_server(Id::from_number(number)),
            Kind::Error => {
                self.error(Id::from_number(number)).map(|lent| format!("<eddy_error {}>", lent.error))
            }
            kind @ (Kind::Reader | Kind::Writer | Kind::Transport | Kind::Protocol) => {
                let id = Id::behind_face(number, kind);
                self.describe_connection(if kind == Kind::Transport { self.transport(id) } else { id }, kind)
            }
            _ => None,
        }
    }
}
