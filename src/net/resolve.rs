//! Names to addresses, by the system's resolver, on threads of its own: it blocks for as long as it likes.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use dns_lookup::AddrInfoHints;

use super::sys;
use crate::error::Error;

/// More names than this at once wait for each other.
const THREADS: usize = 4;

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
    questions: VecDeque<Question>,
    workers: Vec<Worker>,
    closed: bool,
}

struct Worker {
    thread: Option<JoinHandle<()>>,
    /// Asking the system, which may take any time. Otherwise it waits at the desk.
    busy: bool,
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

    /// Fails only where no thread can be made, and there is none yet.
    pub fn ask(&self, ticket: usize, host: &str, port: u16, family: i32) -> io::Result<()> {
        let mut desk = self.shared.desk();
        desk.questions.push_back(Question { ticket, host: host.into(), port, family });
        let idle = desk.workers.iter().filter(|worker| !worker.busy).count();
        if desk.questions.len() > idle && desk.workers.len() < THREADS {
            let (shared, me) = (self.shared.clone(), desk.workers.len());
            let builder = thread::Builder::new().name("eddy-resolver".into());
            match sys::without_signals(|| builder.spawn(move || work(&shared, me))) {
                Ok(thread) => desk.workers.push(Worker { thread: Some(thread), busy: false }),
                Err(error) if desk.workers.is_empty() => {
                    desk.questions.pop_back();
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        self.shared.news.notify_one();
        Ok(())
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
        let at_the_desk: Vec<_> = desk
            .workers
            .iter_mut()
            .filter(|worker| !worker.busy)
            .filter_map(|worker| worker.thread.take())
            .collect();
        drop(desk);
        self.shared.news.notify_all();
        for thread in at_the_desk {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, me: usize) {
    let mut desk = shared.desk();
    while !desk.closed {
        let Some(question) = desk.questions.pop_front() else {
            desk = shared.news.wait(desk).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        desk.workers[me].busy = true;
        drop(desk);
        let result = resolve(&question.host, question.port, question.family);
        // No longer busy before the answer is out: whoever hears it may end the loop, and then waits for this thread.
        shared.desk().workers[me].busy = false;
        (shared.answer)(Answer { ticket: question.ticket, result });
        desk = shared.desk();
    }
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
