//! The engine of TLS: two sessions, and between them somebody who cuts, flips, repeats, drops, swaps and invents what
//! they send; or one session, and nobody but him.

use std::sync::OnceLock;

use eddy::tls::{Ask, Config, Session, Settings};

use super::input::Input;

/// What becomes of a flight.
enum Harm {
    None,
    Flip,
    Cut,
    Repeat,
    Swap,
    Drop,
    Insert,
}

/// One of the two ends: what it was given to send, and what came out.
pub struct End {
    pub session: Session,
    pub failed: bool,
    /// What has come from the other end, as it was, or harmed.
    pub incoming: Vec<u8>,
    pub sealed: Vec<u8>,
    pub opened: Vec<u8>,
    pub closed: bool,
}

/// A client's and a server's: of TLS 1.2, of 1.3, and where clients are asked for certificates.
pub fn configs() -> &'static [(Config, Config); 3] {
    static CONFIGS: OnceLock<[(Config, Config); 3]> = OnceLock::new();
    CONFIGS.get_or_init(|| [(true, Ask::Nobody), (false, Ask::Nobody), (false, Ask::Required)].map(config))
}

fn config((old, ask): (bool, Ask)) -> (Config, Config) {
    let authority = super::AUTHORITY.to_bytes();
    let (certificate, key) = (super::SERVER.to_bytes(), super::KEY.to_bytes());
    let (mut client, mut server) = (Settings::client(), Settings::server());
    client.trust(authority).unwrap();
    client.set_alpn("h2,http/1.1").unwrap();
    server.add_certificate(certificate, key).unwrap();
    server.set_alpn("http/1.1").unwrap();
    if ask != Ask::Nobody {
        server.trust(authority).unwrap();
        server.ask_clients(ask).unwrap();
        client.add_certificate(certificate, key).unwrap();
    }
    (if old { old_client() } else { client.build().unwrap() }, server.build().unwrap())
}

/// Ours speak TLS 1.3 when they can; others may be older.
fn old_client() -> Config {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let mut anchors = rustls::RootCertStore::empty();
    anchors.add(CertificateDer::from_pem_slice(super::AUTHORITY.to_bytes()).unwrap()).unwrap();
    let provider = rustls::crypto::ring::default_provider().into();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(anchors)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Config::Client(client.into())
}

impl End {
    pub fn new(config: &Config) -> End {
        let name = config.is_client().then_some("server.test");
        let session = Session::new(config, name).unwrap();
        let (incoming, sealed, opened) = (Vec::new(), Vec::new(), Vec::new());
        End { session, failed: false, incoming, sealed, opened, closed: false }
    }

    /// Takes what has come, in pieces, as the hub does.
    pub fn take(&mut self, piece: usize) {
        let mut at = 0;
        while at < self.incoming.len() && !self.failed && !self.session.is_closed_by_peer() {
            let to = (at + piece).min(self.incoming.len());
            match self.session.take(&self.incoming[at..to]) {
                Ok(0) => panic!("it takes nothing, and does not say why"),
                Ok(taken) => at += taken,
                Err(error) => {
                    assert!(error.to_string().starts_with("TLS"), "{error}");
                    self.failed = true;
                }
            }
            let mut room = [0; 1000];
            while let n @ 1.. = self.session.plaintext(&mut room) {
                self.opened.extend_from_slice(&room[..n]);
            }
        }
        self.incoming.clear();
    }

    pub fn seal(&mut self, bytes: &[u8]) {
        if !self.session.is_handshaking() && !self.failed && !self.closed {
            let taken = self.session.seal(bytes);
            assert_eq!(taken, bytes.len());
            self.sealed.extend_from_slice(bytes);
        }
    }

    pub fn close(&mut self) {
        if !self.session.is_handshaking() {
            self.session.close();
            self.closed = true;
        }
    }

    /// All that it has to send.
    pub fn output(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let whole = self.session.output(|bytes| {
            all.extend_from_slice(bytes);
            true
        });
        assert!(whole && !self.session.has_output());
        all
    }
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (client, server) = &configs()[input.below(3)];
    let mut ends = [End::new(client), End::new(server)];
    if input.below(4) == 0 {
        // Nobody is at the other end.
        let end = &mut ends[input.below(2)];
        let piece = 1 + input.count();
        while !input.is_empty() && !end.failed {
            let mut some = input.take(64).to_vec();
            end.incoming.append(&mut some);
            end.take(piece);
            end.output();
        }
        assert!(end.session.is_handshaking(), "a handshake without a peer");
        return;
    }
    let mut harmed = false;
    for _ in 0..12 {
        for from in 0..2 {
            let [client, server] = &mut ends;
            let (from, to) = if from == 0 { (client, server) } else { (server, client) };
            match input.below(8) {
                0 | 1 => {
                    let n = input.count();
                    let bytes = input.letters(n);
                    from.seal(&bytes);
                }
                2 if input.below(4) == 0 => from.close(),
                _ => {}
            }
            let mut flight = from.output();
            harmed |= harm(&mut flight, &mut input);
            to.incoming.extend_from_slice(&flight);
            let piece = 1 + input.count();
            to.take(if piece == 1 { usize::MAX / 2 } else { piece });
        }
    }
    let [client, server] = &ends;
    for (from, to) in [(client, server), (server, client)] {
        assert!(from.sealed.starts_with(&to.opened), "what came out is not what was put in");
        if !harmed {
            assert!(!to.failed && !to.session.is_handshaking());
            assert_eq!(from.sealed.len(), to.opened.len());
            assert_eq!(to.session.is_closed_by_peer(), from.closed);
            let said = to.session.tell("alpn");
            assert_eq!(said.as_deref(), Some(&b"http/1.1"[..]));
        } else if !from.closed {
            assert!(!to.session.is_closed_by_peer(), "a goodbye that nobody said");
        }
        for name in
            ["cipher", "version", "alpn", "peercert", "peercert_chain", "server_hostname", "session_reused"]
        {
            to.session.tell(name);
        }
    }
}

/// True: something is not as it was sent.
pub fn harm(flight: &mut Vec<u8>, input: &mut Input) -> bool {
    let kind = match input.below(24) {
        0 => Harm::Flip,
        1 => Harm::Cut,
        2 => Harm::Repeat,
        3 => Harm::Swap,
        4 => Harm::Drop,
        5 => Harm::Insert,
        _ => Harm::None,
    };
    let before = flight.clone();
    let records = records(flight);
    let at = usize::from(u16::from_le_bytes([input.byte(), 0]));
    let which = at.checked_rem(records.len()).unwrap_or(0);
    match kind {
        Harm::None => {}
        Harm::Flip if !flight.is_empty() => {
            let at = (at * 7) % flight.len();
            flight[at] ^= input.byte();
        }
        Harm::Cut => flight.truncate(at),
        Harm::Repeat if !records.is_empty() => flight.extend_from_slice(&records[which].clone()),
        Harm::Swap if records.len() > 1 => {
            let mut records = records;
            let last = records.len() - 1;
            records.swap(which, last);
            *flight = records.concat();
        }
        Harm::Drop if !records.is_empty() => {
            let mut records = records;
            records.remove(which);
            *flight = records.concat();
        }
        Harm::Insert => {
            let n = input.below(32);
            let invented = input.take(n);
            let at = at.min(flight.len());
            flight.splice(at..at, invented.iter().copied());
        }
        _ => {}
    }
    *flight != before
}

/// By their lengths, as they are on the wire.
fn records(mut flight: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = *flight {
        let len = (5 + usize::from(u16::from_be_bytes([high, low]))).min(flight.len());
        let (record, rest) = flight.split_at(len);
        records.push(record.to_vec());
        flight = rest;
    }
    records
}
