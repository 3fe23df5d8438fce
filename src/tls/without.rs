//! What stands in for TLS in a library that was built without it.

use super::{Ask, wrong};
use crate::error::Error;

#[derive(Clone, Debug)]
pub struct Settings;

/// There is none.
#[derive(Clone, Debug)]
pub enum Config {}

#[derive(Debug)]
pub enum Session {}

pub fn is_name(_name: &str) -> bool {
    true
}

fn without() -> Error {
    wrong("this library was built without TLS")
}

impl Settings {
    pub const POSSIBLE: bool = false;

    pub fn client() -> Settings {
        Settings
    }

    pub fn server() -> Settings {
        Settings
    }

    pub fn repr(&self) -> &'static str {
        "without TLS"
    }

    pub fn add_certificate(&mut self, _certificates: &[u8], _key: &[u8]) -> Result<(), Error> {
        Err(without())
    }

    pub fn trust(&mut self, _certificates: &[u8]) -> Result<(), Error> {
        Err(without())
    }

    pub fn set_alpn(&mut self, _protocols: &str) -> Result<(), Error> {
        Err(without())
    }

    pub fn ask_clients(&mut self, _ask: Ask) -> Result<(), Error> {
        Err(without())
    }

    pub fn set_minimum_version(&mut self, _version: &str) -> Result<(), Error> {
        Err(without())
    }

    pub fn set_resumption(&mut self, _on: bool) -> Result<(), Error> {
        Err(without())
    }

    pub fn skip_verification(&mut self) -> Result<(), Error> {
        Err(without())
    }

    pub fn build(&self) -> Result<Config, Error> {
        Err(without())
    }
}

impl Config {
    pub fn is_client(&self) -> bool {
        match *self {}
    }
}

impl Session {
    pub fn new(config: &Config, _name: Option<&str>) -> Result<Session, Error> {
        match *config {}
    }

    pub fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub fn is_starved(&self) -> bool {
        match *self {}
    }

    pub fn is_closed_by_peer(&self) -> bool {
        match *self {}
    }

    pub fn take(&mut self, _ciphertext: &[u8]) -> Result<usize, Error> {
        match *self {}
    }

    pub fn plaintext(&mut self, _room: &mut [u8]) -> usize {
        match *self {}
    }

    pub fn seal(&mut self, _plaintext: &[u8]) -> usize {
        match *self {}
    }

    pub fn close(&mut self) {
        match *self {}
    }

    pub fn has_output(&self) -> bool {
        match *self {}
    }

    pub fn output(&mut self, _to: impl FnMut(&[u8]) -> bool) -> bool {
        match *self {}
    }

    pub fn tell(&self, _name: &str) -> Option<Vec<u8>> {
        match *self {}
    }
}
