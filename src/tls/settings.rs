//! What connections are made with: certificates, keys, whom to trust, and what to offer.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};

use super::{Ask, wrong};
use crate::error::Error;
use crate::reserve;

/// RFC 7301: a length of one byte.
const ALPN_LONGEST: usize = 255;
/// A ClientHello of which that is not all is still one record.
const ALPN_ALL: usize = 8 * 1024;

/// What a connection is made with, as it was when it began.
#[derive(Clone, Debug)]
pub enum Config {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

impl Config {
    pub fn is_client(&self) -> bool {
        matches!(self, Config::Client(_))
    }
}

/// A DNS name or an IP address that a certificate can be for.
pub fn is_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

#[derive(Clone)]
pub struct Settings {
    client: bool,
    certificates: Vec<Arc<CertifiedKey>>,
    /// None: a client trusts whom the system trusts.
    anchors: Option<RootCertStore>,
    alpn: Vec<Vec<u8>>,
    ask: Ask,
    versions: &'static [&'static SupportedProtocolVersion],
    resumption: bool,
    verification: bool,
}

/// Makes something that lasts, with code that cannot be told that there is no memory.
fn made<T>(make: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    match reserve::within(make) {
        (Ok(_), true) => Err(wrong("there was no memory for these settings")),
        (result, _) => result,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

impl Settings {
    pub const POSSIBLE: bool = true;

    fn new(client: bool) -> Settings {
        Settings {
            client,
            certificates: Vec::new(),
            anchors: None,
            alpn: Vec::new(),
            ask: Ask::Nobody,
            versions: rustls::ALL_VERSIONS,
            resumption: true,
            verification: true,
        }
    }

    pub fn client() -> Settings {
        Settings::new(true)
    }

    pub fn server() -> Settings {
        Settings::new(false)
    }

    pub fn repr(&self) -> &'static str {
        match (self.client, self.verification) {
            (true, true) => "client",
            (true, false) => "client WITHOUT VERIFICATION",
            _ => "server",
        }
    }

    /// A server's next one, or the one that a client shows.
    pub fn add_certificate(&mut self, certificates: &[u8], key: &[u8]) -> Result<(), Error> {
        if self.client && !self.certificates.is_empty() {
            return Err(wrong("a client has one certificate to show, and this one has it already"));
        }
        self.certificates.push(made(|| certified(certificates, key))?);
        Ok(())
    }

    /// These authorities, and no longer the system's.
    pub fn trust(&mut self, certificates: &[u8]) -> Result<(), Error> {
        let anchors = made(|| {
            let mut anchors = self.anchors.clone().unwrap_or_else(RootCertStore::empty);
            for (n, certificate) in certificates_in(certificates)?.into_iter().enumerate() {
                anchors
                    .add(certificate)
                    .map_err(|_| wrong(format!("certificate {} of those to trust cannot be read", n + 1)))?;
            }
            Ok(anchors)
        })?;
        self.anchors = Some(anchors);
        Ok(())
    }

    /// `h2,http/1.1`: the best first.
    pub fn set_alpn(&mut self, protocols: &str) -> Result<(), Error> {
        let list = protocols.split(',').filter(|_| !protocols.is_empty()).map(|name| {
            let printable = name.bytes().all(|c| c.is_ascii_graphic());
            if name.is_empty() || name.len() > ALPN_LONGEST || !printable {
                return Err(wrong(format!("no name of an application protocol (ALPN): {name:?}")));
            }
            Ok(name.as_bytes().to_vec())
        });
        let list: Vec<_> = list.collect::<Result<_, _>>()?;
        if list.iter().map(|name| name.len() + 1).sum::<usize>() > ALPN_ALL {
            return Err(wrong("too many application protocols (ALPN) for a ClientHello"));
        }
        self.alpn = list;
        Ok(())
    }

    pub fn ask_clients(&mut self, ask: Ask) -> Result<(), Error> {
        if self.client {
            return Err(wrong("only a server asks its clients for certificates"));
        }
        self.ask = ask;
        Ok(())
    }

    pub fn set_minimum_version(&mut self, version: &str) -> Result<(), Error> {
        static NEWEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        self.versions = match version {
            "TLSv1.2" => rustls::ALL_VERSIONS,
            "TLSv1.3" => &NEWEST,
            _ => {
                let what = format!(
                    "no version of TLS that can be the minimum: {version:?}; TLSv1.2 and TLSv1.3 can"
                );
                return Err(wrong(what));
            }
        };
        Ok(())
    }

    pub fn set_resumption(&mut self, on: bool) -> Result<(), Error> {
        self.resumption = on;
        Ok(())
    }

    pub fn skip_verification(&mut self) -> Result<(), Error> {
        if !self.client {
            return Err(wrong("only a client can skip the verification of its server"));
        }
        self.verification = false;
        Ok(())
    }

    pub fn build(&self) -> Result<Config, Error> {
        made(|| {
            Ok(if self.client {
                Config::Client(Arc::new(self.client_config()?))
            } else {
                Config::Server(Arc::new(self.server_config()?))
            })
        })
    }

    fn client_config(&self) -> Result<ClientConfig, Error> {
        let failed = |error: rustls::Error| wrong(format!("TLS settings: {error}"));
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .map_err(failed)?;
        let builder = match &self.anchors {
            _ if !self.verification => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider())))
            }
            Some(anchors) => builder.with_root_certificates(anchors.clone()),
            None => {
                let system = rustls_platform_verifier::Verifier::new(provider())
                    .map_err(|error| wrong(format!("nobody to trust: {error}")))?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(system))
            }
        };
        let mut config = match self.certificates.first() {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone()))),
        };
        config.alpn_protocols.clone_from(&self.alpn);
        if !self.resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(config)
    }

    fn server_config(&self) -> Result<ServerConfig, Error> {
        let failed = |error: rustls::Error| wrong(format!("TLS settings: {error}"));
        if self.certificates.is_empty() {
            return Err(wrong("a server needs a certificate, and none was given"));
        }
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .map_err(failed)?;
        let clients: Arc<dyn ClientCertVerifier> = match (self.ask, &self.anchors) {
            (Ask::Nobody, _) => WebPkiClientVerifier::no_client_auth(),
            (_, None) => {
                return Err(wrong("clients are asked for certificates, and whose to trust was not said"));
            }
            (ask, Some(anchors)) => {
                let builder =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(anchors.clone()), provider());
                let builder = if ask == Ask::Optional { builder.allow_unauthenticated() } else { builder };
                builder.build().map_err(|error| wrong(format!("TLS settings: {error}")))?
            }
        };
        let mut config = builder
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(ByName(self.certificates.clone())));
        config.alpn_protocols.clone_from(&self.alpn);
        // Whoever resumes a session has kept it.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        if self.resumption {
            config.ticketer = ring::Ticketer::new().map_err(failed)?;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

fn certified(certificates: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, Error> {
    let chain = certificates_in(certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound if find(key, b"ENCRYPTED PRIVATE KEY") => {
            wrong("the private key is encrypted; it must be decrypted first")
        }
        pem::Error::NoItemsFound => wrong("no private key (-----BEGIN PRIVATE KEY-----) in what was given"),
        other => wrong(format!("the private key is no PEM: {other}")),
    })?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| {
        wrong(match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "the private key is not that of the certificate".into()
            }
            rustls::Error::InvalidCertificate(_) => "the certificate cannot be read".into(),
            other => format!("the private key cannot be used: {other}"),
        })
    })?;
    certified
        .end_entity_cert()
        .and_then(ParsedCertificate::try_from)
        .map_err(|_| wrong("the certificate cannot be read"))?;
    Ok(Arc::new(certified))
}

fn find(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

fn certificates_in(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(format!("the certificates are no PEM: {error}")))?;
    if all.is_empty() {
        return Err(wrong("no certificate (-----BEGIN CERTIFICATE-----) in what was given"));
    }
    Ok(all)
}

/// A server's certificates: the first that is for the name that the client asks for, and of a kind that the client
/// understands; or else the first.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let understood =
            |own: &&Arc<CertifiedKey>| own.key.choose_scheme(hello.signature_schemes()).is_some();
        let is_for = |own: &&Arc<CertifiedKey>| {
            let parsed = own.end_entity_cert().and_then(ParsedCertificate::try_from);
            matches!((&name, parsed), (Some(name), Ok(parsed)) if verify_server_name(&parsed, name).is_ok())
        };
        let all = &self.0;
        let best = all.iter().filter(is_for).find(understood).or_else(|| all.iter().find(is_for));
        best.or_else(|| all.iter().find(understood)).or(all.first()).cloned()
    }
}

/// Believes any certificate, whoever made it, and for whatever name: that the peer has its key is verified all the
/// same.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
