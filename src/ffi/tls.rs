//! Settings of TLS.

use std::ffi::{c_char, c_int};
use std::panic::{self, AssertUnwindSafe};

use super::door::{self, text};
use super::errors::{code, eddy_error};
use super::types::*;
use crate::error::{Error, Refusal};
use crate::tls::{self, Ask, Config, Settings};

const WORD: &str = "TLS settings";

/// The wall, and what C sees. A handle that is no good is reported.
fn call(function: &'static str, tls: *mut eddy_tls, f: impl FnOnce(usize) -> Result<(), Refusal>) -> c_int {
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(tls as usize)));
    let result = result.unwrap_or_else(|payload| {
        std::mem::forget(payload);
        Err(Refusal::Panic)
    });
    match result {
        Ok(()) => 0,
        Err(refusal) => {
            if refusal == Refusal::Stale {
                door::misused(function, WORD, tls as usize, refusal);
            }
            code(refusal)
        }
    }
}

fn change(
    function: &'static str,
    tls: *mut eddy_tls,
    change: impl FnOnce(&mut Settings) -> Result<(), Error>,
) -> c_int {
    call(function, tls, |number| tls::change(number, change))
}

/// What the options of a connection point to.
pub(super) fn config(tls: *mut eddy_tls) -> Result<Config, Refusal> {
    tls::config(tls as usize).inspect_err(|refusal| {
        if *refusal == Refusal::Stale {
            door::blame(WORD, tls as usize);
        }
    })
}

/// Empty where there is none: then that has no certificates in it, and no key.
///
/// # Safety
/// NULL, or a text.
unsafe fn pem<'a>(pem: *const c_char) -> &'a [u8] {
    // SAFETY: the caller's promise.
    unsafe { text(pem) }.ok().flatten().unwrap_or_default().as_bytes()
}

/// A text that must be there. That it is not is a mistake like any other: it stays with the settings.
///
/// # Safety
/// NULL, or a text.
unsafe fn needed<'a>(given: *const c_char) -> Result<&'a str, Error> {
    // SAFETY: the caller's promise.
    let given = unsafe { text(given) };
    given.ok().flatten().ok_or_else(|| Error::Tls { what: "NULL, or no UTF-8, where a text must be".into() })
}

fn read(path: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::system(format!("read {path}"), &error))
}

fn new(settings: fn() -> Settings) -> usize {
    door::set_up();
    panic::catch_unwind(|| tls::new(settings())).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        tls::never()
    })
}

/// A client's: trusts whom the system trusts, verifies the server's certificate and name, TLS 1.2 and 1.3.
/// Never NULL. What goes wrong in the calls below is EDDY_EINVAL, and eddy_tls_error() says what it is.
///
/// asyncio: ssl.create_default_context(). What the system trusts is read when the settings are
/// first used, or asked for their error: its own store, or what SSL_CERT_FILE and SSL_CERT_DIR name.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_tls_client_new() -> *mut eddy_tls {
    new(Settings::client) as *mut eddy_tls
}

/// A server's: its certificate, with those that lead to its authority behind it, and the key. Both NULL: they
/// are given later. Never NULL.
///
/// A key that is encrypted must be decrypted first. asyncio: SSLContext.load_cert_chain().
///
/// # Safety
/// Both are NULL, or end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_tls_server_new(
    certificates_pem: *const c_char,
    key_pem: *const c_char,
) -> *mut eddy_tls {
    let made = new(Settings::server) as *mut eddy_tls;
    if !certificates_pem.is_null() || !key_pem.is_null() {
        // SAFETY: the caller's promise.
        let (certificates, key) = unsafe { (pem(certificates_pem), pem(key_pem)) };
        // What is wrong with them is kept.
        let _ = tls::change(made as usize, |settings| settings.add_certificate(certificates, key));
    }
    made
}

/// One more, of a server: the first that is for the name that a client asks for is shown, or else the first
/// of all (SNI). Of a client: the one that it shows when it is asked.
///
/// Of several for the same name, as with an EC key and an RSA key, the first that the client understands.
/// EDDY_EINVAL: see eddy_tls_error(); the settings are then good for nothing, as after any mistake.
///
/// # Safety
/// Both end with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_tls_add_certificate(
    tls: *mut eddy_tls,
    certificates_pem: *const c_char,
    key_pem: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    let (certificates, key) = unsafe { (pem(certificates_pem), pem(key_pem)) };
    change("eddy_tls_add_certificate", tls, |settings| settings.add_certificate(certificates, key))
}

/// The same from files; key_path NULL: the key is in the first.
///
/// # Safety
/// The paths end with a NUL; the second may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_tls_load_certificate(
    tls: *mut eddy_tls,
    certificates_path: *const c_char,
    key_path: *const c_char,
) -> c_int {
    call("eddy_tls_load_certificate", tls, |number| {
        // SAFETY: the caller's promise.
        let read = unsafe { needed(certificates_path) }.and_then(read).and_then(|certificates| {
            // SAFETY: as above.
            let key =
                if key_path.is_null() { None } else { Some(unsafe { needed(key_path) }.and_then(read)?) };
            Ok((certificates, key))
        });
        tls::change(number, |settings| {
            let (certificates, key) = read?;
            settings.add_certificate(&certificates, key.as_deref().unwrap_or(&certificates))
        })
    })
}

/// Trust these authorities, and no longer the system's; called again: these too. Of a server: whose
/// clients' certificates are good.
///
/// A certificate that is nobody's but its own (self-signed) can be trusted so. asyncio:
/// SSLContext.load_verify_locations().
///
/// # Safety
/// The text ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_tls_trust(tls: *mut eddy_tls, certificates_pem: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let certificates = unsafe { pem(certificates_pem) };
    change("eddy_tls_trust", tls, |settings| settings.trust(certificates))
}

/// The same from a file.
///
/// # Safety
/// The path ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_tls_load_trust(tls: *mut eddy_tls, certificates_path: *const c_char) -> c_int {
    call("eddy_tls_load_trust", tls, |number| {
        // SAFETY: the caller's promise.
        let read = unsafe { needed(certificates_path) }.and_then(read);
        tls::change(number, |settings| settings.trust(&read?))
    })
}

/// A server asks its clients for certificates, of the authorities that it trusts; required 0: they may do
/// without.
///
/// asyncio: SSLContext.verify_mode, CERT_REQUIRED or CERT_OPTIONAL.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_tls_verify_clients(tls: *mut eddy_tls, required: c_int) -> c_int {
    let ask = if required != 0 { Ask::Required } else { Ask::Optional };
    change("eddy_tls_verify_clients", tls, |settings| settings.ask_clients(ask))
}

/// "h2,http/1.1": the best first; "": none. With nothing in common the handshake fails.
///
/// asyncio: SSLContext.set_alpn_protocols(). What was agreed on is told by eddy_writer_get_extra_info().
///
/// # Safety
/// The text ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_tls_set_alpn(tls: *mut eddy_tls, protocols: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let protocols = unsafe { needed(protocols) };
    change("eddy_tls_set_alpn", tls, |settings| settings.set_alpn(protocols?))
}

/// "TLSv1.2", the default, or "TLSv1.3".
///
/// asyncio: SSLContext.minimum_version.
///
/// # Safety
/// The text ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn eddy_tls_set_minimum_version(tls: *mut eddy_tls, version: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let version = unsafe { needed(version) };
    change("eddy_tls_set_minimum_version", tls, |settings| settings.set_minimum_version(version?))
}

/// Whether a later connection may go on with the keys of an earlier one, which saves it half of the
/// handshake; default: it may.
///
/// Sessions live with the settings: share these. A server keeps none, but has its clients keep them,
/// encrypted (tickets); a client keeps a few for each of 256 servers.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_tls_set_resumption(tls: *mut eddy_tls, on: c_int) -> c_int {
    change("eddy_tls_set_resumption", tls, |settings| settings.set_resumption(on != 0))
}

/// FOR TESTS ONLY. A client believes ANY certificate, for any name: whoever stands between reads and
/// changes everything. To trust a certificate of your own, use eddy_tls_trust().
#[unsafe(no_mangle)]
pub extern "C" fn eddy_tls_dangerously_skip_verification(tls: *mut eddy_tls) -> c_int {
    change("eddy_tls_dangerously_skip_verification", tls, Settings::skip_verification)
}

/// What is wrong with these settings; NULL: nothing. Settings with something wrong are refused when used.
/// Lent until they are changed or freed.
///
/// The first mistake made with them stays. That something is missing, as a server's certificate, is cured
/// by giving it.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_tls_error(tls: *mut eddy_tls) -> *const eddy_error {
    let mut found = None;
    call("eddy_tls_error", tls, |number| {
        found = tls::error(number)?;
        Ok(())
    });
    found.unwrap_or(0) as *const eddy_error
}

/// Whenever; connections and servers that use them go on as they are.
#[unsafe(no_mangle)]
pub extern "C" fn eddy_tls_free(tls: *mut eddy_tls) {
    let number = tls as usize;
    let ours = number == 0 || crate::table::Kind::of(number) == Some(crate::table::Kind::Tls);
    call("eddy_tls_free", tls, |number| match tls::free(number) {
        Err(Refusal::Stale) if ours => Ok(()),
        result => result,
    });
}
