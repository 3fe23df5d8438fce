//! Settings of TLS: PEM, keys, names of protocols and versions, as C gives them.

use std::ffi::{CStr, CString};

use eddy::ffi::errors::{eddy_error_code, eddy_error_message};
use eddy::ffi::looking::eddy_repr;
use eddy::ffi::tls::*;
use eddy::ffi::types::eddy_tls;

use super::abi::EINVAL;
use super::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let tls = if input.below(2) == 0 {
        let tls = eddy_tls_client_new();
        // Whom the system trusts takes long to read. SAFETY: it ends with a NUL.
        assert_eq!(unsafe { eddy_tls_trust(tls, super::AUTHORITY.as_ptr()) }, 0);
        tls
    } else {
        let (certificates, key) = (pem(&mut input), pem(&mut input));
        // SAFETY: both end with a NUL.
        unsafe { eddy_tls_server_new(certificates.as_ptr(), key.as_ptr()) }
    };
    let mut failed = is_wrong(tls);
    for _ in 0..4 {
        if input.is_empty() {
            break;
        }
        let code = change(tls, &mut input);
        assert!(code == 0 || code == EINVAL, "{code}");
        failed |= code != 0;
        assert!(is_wrong(tls) || !failed, "a mistake was forgotten");
    }
    eddy_tls_free(tls);
}

fn is_wrong(tls: *mut eddy_tls) -> bool {
    let error = eddy_tls_error(tls);
    // SAFETY: lent until they are changed; a text that lives until the next call of it.
    let (message, repr) =
        unsafe { (CStr::from_ptr(eddy_error_message(error)), CStr::from_ptr(eddy_repr(tls.cast()))) };
    assert!(repr.to_bytes().starts_with(b"<eddy_tls "));
    assert_eq!(error.is_null(), message.is_empty());
    assert_eq!(error.is_null(), eddy_error_code(error) == 0);
    !error.is_null()
}

fn change(tls: *mut eddy_tls, input: &mut Input) -> i32 {
    let what = input.below(9);
    let (first, second) = (pem(input), pem(input));
    // SAFETY: all texts end with a NUL.
    unsafe {
        match what {
            0 | 1 => eddy_tls_add_certificate(tls, first.as_ptr(), second.as_ptr()),
            2 | 3 => eddy_tls_trust(tls, first.as_ptr()),
            4 => eddy_tls_set_alpn(tls, first.as_ptr()),
            5 => eddy_tls_set_minimum_version(tls, first.as_ptr()),
            6 => eddy_tls_verify_clients(tls, input.below(2) as i32),
            7 => eddy_tls_set_resumption(tls, input.below(2) as i32),
            _ => eddy_tls_dangerously_skip_verification(tls),
        }
    }
}

/// A text of the fuzzer's, or one that is right but for what it changes: bytes within the base64, lines, or the labels.
fn pem(input: &mut Input) -> CString {
    let right = match input.below(6) {
        0 => super::SERVER,
        1 => super::KEY,
        2 => super::AUTHORITY,
        3 => c"TLSv1.3",
        4 => c"h2,http/1.1",
        _ => return CString::new(input.text()).unwrap(),
    };
    let mut text = right.to_bytes().to_vec();
    for _ in 0..input.below(4) {
        let at = usize::from(u16::from_le_bytes([input.byte(), input.byte()])) % text.len().max(1);
        match input.below(4) {
            0 => text.truncate(at),
            1 => text.extend_from_within(at.min(text.len())..),
            _ if at < text.len() => text[at] = input.byte().max(1),
            _ => {}
        }
    }
    CString::new(text).unwrap()
}
