//! Connections and servers on their way: names are asked for, addresses connected to or listened on, and a deadline is
//! kept.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr};

use super::connecting::Connecting;
use super::connection::{Established, Limits, Secure, Waiter};
use super::{Connection, Hub, Posted, Receipt, Server};
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::hub::Call;
use crate::net::{self, Answer, Direction, Given, ListenOptions, PipeEnd, Resolver, SocketOptions};
use crate::table::Id;

/// The objects that one adopted descriptor may become: a server, its listener and an opening.
const ADOPTED: usize = 3;

/// `eddy_options`, looked through.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    /// For all of it together. None: there is no bound.
    pub timeout: Option<Duration>,
    /// 0: any.
    pub family: i32,
    /// What each address has before the next one is tried beside it. None: all the time that it takes.
    pub head_start: Option<Duration>,
    pub local_host: Option<String>,
    pub local_port: u16,
    pub socket: SocketOptions,
    pub backlog: i32,
    /// usize::MAX: no bound.
    pub max_clients: usize,
    pub reuse_port: bool,
    pub reuse_address: bool,
    pub keep_socket_file: bool,
    pub secure: Option<Secure>,
}

impl Options {
    fn listen(&self) -> ListenOptions {
        ListenOptions {
            socket: self.socket,
            backlog: self.backlog,
            reuse_port: self.reuse_port,
            reuse_address: self.reuse_address,
        }
    }
}

/// Where to connect to, or to listen on.
#[derive(Debug)]
pub enum Target {
    Host(String, u16),
    /// Every address of this machine.
    Everywhere(u16),
    Unix(SockAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Target::Host(host, port) => write!(f, "{host}:{port}"),
            Target::Everywhere(port) => write!(f, "*:{port}"),
            Target::Unix(address) => f.write_str(&net::display(address).unwrap_or_default()),
        }
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    Start,
    /// The resolver has been asked for the address to bind to, or for the target's.
    AskedForLocal,
    Asked,
    Found(Vec<SockAddr>),
    Connecting(Connecting),
    Connected(Id<Connection>),
    Handshaking(Id<Connection>),
    Serving(Id<Server>),
    Failed(Error),
}

/// A receipt; or a refusal, and the descriptor.
pub type Adoption = Result<i64, (Option<OwnedFd>, Refusal)>;

#[derive(Debug)]
pub struct Opening {
    target: Target,
    pub(super) options: Options,
    callback: Callback,
    /// The client callback, if it is a server.
    client: Option<Callback>,
    serial: u32,
    canceled: bool,
    pub(super) stage: Stage,
    /// When it must be done, by the loop's time.
    deadline: Option<Duration>,
    /// Timers that are set for it, and have not come up.
    timers: usize,
    pub(super) local: Option<Vec<SockAddr>>,
    /// What the resolver has been asked, and has not answered: its number, and the name.
    question: Option<(u64, String)>,
    answer: Option<Result<Vec<SocketAddr>, Error>>,
}

impl Opening {
    pub(super) fn is_late(&self, now: Duration) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// `tried`: to connect, until now.
    pub(super) fn timed_out(&self, mut tried: Vec<String>) -> Error {
        if let Some((_, name)) = &self.question {
            tried.push(format!("resolve {name}"));
        }
        if tried.is_empty() {
            let what = if self.client.is_some() { "listen on" } else { "connect" };
            tried.push(format!("{what} {}", self.target));
        }
        let after = self.options.timeout.unwrap_or_default().as_millis();
        Error::TimedOut { what: format!("timed out after {after} ms: {}", tried.join(", ")) }
    }

    pub(super) fn awaits_answer(&self) -> bool {
        matches!(self.stage, Stage::Asked | Stage::AskedForLocal) && self.answer.is_none() && !self.canceled
    }

    pub(super) fn is_server(&self) -> bool {
        self.client.is_some()
    }
}

impl Hub {
    /// Connects, or listens when there is a `client` callback.
    pub fn open(
        &mut self,
        target: Target,
        options: Options,
        client: Option<Callback>,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        self.open_at(Stage::Start, target, options, client, callback)
    }

    fn open_at(
        &mut self,
        stage: Stage,
        target: Target,
        options: Options,
        client: Option<Callback>,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        self.accepting()?;
        let serial = self.next_serial();
        let timeout = options.timeout;
        let opening = Opening {
            target,
            options,
            callback,
            client,
            serial,
            canceled: false,
            stage,
            deadline: timeout.and_then(|timeout| self.timers.now().checked_add(timeout)),
            timers: 0,
            local: None,
            question: None,
            answer: None,
        };
        if !self.make_room(1) {
            return Err(Refusal::Full);
        }
        let id = self.openings.insert(opening).ok_or(Refusal::Full)?;
        self.waiting += 1;
        self.queue(id.number());
        if let Some(timeout) = timeout {
            self.look_again(id, timeout);
        }
        Ok(self.receipt(Receipt::Opening, id.place(), serial))
    }

    /// A descriptor that is connected already. With a refusal it comes back as it was, unless it was taken and is closed.
    pub fn open_socket(&mut self, socket: OwnedFd, options: Options, callback: Callback) -> Adoption {
        let (socket, domain) = self.adopt(socket, |socket| net::peer_address(socket).is_some())?;
        let peer = net::peer_address(&socket).and_then(|peer| peer.as_socket());
        let limits = options.limits;
        let made = Established { socket, domain, peer, limits, server: None, registered: true };
        let stage = self.establish(made).map_or_else(Stage::Failed, Stage::Connected);
        self.open_adopted(stage, options, None, callback)
    }

    /// The ends of pipes, of which one may be missing. Refused, they are as they were.
    pub fn open_pipe(
        &mut self,
        read: Option<Given>,
        write: Option<Given>,
        options: Options,
        callback: Callback,
    ) -> Result<i64, Refusal> {
        self.accepting()?;
        if let Some(read) = &read {
            self.check_end(read, Direction::Read)?;
        }
        if let Some(write) = &write {
            self.check_end(write, Direction::Write)?;
        }
        if !(self.make_room(ADOPTED) && self.openings.reserve(1)) {
            return Err(Refusal::Full);
        }
        let same = match (&read, &write) {
            (Some(read), Some(write)) => read.as_raw_fd() == write.as_raw_fd(),
            (None, None) => return Err(Refusal::Invalid),
            _ => false,
        };
        // Both, whatever becomes of the other: from now on they are ours.
        let write = write.map(|fd| PipeEnd::take(fd, same, Direction::Write)).transpose();
        let read = read.map(|fd| PipeEnd::take(fd, false, Direction::Read)).transpose();
        let made = match (read, write) {
            (Ok(read), Ok(write)) => self.establish_pipe(read, write, options.limits),
            (Err(error), _) | (_, Err(error)) => Err(Error::system("take the end of a pipe", &error)),
        };
        let stage = made.map_or_else(Stage::Failed, Stage::Connected);
        self.open_adopted(stage, options, None, callback).map_err(|(_, refusal)| refusal)
    }

    /// Whether it can be waited for, and is nobody's yet.
    fn check_end(&mut self, fd: &Given, direction: Direction) -> Result<(), Refusal> {
        if !net::is_open_to(fd, direction) {
            return Err(Refusal::Invalid);
        }
        let number = fd.as_raw_fd();
        match self.poll.register_end(number, 0, direction == Direction::Write) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Refusal::Busy),
            Err(_) => return Err(Refusal::Unsupported),
        }
        let _ = self.poll.deregister_end(number);
        if net::is_standard(number) && self.has_copy_of(number) { Err(Refusal::Busy) } else { Ok(()) }
    }

    /// A descriptor that is listening already.
    pub fn serve_socket(
        &mut self,
        socket: OwnedFd,
        options: Options,
        client: Callback,
        callback: Callback,
    ) -> Adoption {
        let (socket, domain) = self.adopt(socket, net::is_listening)?;
        // A socket that refuses an option is one that has no use for it.
        let _ = net::set_options(&socket, options.socket, domain);
        let file = if options.keep_socket_file { None } else { net::SocketFile::of(&socket) };
        let listener = net::Listener::new(socket, domain);
        let served = self.serve(vec![listener], file, &options, client, true);
        self.open_adopted(served.map_or_else(Stage::Failed, Stage::Serving), options, Some(client), callback)
    }

    /// Makes somebody else's descriptor the loop's: a stream socket that is as far as it must be. Nothing is changed on
    /// one that is refused.
    fn adopt(
        &mut self,
        socket: OwnedFd,
        is_ready: impl Fn(&OwnedFd) -> bool,
    ) -> Result<(OwnedFd, Domain), (Option<OwnedFd>, Refusal)> {
        if let Err(refusal) = self.accepting() {
            return Err((Some(socket), refusal));
        }
        let Ok(domain) = net::stream_domain(&socket) else {
            return Err((Some(socket), Refusal::Unsupported));
        };
        if !is_ready(&socket) {
            return Err((Some(socket), Refusal::State));
        }
        // What is taken is not refused any more, for want of a record either.
        if !(self.make_room(ADOPTED) && self.openings.reserve(1)) {
            return Err((Some(socket), Refusal::Full));
        }
        // For the moment under nobody's number: this finds out whether somebody has registered it before.
        if let Err(error) = self.poll.register(socket.as_raw_fd(), 0) {
            let refusal = match error.raw_os_error() {
                Some(libc::EEXIST) => Refusal::Busy,
                Some(libc::ENOMEM | libc::ENOSPC) => Refusal::Full,
                _ => Refusal::Unsupported,
            };
            return Err((Some(socket), refusal));
        }
        if net::make_ready(&socket).is_err() {
            let _ = self.poll.deregister_end(socket.as_raw_fd());
            return Err((Some(socket), Refusal::Unsupported));
        }
        Ok((socket, domain))
    }

    fn open_adopted(
        &mut self,
        stage: Stage,
        options: Options,
        client: Option<Callback>,
        callback: Callback,
    ) -> Adoption {
        let (stream, server) = match stage {
            Stage::Connected(stream) => (Some(stream), None),
            Stage::Serving(server) => (None, Some(server)),
            _ => (None, None),
        };
        self.open_at(stage, Target::Everywhere(0), options, client, callback).map_err(|refusal| {
            if let Some(stream) = stream {
                self.give_up(stream);
            }
            if let Some(server) = server {
                let _ = self.server_free(server);
            }
            (None, refusal)
        })
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        let id = Id::from_number(answer.ticket);
        if let Some(opening) = self.openings.get_mut(id) {
            opening.question = None;
            opening.answer = Some(answer.result);
            self.queue(id.number());
        }
    }

    /// It has its turn after so long.
    pub(super) fn look_again(&mut self, id: Id<Opening>, delay: Duration) {
        if let Some(opening) = self.openings.get_mut(id) {
            opening.timers += 1;
            self.timers.set(delay, id.number());
        }
    }

    pub(super) fn opening_timer(&mut self, id: Id<Opening>) {
        if let Some(opening) = self.openings.get_mut(id) {
            opening.timers = opening.timers.saturating_sub(1);
            self.queue(id.number());
        }
    }

    pub(super) fn cancel_opening(&mut self, id: Id<Opening>, serial: u32) -> bool {
        let Some(opening) =
            self.openings.get_mut(id).filter(|opening| opening.serial == serial && !opening.canceled)
        else {
            return false;
        };
        opening.canceled = true;
        self.queue(id.number());
        true
    }

    pub(super) fn end_opening(&mut self, id: Id<Opening>) {
        if let Some(opening) = self.openings.get_mut(id) {
            opening.canceled = true;
            self.queue(id.number());
        }
    }

    pub(super) fn opening_turn(&mut self, id: Id<Opening>) -> Option<Call> {
        let opening = self.openings.get_mut(id)?;
        if opening.canceled {
            match opening.stage {
                Stage::Connected(stream) | Stage::Handshaking(stream) => self.give_up(stream),
                Stage::Serving(server) => {
                    let _ = self.server_free(server);
                }
                // A socket on its way is closed with its record.
                _ => {}
            }
            return self.opened(id, Err(Error::Canceled));
        }
        match self.advance(id) {
            Ok(None) => None,
            Ok(Some(stage)) => self.opened(id, Ok(stage)),
            Err(error) => self.opened(id, Err(error)),
        }
    }

    /// Connected; now for the handshake, if there is to be one.
    fn secure(&mut self, id: Id<Opening>, stream: Id<Connection>) -> Result<Option<Stage>, Error> {
        let Some(opening) = self.openings.get_mut(id) else { return Ok(None) };
        let Some(mut secure) = opening.options.secure.take() else {
            return Ok(Some(Stage::Connected(stream)));
        };
        opening.stage = Stage::Handshaking(stream);
        if opening.deadline.is_some() {
            // It has that one.
            secure.handshake = None;
        }
        let begun = self.begin_tls(stream, &secure, Waiter::Opening(id));
        if begun.is_err() {
            self.give_up(stream);
        }
        begun.map(|()| None)
    }

    /// A connection that nobody will be told of.
    pub(super) fn give_up(&mut self, stream: Id<Connection>) {
        self.abort(stream);
        let _ = self.writer_free(stream);
    }

    /// Its connection was lost in the handshake.
    pub(super) fn opening_failed(&mut self, id: Id<Opening>, error: Error) {
        if let Some(opening) = self.openings.get_mut(id) {
            opening.stage = Stage::Failed(error);
            self.queue(id.number());
        }
    }

    /// It is decided.
    fn opened(&mut self, id: Id<Opening>, result: Result<Stage, Error>) -> Option<Call> {
        let Opening { callback, client, timers, question, .. } = self.openings.remove(id)?;
        self.waiting -= 1;
        self.forget_timers(timers);
        if let (Some((question, _)), Some(resolver)) = (question, &self.resolver) {
            resolver.forget(question);
        }
        let (stream, server, error) = match result {
            Ok(Stage::Connected(stream)) => (Some(stream), None, None),
            Ok(Stage::Serving(server)) => (None, Some(server), None),
            Ok(_) => (None, None, None),
            Err(error) => (None, None, Some(Box::new(error))),
        };
        match (client, stream) {
            (None, Some(stream)) if !self.can_be_read(stream) => Some(Call::WriterAlone { callback, stream }),
            (None, stream) => Some(Call::Stream { callback, stream, error }),
            (Some(_), _) => Some(Call::Server { callback, server, error }),
        }
    }

    /// Goes as far as it can without waiting. Some: it is done.
    fn advance(&mut self, id: Id<Opening>) -> Result<Option<Stage>, Error> {
        loop {
            let now = self.timers.now();
            let Some(opening) = self.openings.get_mut(id) else { return Ok(None) };
            let late = opening.is_late(now);
            match std::mem::replace(&mut opening.stage, Stage::Start) {
                Stage::Failed(error) => return Err(error),
                Stage::Serving(server) => return Ok(Some(Stage::Serving(server))),
                Stage::Connecting(connecting) => match self.connect(id, connecting)? {
                    Some(stream) => return self.secure(id, stream),
                    None => return Ok(None),
                },
                Stage::Connected(stream) => return self.secure(id, stream),
                Stage::Handshaking(stream) => {
                    if self.connections.get(stream).is_some_and(Connection::is_secured) {
                        return Ok(Some(Stage::Connected(stream)));
                    }
                    let error = opening.timed_out(vec![match &opening.target {
                        Target::Everywhere(_) => "TLS handshake".into(), // with somebody else's socket
                        target => format!("TLS handshake with {target}"),
                    }]);
                    opening.stage = Stage::Handshaking(stream);
                    if !late {
                        return Ok(None);
                    }
                    self.give_up(stream);
                    return Err(error);
                }
                _ if late => return Err(opening.timed_out(Vec::new())),
                Stage::Start => match local_to_ask(opening) {
                    Some(host) => {
                        let port = opening.options.local_port;
                        self.ask(id, Stage::AskedForLocal, host, port)?;
                    }
                    None => self.find_target(id)?,
                },
                asked @ (Stage::AskedForLocal | Stage::Asked) => {
                    let Some(answer) = opening.answer.take() else {
                        opening.stage = asked;
                        return Ok(None);
                    };
                    let addresses = answer?.into_iter().map(SockAddr::from).collect();
                    if let Stage::Asked = asked {
                        opening.stage = Stage::Found(addresses);
                    } else {
                        opening.local = Some(addresses);
                        self.find_target(id)?;
                    }
                }
                Stage::Found(addresses) if opening.client.is_some() => {
                    return self.listen(id, &addresses).map(Some);
                }
                Stage::Found(addresses) => {
                    // A port of its own is one socket's at a time.
                    let head_start = opening.options.head_start.filter(|_| opening.options.local_port == 0);
                    opening.stage = Stage::Connecting(Connecting::new(addresses, head_start));
                }
            }
        }
    }

    /// It waits in that stage until the resolver has answered.
    fn ask(&mut self, id: Id<Opening>, stage: Stage, host: String, port: u16) -> Result<(), Error> {
        let Some(opening) = self.openings.get_mut(id) else { return Ok(()) };
        let resolver = self.resolver.get_or_insert_with(|| {
            let remote: Arc<_> = self.remote.clone();
            Resolver::new(move |answer| {
                // A loop that is gone has nobody left who asked.
                remote.deliver(Posted::Answer(answer));
            })
        });
        let question = resolver
            .ask(id.number(), &host, port, opening.options.family)
            .map_err(|error| Error::system(format!("resolve {host}"), &error))?;
        opening.question = Some((question, host));
        opening.stage = stage;
        Ok(())
    }

    /// Finds the target's addresses, or asks for them.
    fn find_target(&mut self, id: Id<Opening>) -> Result<(), Error> {
        let Some(opening) = self.openings.get_mut(id) else { return Ok(()) };
        let family = opening.options.family;
        let inet = |addresses: &[SocketAddr]| {
            let fits =
                |address: &&SocketAddr| family == 0 || family == i32::from(Domain::for_address(**address));
            addresses.iter().filter(fits).map(|address| SockAddr::from(*address)).collect::<Vec<_>>()
        };
        let addresses = match &opening.target {
            Target::Unix(address) => vec![address.clone()],
            Target::Everywhere(port) => {
                inet(&[(Ipv4Addr::UNSPECIFIED, *port).into(), (Ipv6Addr::UNSPECIFIED, *port).into()])
            }
            Target::Host(host, port) => match net::literal(host, *port) {
                Some(address) => inet(&[address]),
                None => {
                    let (host, port) = (host.clone(), *port);
                    return self.ask(id, Stage::Asked, host, port);
                }
            },
        };
        if addresses.is_empty() {
            let none = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
            return Err(Error::system("an address of another family was asked for", &none));
        }
        opening.stage = Stage::Found(addresses);
        Ok(())
    }

    fn listen(&mut self, id: Id<Opening>, addresses: &[SockAddr]) -> Result<Stage, Error> {
        let Some(opening) = self.openings.get(id) else { return Err(Error::Canceled) };
        let Some(client) = opening.client else { return Err(Error::Canceled) };
        let options = opening.options.clone();
        let (listeners, file) = match &opening.target {
            Target::Unix(address) => {
                let (listener, file) = net::listen_unix(address, options.listen())?;
                (vec![listener], file.filter(|_| !options.keep_socket_file))
            }
            _ => {
                let addresses: Vec<_> = addresses.iter().filter_map(SockAddr::as_socket).collect();
                (net::listen(&addresses, options.listen())?, None)
            }
        };
        self.serve(listeners, file, &options, client, false).map(Stage::Serving)
    }
}

/// Sets the addresses to bind to, where that needs no asking; otherwise says whom to ask for.
fn local_to_ask(opening: &mut Opening) -> Option<String> {
    let port = opening.options.local_port;
    let local = match &opening.options.local_host {
        None if port == 0 => return None,
        None => vec![
            SockAddr::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
            SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        ],
        Some(host) => match net::literal(host, port) {
            Some(address) => vec![SockAddr::from(address)],
            None => return Some(host.clone()),
        },
    };
    opening.local = Some(local);
    None
}
