//! Connections and servers on their way: names are asked for, addresses tried one after the other.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr};

use super::connection::{Established, Limits};
use super::{Connection, Hub, Posted, Receipt, Server};
use crate::callback::Callback;
use crate::error::{Error, Refusal};
use crate::hub::Call;
use crate::net::{self, Answer, ListenOptions, Resolver, SocketOptions, Started};
use crate::table::Id;

/// How soon a unix server whose backlog was full is tried again.
const UNIX_RETRY: Duration = Duration::from_millis(10);

/// `eddy_options`, looked through.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    pub local_host: Option<String>,
    pub local_port: u16,
    /// 0: any.
    pub family: i32,
    pub socket: SocketOptions,
    pub backlog: i32,
    /// usize::MAX: no bound.
    pub max_clients: usize,
    pub reuse_port: bool,
    pub reuse_address: bool,
    pub keep_socket_file: bool,
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

#[derive(Debug)]
enum Stage {
    Start,
    /// The resolver has been asked for the address to bind to, or for the target's.
    AskedForLocal,
    Asked,
    Trying {
        addresses: VecDeque<SockAddr>,
        attempt: Option<(OwnedFd, SockAddr)>,
    },
    Connected(Id<Connection>),
    Serving(Id<Server>),
    Failed(Error),
}

/// A receipt; or a refusal, and the descriptor.
pub type Adoption = Result<i64, (Option<OwnedFd>, Refusal)>;

#[derive(Debug)]
pub struct Opening {
    target: Target,
    options: Options,
    callback: Callback,
    /// The client callback, if it is a server.
    client: Option<Callback>,
    serial: u32,
    canceled: bool,
    stage: Stage,
    local: Option<Vec<SockAddr>>,
    answer: Option<Result<Vec<SocketAddr>, Error>>,
    /// What became of the addresses tried so far.
    errors: Vec<Error>,
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
        let opening = Opening {
            target,
            options,
            callback,
            client,
            serial,
            canceled: false,
            stage,
            local: None,
            answer: None,
            errors: Vec::new(),
        };
        let id = self.openings.insert(opening).ok_or(Refusal::Full)?;
        self.waiting += 1;
        self.queue(id.number());
        Ok(self.receipt(Receipt::Opening, id.place(), serial))
    }

    /// A descriptor that is connected already. With a refusal it comes back as it was, unless it was taken and is closed.
    pub fn open_socket(&mut self, socket: OwnedFd, options: Options, callback: Callback) -> Adoption {
        let Some(peer) = net::peer_address(&socket) else { return Err((Some(socket), Refusal::Invalid)) };
        let (socket, domain) = self.adopt(socket)?;
        let (peer, limits) = (peer.as_socket(), options.limits);
        let made = Established { socket, domain, peer, limits, server: None, registered: true };
        let stage = self.establish(made).map_or_else(Stage::Failed, Stage::Connected);
        self.open_adopted(stage, options, None, callback)
    }

    /// A descriptor that is listening already.
    pub fn serve_socket(
        &mut self,
        socket: OwnedFd,
        options: Options,
        client: Callback,
        callback: Callback,
    ) -> Adoption {
        if !net::is_listening(&socket) {
            return Err((Some(socket), Refusal::Invalid));
        }
        let (socket, domain) = self.adopt(socket)?;
        // A socket that refuses an option is one that has no use for it.
        let _ = net::set_options(&socket, options.socket, domain);
        let file = if options.keep_socket_file { None } else { net::SocketFile::of(&socket) };
        let listener = net::Listener::new(socket, domain);
        let served = self.serve(vec![listener], file, &options, client, true);
        self.open_adopted(served.map_or_else(Stage::Failed, Stage::Serving), options, Some(client), callback)
    }

    /// Makes somebody else's descriptor the loop's. Nothing is changed on one that is refused.
    fn adopt(&mut self, socket: OwnedFd) -> Result<(OwnedFd, Domain), (Option<OwnedFd>, Refusal)> {
        if let Err(refusal) = self.accepting() {
            return Err((Some(socket), refusal));
        }
        let Ok(domain) = net::stream_domain(&socket) else { return Err((Some(socket), Refusal::Invalid)) };
        // For the moment under nobody's number: this finds out whether somebody has registered it before.
        if let Err(error) = self.poll.register(socket.as_raw_fd(), 0) {
            let taken = error.kind() == io::ErrorKind::AlreadyExists;
            return Err((Some(socket), if taken { Refusal::Busy } else { Refusal::Unsupported }));
        }
        match net::make_ready(&socket) {
            Ok(()) => Ok((socket, domain)),
            Err(_) => Err((None, Refusal::Unsupported)),
        }
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
                self.abort(stream);
                let _ = self.writer_free(stream);
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
            opening.answer = Some(answer.result);
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
                Stage::Connected(stream) => {
                    self.abort(stream);
                    let _ = self.writer_free(stream);
                }
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

    /// It is decided.
    fn opened(&mut self, id: Id<Opening>, result: Result<Stage, Error>) -> Option<Call> {
        let Opening { callback, client, .. } = self.openings.remove(id)?;
        self.waiting -= 1;
        let (stream, server, error) = match result {
            Ok(Stage::Connected(stream)) => (Some(stream), None, None),
            Ok(Stage::Serving(server)) => (None, Some(server), None),
            Ok(_) => (None, None, None),
            Err(error) => (None, None, Some(Box::new(error))),
        };
        match client {
            None => Some(Call::Stream { callback, stream, error }),
            Some(_) => Some(Call::Server { callback, server, error }),
        }
    }

    /// As far as it goes without waiting. Some: it is done.
    fn advance(&mut self, id: Id<Opening>) -> Result<Option<Stage>, Error> {
        loop {
            let Some(opening) = self.openings.get_mut(id) else { return Ok(None) };
            match &mut opening.stage {
                Stage::Start => match local_to_ask(opening) {
                    Some(host) => {
                        opening.stage = Stage::AskedForLocal;
                        let port = opening.options.local_port;
                        self.ask(id, &host, port)?;
                        return Ok(None);
                    }
                    None => self.ask_for_target(id)?,
                },
                Stage::AskedForLocal => {
                    let Some(answer) = opening.answer.take() else { return Ok(None) };
                    opening.local = Some(answer?.into_iter().map(SockAddr::from).collect());
                    self.ask_for_target(id)?;
                }
                Stage::Asked => {
                    let Some(answer) = opening.answer.take() else { return Ok(None) };
                    let addresses = answer?.into_iter().map(SockAddr::from).collect();
                    opening.stage = Stage::Trying { addresses, attempt: None };
                }
                Stage::Trying { .. } if opening.client.is_some() => return self.listen(id).map(Some),
                Stage::Trying { .. } => return self.try_next(id),
                Stage::Connected(_) | Stage::Serving(_) | Stage::Failed(_) => {
                    return match std::mem::replace(&mut opening.stage, Stage::Start) {
                        Stage::Failed(error) => Err(error),
                        done => Ok(Some(done)),
                    };
                }
            }
        }
    }

    fn ask(&mut self, id: Id<Opening>, host: &str, port: u16) -> Result<(), Error> {
        let family = self.openings.get(id).map_or(0, |opening| opening.options.family);
        let remote: Arc<_> = self.remote().clone();
        let resolver = self.resolver.get_or_insert_with(|| {
            Resolver::new(move |answer| {
                // A loop that is gone has nobody left who asked.
                remote.post(Posted::Answer(answer));
            })
        });
        resolver
            .ask(id.number(), host, port, family)
            .map_err(|error| Error::system(format!("resolve {host}"), &error))
    }

    /// Finds out the target's addresses, or asks for them.
    fn ask_for_target(&mut self, id: Id<Opening>) -> Result<(), Error> {
        let Some(opening) = self.openings.get_mut(id) else { return Ok(()) };
        let family = opening.options.family;
        let inet = |addresses: &[SocketAddr]| {
            let fits =
                |address: &&SocketAddr| family == 0 || family == i32::from(Domain::for_address(**address));
            addresses.iter().filter(fits).map(|address| SockAddr::from(*address)).collect::<VecDeque<_>>()
        };
        let addresses = match &opening.target {
            Target::Unix(address) => VecDeque::from([address.clone()]),
            Target::Everywhere(port) => {
                inet(&[(Ipv4Addr::UNSPECIFIED, *port).into(), (Ipv6Addr::UNSPECIFIED, *port).into()])
            }
            Target::Host(host, port) => match net::literal(host, *port) {
                Some(address) => inet(&[address]),
                None => {
                    let (host, port) = (host.clone(), *port);
                    opening.stage = Stage::Asked;
                    return self.ask(id, &host, port);
                }
            },
        };
        if addresses.is_empty() {
            let none = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
            return Err(Error::system("an address of another family was asked for", &none));
        }
        opening.stage = Stage::Trying { addresses, attempt: None };
        Ok(())
    }

    /// Goes on with the attempt under way, or with the next address.
    fn try_next(&mut self, id: Id<Opening>) -> Result<Option<Stage>, Error> {
        loop {
            let Some(opening) = self.openings.get_mut(id) else { return Ok(None) };
            let Stage::Trying { addresses, attempt } = &mut opening.stage else { return Ok(None) };
            if let Some((socket, address)) = attempt.take() {
                match net::is_connected(&socket, &address) {
                    None => {
                        *attempt = Some((socket, address));
                        return Ok(None);
                    }
                    Some(Ok(lost)) => {
                        let connected = self.connected(id, socket, &address, true)?;
                        if let (Some(lost), Some(Stage::Connected(stream))) = (lost, &connected) {
                            self.break_off(*stream, &lost);
                        }
                        return Ok(connected);
                    }
                    Some(Err(error)) => opening.errors.push(error),
                }
                continue;
            }
            let Some(address) = addresses.pop_front() else {
                return Err(summary(std::mem::take(&mut opening.errors)));
            };
            match net::connect(&address, opening.local.as_deref(), opening.options.socket) {
                Ok(Started::Connected(socket)) => return self.connected(id, socket, &address, false),
                Ok(Started::Waiting(socket)) => {
                    let raw_fd = socket.as_raw_fd();
                    *attempt = Some((socket, address));
                    self.poll
                        .register(raw_fd, id.number())
                        .map_err(|error| Error::system("register a socket", &error))?;
                    return Ok(None);
                }
                Ok(Started::Full) => {
                    addresses.push_front(address);
                    self.timers.set(UNIX_RETRY, id.number());
                    return Ok(None);
                }
                Err(error) => opening.errors.push(error),
            }
        }
    }

    fn connected(
        &mut self,
        id: Id<Opening>,
        socket: OwnedFd,
        address: &SockAddr,
        registered: bool,
    ) -> Result<Option<Stage>, Error> {
        let Some(limits) = self.openings.get(id).map(|opening| opening.options.limits) else {
            return Err(Error::Canceled);
        };
        let (domain, peer) = (address.domain(), address.as_socket());
        let made = Established { socket, domain, peer, limits, server: None, registered };
        Ok(Some(Stage::Connected(self.establish(made)?)))
    }

    fn listen(&mut self, id: Id<Opening>) -> Result<Stage, Error> {
        let Some(opening) = self.openings.get_mut(id) else { return Err(Error::Canceled) };
        let Stage::Trying { addresses, .. } = &mut opening.stage else { return Err(Error::Canceled) };
        let listen = opening.options.listen();
        let mut listeners = Vec::new();
        let mut file = None;
        for address in std::mem::take(addresses) {
            let listener = match address.as_socket() {
                Some(address) => net::listen(address, listen),
                None => net::listen_unix(&address, listen).map(|(listener, made)| {
                    file = made;
                    listener
                }),
            };
            match listener {
                Ok(listener) => listeners.push(listener),
                // A family that this machine does not have is no reason not to listen on the other.
                Err(error) if matches!(error.errno(), libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => {
                    opening.errors.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        if listeners.is_empty() {
            return Err(summary(std::mem::take(&mut opening.errors)));
        }
        let Some(client) = opening.client else { return Err(Error::Canceled) };
        let options = opening.options.clone();
        if options.keep_socket_file {
            file = None;
        }
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

/// asyncio's rule: one error is itself, equal ones are the first, and different ones are told together.
fn summary(mut errors: Vec<Error>) -> Error {
    let Some(first) = errors.first() else {
        return Error::system("no address", &io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
    };
    let errno = first.errno();
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    if texts.iter().all(|text| *text == texts[0]) {
        errors.swap_remove(0)
    } else {
        Error::Several { texts, errno }
    }
}
