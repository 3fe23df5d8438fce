//! The engine of one connection: ciphertext in and out, plaintext in and out.

use std::io::{self, Read, Write};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, CertificateError, ClientConnection, Connection, HandshakeKind, ServerConnection,
    SupportedCipherSuite,
};

use super::settings::Config;
use super::wrong;
use crate::error::Error;
use crate::reserve;

/// RFC 5246: the longest plaintext of a record.
const RECORD: usize = 1 << 14;
/// What a key has sealed before the first byte of an application, and has to after the last: more than enough.
const HANDSHAKE_RECORDS: u64 = 16;

/// So many records these make.
fn records(len: usize) -> u64 {
    len.div_ceil(RECORD) as u64
}

#[derive(Debug)]
pub struct Session {
    engine: Connection,
    /// Whom a client has asked for.
    name: Option<Box<str>>,
    closed_by_peer: bool,
    /// So many records may still be sealed with TLS 1.2, whose keys are used up then.
    records_left: Option<u64>,
    /// It has needed memory that there was none of, and is to end.
    starved: bool,
}

impl Session {
    /// `name`: a client's peer, to ask for and to verify.
    pub fn new(config: &Config, name: Option<&str>) -> Result<Session, Error> {
        let (engine, starved) = reserve::within(|| match config {
            Config::Client(config) => {
                let name = name.unwrap_or_default();
                let server = ServerName::try_from(name.to_owned())
                    .map_err(|_| wrong(format!("no name to verify: {name:?}")))?;
                Ok(ClientConnection::new(config.clone(), server).map(Connection::from))
            }
            Config::Server(config) => Ok(ServerConnection::new(config.clone()).map(Connection::from)),
        });
        let mut engine = engine?.map_err(|error| wrong(format!("TLS cannot begin: {error}")))?;
        if starved {
            return Err(Error::system("TLS cannot begin", &io::Error::from_raw_os_error(libc::ENOMEM)));
        }
        // What is sealed is bounded by who seals, who also counts it.
        engine.set_buffer_limit(None);
        let name = name.map(Into::into);
        Ok(Session { engine, name, closed_by_peer: false, records_left: None, starved: false })
    }

    /// Has the engine work, which cannot be told that there is no memory.
    fn work<R>(&mut self, f: impl FnOnce(&mut Connection) -> R) -> R {
        let (result, starved) = reserve::within(|| f(&mut self.engine));
        self.starved |= starved;
        result
    }

    /// There was no memory for what it did last: it holds some that is set apart, and is to be dropped soon.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    pub fn is_handshaking(&self) -> bool {
        self.engine.is_handshaking()
    }

    /// All that it sent has come, and it has said so.
    pub fn is_closed_by_peer(&self) -> bool {
        self.closed_by_peer
    }

    /// Takes ciphertext in, as much as it has use for now. To be called when its plaintext has been had.
    pub fn take(&mut self, mut ciphertext: &[u8]) -> Result<usize, Error> {
        let all = ciphertext.len();
        let handshaking = self.engine.is_handshaking();
        let result = self.work(|engine| {
            engine
                .read_tls(&mut ciphertext)
                .map(|_| engine.process_new_packets().map(|state| state.peer_has_closed()))
        });
        if self.starved {
            return Err(Error::lost(&io::Error::from_raw_os_error(libc::ENOMEM)));
        }
        match result.map_err(|error| wrong(format!("TLS: {error}")))? {
            Ok(closed) => {
                self.closed_by_peer = closed;
                Ok(all - ciphertext.len())
            }
            Err(error) => Err(wrong(describe(&error, handshaking, self.name.as_deref()))),
        }
    }

    /// Moves plaintext there; 0: there is none.
    pub fn plaintext(&mut self, room: &mut [u8]) -> usize {
        self.engine.reader().read(room).unwrap_or(0)
    }

    /// Makes records of it. So much was taken; 0: a key of TLS 1.2 is used up. (rustls would drop the rest, and not say so.
    /// With TLS 1.3 it takes new keys.)
    pub fn seal(&mut self, plaintext: &[u8]) -> usize {
        if let Some(SupportedCipherSuite::Tls12(suite)) = self.engine.negotiated_cipher_suite() {
            let all = suite.common.confidentiality_limit.saturating_sub(HANDSHAKE_RECORDS);
            let left = self.records_left.get_or_insert(all);
            match left.checked_sub(records(plaintext.len())) {
                Some(rest) => *left = rest,
                None => return 0,
            }
        }
        self.work(|engine| engine.writer().write(plaintext).unwrap_or(0))
    }

    /// Says that no more will be sent.
    pub fn close(&mut self) {
        self.work(|engine| engine.send_close_notify());
    }

    pub fn has_output(&self) -> bool {
        self.engine.wants_write()
    }

    /// Gives away all the ciphertext there is. False: `to` has refused some, and it is lost.
    pub fn output(&mut self, to: impl FnMut(&[u8]) -> bool) -> bool {
        let mut out = Out { to, refused: false };
        self.work(|engine| {
            while engine.wants_write() && !out.refused {
                if engine.write_tls(&mut out).is_err() {
                    return false;
                }
            }
            !out.refused
        })
    }

    /// What asyncio's get_extra_info() has, and a little more.
    pub fn tell(&self, name: &str) -> Option<Vec<u8>> {
        let engine = &self.engine;
        let text = |text: &str| Some(text.as_bytes().to_vec());
        match name {
            "cipher" => {
                let suite = format!("{:?}", engine.negotiated_cipher_suite()?.suite());
                // TLS 1.3's are called as in the RFC and everywhere.
                text(&suite.replace("TLS13_", "TLS_"))
            }
            "version" => match engine.protocol_version()? {
                rustls::ProtocolVersion::TLSv1_2 => text("TLSv1.2"),
                rustls::ProtocolVersion::TLSv1_3 => text("TLSv1.3"),
                other => text(&format!("{other:?}")),
            },
            "alpn" => engine.alpn_protocol().map(<[u8]>::to_vec),
            "peercert" => joined(engine.peer_certificates()?.get(..1)?),
            "peercert_chain" => joined(engine.peer_certificates()?),
            "server_hostname" => match engine {
                Connection::Client(_) => text(self.name.as_deref()?),
                Connection::Server(server) => text(server.server_name()?),
            },
            "session_reused" => {
                text(if engine.handshake_kind()? == HandshakeKind::Resumed { "1" } else { "0" })
            }
            _ => None,
        }
    }
}

/// A peer decides how large they are. None: there is no memory for them.
fn joined(certificates: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    all.try_reserve_exact(certificates.iter().map(|der| der.len()).sum()).ok()?;
    certificates.iter().for_each(|der| all.extend_from_slice(der));
    Some(all)
}

struct Out<F> {
    to: F,
    refused: bool,
}

impl<F: FnMut(&[u8]) -> bool> Write for Out<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.refused |= !reserve::outside(|| (self.to)(bytes));
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        for slice in slices {
            self.refused |= !reserve::outside(|| (self.to)(slice));
        }
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `HandshakeFailure` as "handshake failure".
fn words(name: &str) -> String {
    let mut words = String::new();
    let mut small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && small {
            words.push(' ');
        }
        small = !c.is_ascii_uppercase();
        words.push(c.to_ascii_lowercase());
    }
    words
}

fn describe(error: &rustls::Error, handshaking: bool, name: Option<&str>) -> String {
    use rustls::Error::*;
    use rustls::PeerIncompatible as Incompatible;
    let handshake = |reason: &str| format!("TLS handshake failed: {reason}");
    match error {
        InvalidCertificate(error) => handshake(&format!("the peer's certificate {}", verdict(error, name))),
        NoCertificatesPresented => handshake("the peer showed no certificate"),
        AlertReceived(AlertDescription::CloseNotify) if handshaking => handshake("the peer has ended it"),
        AlertReceived(alert) if handshaking => {
            handshake(&format!("the peer refused it, {}", alert_words(alert)))
        }
        AlertReceived(alert) => format!("TLS: the peer ended the connection, {}", alert_words(alert)),
        PeerMisbehaved(what) => {
            let words = format!("the peer misbehaved: {}", words(&format!("{what:?}")));
            if handshaking { handshake(&words) } else { format!("TLS: {words}") }
        }
        NoApplicationProtocol => handshake("no application protocol in common (ALPN)"),
        PeerIncompatible(
            Incompatible::ServerDoesNotSupportTls12Or13
            | Incompatible::ServerTlsVersionIsDisabledByOurConfig
            | Incompatible::SupportedVersionsExtensionRequired
            | Incompatible::Tls12NotOfferedOrEnabled
            | Incompatible::Tls12NotOffered,
        ) => handshake("no version of TLS in common"),
        PeerIncompatible(what) => {
            handshake(&format!("nothing in common with the peer: {}", words(&format!("{what:?}"))))
        }
        InvalidMessage(_) | InappropriateMessage { .. } if handshaking => {
            handshake("what the peer sent is no TLS handshake")
        }
        InappropriateHandshakeMessage { .. } if handshaking => {
            handshake("what the peer sent is no TLS handshake")
        }
        DecryptError if !handshaking => "TLS: a record was damaged or forged".into(),
        _ if handshaking => handshake(&error.to_string()),
        _ => format!("TLS: {error}"),
    }
}

fn alert_words(alert: &AlertDescription) -> String {
    format!("alert {:?}", words(&format!("{alert:?}")))
}

/// `DnsName("a.test")` or `IpAddress(127.0.0.1)`, as webpki tells a name, without the wrapping. It is the peer's: nothing
/// in it may do anything to a terminal or a log.
fn bare(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// What is wrong with a certificate.
fn verdict(error: &CertificateError, name: Option<&str>) -> String {
    use CertificateError::*;
    let of = || name.map_or(String::new(), |name| format!(" {name}"));
    match error {
        UnknownIssuer => "was issued by an authority that is not trusted".into(),
        Expired | ExpiredContext { .. } => "has expired".into(),
        NotValidYet | NotValidYetContext { .. } => "is not valid yet".into(),
        NotValidForName => format!("is not for{}", of()),
        NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().take(4).map(|name| bare(name)).collect();
            format!("is not for{}, but for {}", of(), if names.is_empty() { "no name".into() } else { names.join(", ") })
        }
        Revoked => "was revoked".into(),
        BadEncoding => "cannot be read".into(),
        BadSignature => "has a wrong signature".into(),
        InvalidPurpose | InvalidPurposeContext { .. } => "is for another purpose".into(),
        Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is an authority's, not a server's (CA:TRUE); make one with -addext basicConstraints=critical,CA:FALSE"
                .into()
        }
        other => format!("was refused: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_as_they_are_made() {
        assert_eq!([0, 1, RECORD, RECORD + 1, 4 * RECORD].map(records), [0, 1, 1, 2, 4]);
    }

    #[test]
    fn a_peers_names_are_told_and_can_be_printed() {
        assert_eq!(bare("DnsName(\"a.test\")"), "a.test");
        assert_eq!(bare("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(bare("DnsName(\"\u{1b}[31mEVIL\n\")"), "?[31mEVIL?");
        assert_eq!(bare("what is this"), "what?is?this");
    }
}
