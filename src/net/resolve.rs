//! Names to addresses, by the system's resolver, on threads of its own: it blocks for as long as it likes.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dns_lookup::AddrInfoHints;

use super::sys;
use crate::error::Error;

/// Names asked for at once; more than these wait for each other. Many, since some may be stuck: a name server that does
/// not answer takes the system half a minute.
const THREADS: usize = 64;
/// A thread that nobody has needed for so long ends.
const IDLE: Duration = Duration::from_secs(2);
const STACK: usize = 2 << 20;

/// What a question, known to its asker by a ticket, was answered.
pub struct Answer {
    pub ticket: usize,
    pub result: Result<Vec<SocketAddr>, Error>,
}

struct Question {
    ticket: usize,
    host: String,
    port: u16,
    family: i32,
}

#[derive(Default)]
struct Desk {
    /// By number, which is the order in which they came.
    questions: BTreeMap<u64, Question>,
    asked: u64,
    workers: Vec<Worker>,
    closed: bool,
}

struct Worker {
    thread: Option<JoinHandle<()>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits at the desk.
    Idle,
    /// It asks the system, which may take any time.
    Busy,
    /// It has ended, or will before anybody can look; its place is free.
    Gone,
}

impl Desk {
    fn count(&self, state: State) -> usize {
        self.workers.iter().filter(|worker| worker.state == state).count()
    }

    /// Where another thread would have its place. None: there are enough.
    fn free_place(&self) -> Option<usize> {
        let gone = self.workers.iter().position(|worker| worker.state == State::Gone);
        gone.or_else(|| Some(self.workers.len()).filter(|place| *place < THREADS))
    }

    fn seat(&mut self, place: usize, worker: Worker) {
        match self.workers.get_mut(place) {
            Some(gone) => join(std::mem::replace(gone, worker).thread),
            None => self.workers.push(worker),
        }
    }
}

/// Nothing is left of a thread that has been waited for: only for one that has nobody to wait for itself.
fn join(thread: Option<JoinHandle<()>>) {
    // A thread that panicked has ended too.
    let _ = thread.map(JoinHandle::join);
}

struct Shared {
    desk: Mutex<Desk>,
    news: Condvar,
    answer: Box<dyn Fn(Answer) + Send + Sync>,
}

impl Shared {
    /// A thread that panicked has left the desk as it was: nothing on it is ever half done.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One for each loop, so that a fork or an end of one loop leaves the others alone.
pub struct Resolver {
    shared: Arc<Shared>,
    process: u32,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// `answer` is called on another thread.
    pub fn new(answer: impl Fn(Answer) + Send + Sync + 'static) -> Resolver {
        let shared = Shared { desk: Mutex::default(), news: Condvar::new(), answer: Box::new(answer) };
        Resolver { shared: Arc::new(shared), process: std::process::id() }
    }

    /// The question's number. Fails only where no thread can be made, and there is none yet.
    pub fn ask(&self, ticket: usize, host: &str, port: u16, family: i32) -> io::Result<u64> {
        let mut desk = self.shared.desk();
        desk.asked += 1;
        let number = desk.asked;
        desk.questions.insert(number, Question { ticket, host: host.into(), port, family });
        if desk.questions.len() > desk.count(State::Idle)
            && let Some(me) = desk.free_place()
        {
            let shared = self.shared.clone();
            // The size that it would have anyway: told, lest std look for another one in the environment.
            let builder = thread::Builder::new().name("eddy-resolver".into()).stack_size(STACK);
            match sys::without_signals(|| builder.spawn(move || work(&shared, me))) {
                Ok(thread) => desk.seat(me, Worker { thread: Some(thread), state: State::Idle }),
                Err(error) if desk.count(State::Gone) == desk.workers.len() => {
                    desk.questions.remove(&number);
                    return Err(error);
                }
                // Those that there are come to it.
                Err(_) => {}
            }
        }
        self.shared.news.notify_one();
        Ok(number)
    }

    /// Nobody waits for the answer any more. A question that the system has been asked already stays with its thread.
    pub fn forget(&self, number: u64) {
        self.shared.desk().questions.remove(&number);
    }
}

impl Drop for Resolver {
    /// Threads at the desk end now; one that is still asking ends when it has its answer, which nobody hears.
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // A forked child has neither the threads nor, perhaps, the use of the lock.
            return;
        }
        let mut desk = self.shared.desk();
        desk.closed = true;
        desk.questions.clear();
        let at_the_desk = desk.workers.iter_mut().filter(|worker| worker.state != State::Busy);
        let at_the_desk: Vec<_> = at_the_desk.map(|worker| worker.thread.take()).collect();
        drop(desk);
        self.shared.news.notify_all();
        at_the_desk.into_iter().for_each(join);
    }
}

fn work(shared: &Shared, me: usize) {
    let mut desk = shared.desk();
    while !desk.closed {
        if let Some((_, question)) = desk.questions.pop_first() {
            desk.workers[me].state = State::Busy;
            drop(desk);
            let result = resolve(&question.host, question.port, question.family);
            // No longer busy before the answer is out: whoever hears it may end the loop, and then waits for this thread.
            shared.desk().workers[me].state = State::Idle;
            (shared.answer)(Answer { ticket: question.ticket, result });
            desk = shared.desk();
            continue;
        }
        let (back, waited) = shared.news.wait_timeout(desk, IDLE).unwrap_or_else(PoisonError::into_inner);
        desk = back;
        if waited.timed_out() && desk.questions.is_empty() {
            break;
        }
    }
    desk.workers[me].state = State::Gone;
}

fn resolve(host: &str, port: u16, family: i32) -> Result<Vec<SocketAddr>, Error> {
    let failed = |reason: String| Error::Resolve { host: host.into(), reason };
    let hints = AddrInfoHints { socktype: libc::SOCK_STREAM, address: family, ..AddrInfoHints::default() };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).map_err(|error| {
        failed(match error.kind() {
            dns_lookup::LookupErrorKind::NoName | dns_lookup::LookupErrorKind::NoData => {
                "no such host".into()
            }
            _ => io::Error::from(error).to_string(),
        })
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for mut address in found.flatten().map(|info| info.sockaddr) {
        address.set_port(port);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(failed("no such host".into())) } else { Ok(addresses) }
}

/// The address that a host is, when it is one and no name: then nobody needs to be asked.
pub fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    if !host.contains('%') {
        return None;
    }
    // fe80::1%eth0: the system knows its interfaces, and asks nobody when told that this is a number.
    let hints = AddrInfoHints {
        socktype: libc::SOCK_STREAM,
        flags: libc::AI_NUMERICHOST,
        ..AddrInfoHints::default()
    };
    let mut found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).ok()?;
    let mut address = found.next()?.ok()?.sockaddr;
    address.set_port(port);
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn literals_need_no_resolver() {
        assert_eq!(literal("127.0.0.1", 80), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(literal("::1", 80), Some("[::1]:80".parse().unwrap()));
        assert_eq!(literal("localhost", 80), None);
        assert_eq!(literal("1.2.3.4.5", 80), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it knows no signal masks and no resolver")]
    fn a_forgotten_question_is_not_asked() {
        let (sender, receiver) = mpsc::channel();
        let resolver = Resolver::new(move |answer| sender.send(answer.ticket).unwrap());
        {
            let mut desk = resolver.shared.desk();
            for (number, ticket) in [(1, 7), (2, 8)] {
                let question = Question { ticket, host: "localhost".into(), port: 7, family: 0 };
                desk.questions.insert(number, question);
            }
            desk.asked = 2;
        }
        resolver.forget(1);
        resolver.ask(9, "localhost", 7, libc::AF_INET).unwrap();
        let mut answered: Vec<_> =
            (0..2).map(|_| receiver.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
        answered.sort();
        assert_eq!(answered, [8, 9]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it knows no signal masks and no resolver")]
    fn threads_that_nobody_needs_end_and_their_places_are_taken_again() {
        let (sender, receiver) = mpsc::channel();
        let resolver = Resolver::new(move |answer| sender.send(answer.ticket).unwrap());
        for ticket in 0..3 {
            resolver.ask(ticket, "localhost", 7, libc::AF_INET).unwrap();
        }
        for _ in 0..3 {
            receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        let workers = resolver.shared.desk().workers.len();
        let late = std::time::Instant::now() + Duration::from_secs(60);
        while resolver.shared.desk().count(State::Gone) < workers {
            assert!(std::time::Instant::now() < late);
            thread::sleep(Duration::from_millis(20));
        }
        resolver.ask(3, "localhost", 7, libc::AF_INET).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(3));
        assert_eq!(resolver.shared.desk().workers.len(), workers);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it knows no signal masks and no resolver")]
    fn names_are_answered_from_another_thread() {
        let (sender, receiver) = mpsc::sync_channel(8);
        let resolver = Resolver::new(move |answer| sender.send((answer.ticket, answer.result)).unwrap());
        for ticket in 0..8 {
            resolver.ask(ticket, "localhost", 7, libc::AF_INET).unwrap();
        }
        let mut tickets: Vec<_> = (0..8)
            .map(|_| {
                let (ticket, result) = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
                assert_eq!(result, Ok(vec!["127.0.0.1:7".parse().unwrap()]));
                ticket
            })
            .collect();
        tickets.sort();
        assert_eq!(tickets, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
