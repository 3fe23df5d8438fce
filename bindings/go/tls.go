package eddy

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"runtime"
	"strings"
	"unsafe"
)

// TLS are settings for Options.TLS, shared by any number of connections and servers, on any loop. Their methods are
// not for two goroutines at a time.
type TLS struct{ handle C.handle }

// NewTLSClient trusts whom the system trusts, unless told by Trust or LoadTrust.
func NewTLSClient() *TLS { return newTLS(C.tls_client_new()) }

// NewTLSServer needs AddCertificate or LoadCertificate.
func NewTLSServer() *TLS { return newTLS(C.tls_server_new()) }

func newTLS(handle C.handle) *TLS {
	tls := &TLS{handle}
	runtime.SetFinalizer(tls, func(tls *TLS) { C.tls_free(tls.handle) })
	return tls
}

// wrong is what is wrong with the settings, or else this code.
func (tls *TLS) wrong(code C.int) error {
	defer runtime.KeepAlive(tls)
	if err := failure(C.tls_error(tls.handle)); err != nil || code >= 0 {
		return err
	}
	return refusal(Code(code))
}

// set calls set with texts in C; an empty one is none.
func (tls *TLS) set(set func(one, two *C.char) C.int, one, two string) error {
	if strings.IndexByte(one+two, 0) >= 0 {
		return refusal(EINVAL)
	}
	first, second := text(one), text(two)
	defer C.free(unsafe.Pointer(first))
	defer C.free(unsafe.Pointer(second))
	if code := set(first, second); code < 0 {
		return tls.wrong(code)
	}
	return nil
}

// AddCertificate adds certificates and their key, in PEM.
func (tls *TLS) AddCertificate(certificates, key string) error {
	return tls.set(func(one, two *C.char) C.int { return C.tls_add_certificate(tls.handle, one, two) }, certificates, key)
}

// LoadCertificate does so from files; without a second, the key is in the first.
func (tls *TLS) LoadCertificate(certificates, key string) error {
	return tls.set(func(one, two *C.char) C.int { return C.tls_load_certificate(tls.handle, one, two) }, certificates, key)
}

// Trust has these authorities trusted, in PEM, and no longer the system's.
func (tls *TLS) Trust(certificates string) error {
	return tls.set(func(one, _ *C.char) C.int { return C.tls_trust(tls.handle, one) }, certificates, "")
}

// LoadTrust does so from a file.
func (tls *TLS) LoadTrust(path string) error {
	return tls.set(func(one, _ *C.char) C.int { return C.tls_load_trust(tls.handle, one) }, path, "")
}

// SetALPN tells protocols, the best first.
func (tls *TLS) SetALPN(protocols ...string) error {
	return tls.set(func(one, _ *C.char) C.int { return C.tls_set_alpn(tls.handle, one) },
		strings.Join(protocols, ","), "")
}

// SetMinimumVersion is "TLSv1.2", the default, or "TLSv1.3".
func (tls *TLS) SetMinimumVersion(version string) error {
	return tls.set(func(one, _ *C.char) C.int { return C.tls_set_minimum_version(tls.handle, one) }, version, "")
}

// VerifyClients has a server ask its clients for certificates.
func (tls *TLS) VerifyClients(required bool) error {
	return tls.set(func(_, _ *C.char) C.int { return C.tls_verify_clients(tls.handle, flag(required)) }, "", "")
}

// SetResumption says whether a later connection may go on with the keys of an earlier one.
func (tls *TLS) SetResumption(on bool) error {
	return tls.set(func(_, _ *C.char) C.int { return C.tls_set_resumption(tls.handle, flag(on)) }, "", "")
}

// DangerouslySkipVerification is for tests only: a client believes any certificate.
func (tls *TLS) DangerouslySkipVerification() error {
	return tls.set(func(_, _ *C.char) C.int { return C.tls_dangerously_skip_verification(tls.handle) }, "", "")
}
