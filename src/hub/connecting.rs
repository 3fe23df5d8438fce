//! A client on its way: its attempts to connect, of which the first that succeeds wins.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::SockAddr;

use super::connection::Established;
use super::opening::{Opening, Stage};
use super::{Connection, Hub};
use crate::error::Error;
use crate::net::{self, Race, Started, Step};
use crate::table::Id;

/// How soon a unix server whose backlog was full is tried again.
const UNIX_RETRY: Duration = Duration::from_millis(10);

/// Dropping it closes every socket: those that have lost the race, or all, when nobody waits any more.
#[derive(Debug)]
pub struct Connecting {
    race: Race,
    attempts: Vec<Attempt>,
    /// When the race goes on by itself: a timer is set for that.
    goes_on_at: Option<Duration>,
}

#[derive(Debug)]
struct Attempt {
    address: SockAddr,
    state: State,
}

#[derive(Debug)]
enum State {
    /// To be begun; again, when a unix server's backlog was full, since no event ever tells that it no longer is.
    New,
    /// Registered, and on its way.
    Waiting(OwnedFd),
    Failed(Error),
}

impl Connecting {
    pub fn new(addresses: Vec<SockAddr>, head_start: Option<Duration>) -> Connecting {
        Connecting { race: Race::new(addresses, head_start), attempts: Vec::new(), goes_on_at: None }
    }

    fn failed(&mut self, error: Error) -> State {
        self.race.failed();
        State::Failed(error)
    }

    /// Every attempt, in the order in which they were made, and why it failed if it did.
    fn tried(&self) -> Vec<String> {
        let words = |attempt: &Attempt| match &attempt.state {
            State::Failed(error) => error.to_string(),
            _ => format!("connect {}", net::display(&attempt.address).unwrap_or_default()),
        };
        self.attempts.iter().map(words).collect()
    }

    fn failures(self) -> Vec<Error> {
        let failure = |attempt: Attempt| match attempt.state {
            State::Failed(error) => Some(error),
            _ => None,
        };
        self.attempts.into_iter().filter_map(failure).collect()
    }
}

impl Hub {
    /// Goes as far as it can without waiting. Some: it is connected.
    ///
    /// A connection that is made counts, also when the deadline has passed meanwhile.
    pub(super) fn connect(
        &mut self,
        id: Id<Opening>,
        mut connecting: Connecting,
    ) -> Result<Option<Id<Connection>>, Error> {
        for attempt in std::mem::take(&mut connecting.attempts) {
            if let Some(connected) = self.go_on(id, &mut connecting, attempt)? {
                return Ok(Some(connected));
            }
        }
        let now = self.timers.now();
        loop {
            let Some(opening) = self.openings.get_mut(id) else { return Ok(None) };
            if opening.is_late(now) {
                return Err(opening.timed_out(connecting.tried()));
            }
            match connecting.race.step(now) {
                Step::Start(address) => {
                    let attempt = Attempt { address, state: State::New };
                    if let Some(connected) = self.go_on(id, &mut connecting, attempt)? {
                        return Ok(Some(connected));
                    }
                }
                Step::Wait(until) => {
                    let news = until.filter(|_| until != connecting.goes_on_at);
                    connecting.goes_on_at = until;
                    opening.stage = Stage::Connecting(connecting);
                    if let Some(at) = news {
                        self.look_again(id, at.saturating_sub(now));
                    }
                    return Ok(None);
                }
                Step::Lost => return Err(Error::gathered(connecting.failures())),
            }
        }
    }

    /// Goes on with one attempt, which takes its place behind the others unless it has arrived.
    fn go_on(
        &mut self,
        id: Id<Opening>,
        connecting: &mut Connecting,
        Attempt { address, state }: Attempt,
    ) -> Result<Option<Id<Connection>>, Error> {
        let state = match state {
            State::New => {
                let Some(opening) = self.openings.get(id) else { return Ok(None) };
                match net::connect(&address, opening.local.as_deref(), opening.options.socket) {
                    Ok(Started::Connected(socket)) => {
                        return self.connected(id, socket, &address, false).map(Some);
                    }
                    Ok(Started::Waiting(socket)) => {
                        match self.poll.register(socket.as_raw_fd(), id.number()) {
                            Ok(()) => State::Waiting(socket),
                            Err(error) => connecting.failed(Error::system("register a socket", &error)),
                        }
                    }
                    Ok(Started::Full) => {
                        self.look_again(id, UNIX_RETRY);
                        State::New
                    }
                    Err(error) => connecting.failed(error),
                }
            }
            State::Waiting(socket) => match net::is_connected(&socket, &address) {
                None => State::Waiting(socket),
                Some(Ok(lost)) => {
                    let stream = self.connected(id, socket, &address, true)?;
                    if let Some(lost) = lost {
                        self.break_off(stream, &lost);
                    }
                    return Ok(Some(stream));
                }
                Some(Err(error)) => connecting.failed(error),
            },
            State::Failed(error) => State::Failed(error),
        };
        connecting.attempts.push(Attempt { address, state });
        Ok(None)
    }

    fn connected(
        &mut self,
        id: Id<Opening>,
        socket: OwnedFd,
        address: &SockAddr,
        registered: bool,
    ) -> Result<Id<Connection>, Error> {
        let Some(limits) = self.openings.get(id).map(|opening| opening.options.limits) else {
            return Err(Error::Canceled);
        };
        let (domain, peer) = (address.domain(), address.as_socket());
        let made = Established { socket, domain, peer, limits, server: None, registered };
        self.establish(made)
    }
}
