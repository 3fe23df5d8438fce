package eddy

// #include "shim.h"
import "C"

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// Code says what kind of error it is; errors.Is(err, eddy.ELIMIT) asks for it.
type Code int

// The codes of eddy.h.
const (
	EINVAL      Code = C.EDDY_EINVAL
	ESTALE      Code = C.EDDY_ESTALE
	ETHREAD     Code = C.EDDY_ETHREAD
	EBUSY       Code = C.EDDY_EBUSY
	ESTATE      Code = C.EDDY_ESTATE
	ENOTSUP     Code = C.EDDY_ENOTSUP
	EFULL       Code = C.EDDY_EFULL
	EPANIC      Code = C.EDDY_EPANIC
	ESYSTEM     Code = C.EDDY_ESYSTEM
	ERESOLVE    Code = C.EDDY_ERESOLVE
	ELOST       Code = C.EDDY_ELOST
	EINCOMPLETE Code = C.EDDY_EINCOMPLETE
	ELIMIT      Code = C.EDDY_ELIMIT
	ETLS        Code = C.EDDY_ETLS
	ETIMEDOUT   Code = C.EDDY_ETIMEDOUT
	ECANCELED   Code = C.EDDY_ECANCELED
)

func (code Code) Error() string { return C.GoString(C.eddy_strerror(C.int(code))) }

// Error is what went wrong. It is also, for errors.Is: its Code, its Errno, and what Go's own streams would say:
// net.ErrClosed, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded, context.Canceled.
type Error struct {
	Code     Code
	Errno    syscall.Errno // the system's reason; 0: none
	Message  string
	Expected int    // of EINCOMPLETE: how many bytes were asked for
	Partial  []byte // of EINCOMPLETE: what had come before the end
	Consumed int    // of ELIMIT: how far the search got
}

func (err *Error) Error() string { return err.Message }

// Timeout makes it a net.Error's.
func (err *Error) Timeout() bool { return err.Code == ETIMEDOUT }

func (err *Error) Is(target error) bool {
	switch target {
	case net.ErrClosed:
		return err.Code == ESTALE || err.Code == ESTATE
	case io.ErrUnexpectedEOF:
		return err.Code == EINCOMPLETE
	case os.ErrDeadlineExceeded:
		return err.Code == ETIMEDOUT
	case context.Canceled:
		return err.Code == ECANCELED
	}
	return target == err.Code || err.Errno != 0 && target == err.Errno
}

func refusal(code Code) *Error { return &Error{Code: code, Message: code.Error()} }

// failure copies what a callback was given. Nil: nothing went wrong.
func failure(lent C.handle) error {
	if lent == 0 {
		return nil
	}
	var len C.size_t
	partial := C.error_partial(lent, &len)
	return &Error{
		Code:     Code(C.error_code(lent)),
		Errno:    syscall.Errno(C.error_errno(lent)),
		Message:  C.GoString(C.error_message(lent)),
		Expected: int(C.error_expected(lent)),
		Partial:  C.GoBytes(unsafe.Pointer(partial), C.int(len)),
		Consumed: int(C.error_consumed(lent)),
	}
}
