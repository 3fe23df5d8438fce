// Package eddy has asyncio's streams for Go, by libeddy: calls that block their goroutine, and no thread.
//
//	loop, err := eddy.NewLoop()
//	reader, writer, err := loop.OpenConnection(ctx, "example.com", 80, nil)
//	fmt.Fprint(writer, "HEAD / HTTP/1.0\r\n\r\n")
//	line, err := reader.ReadLine()
//
// All methods may be called from any goroutine. A loop has a thread of its own, and everything is done there: a
// call is posted to it, and waits for its answer on a channel.
package eddy

// #cgo LDFLAGS: -leddy
// #include "shim.h"
import "C"

import (
	"context"
	"log"
	"runtime"
	"runtime/cgo"
	"unsafe"
)

// Version is that of the library.
func Version() string { return C.GoString(C.eddy_version()) }

// Loop is an event loop, on a thread that it keeps for itself.
type Loop struct {
	handle  C.handle
	ended   chan struct{}
	servers map[cgo.Handle]bool // those that are open; only its thread looks
}

// NewLoop starts a loop, which runs until Close.
func NewLoop() (*Loop, error) {
	loop := &Loop{ended: make(chan struct{}), servers: map[cgo.Handle]bool{}}
	begun := make(chan error)
	go loop.run(begun)
	if err := <-begun; err != nil {
		return nil, err
	}
	return loop, nil
}

func (loop *Loop) run(begun chan<- error) {
	runtime.LockOSThread() // a loop belongs to the thread that made it
	defer runtime.UnlockOSThread()
	loop.handle = C.loop_new()
	if loop.handle == 0 {
		begun <- &Error{Code: ESYSTEM, Message: "no loop can be made"}
		return
	}
	begun <- nil
	C.loop_run_forever(loop.handle)
	C.loop_free(loop.handle)
	for arg := range loop.servers {
		arg.Delete()
	}
	close(loop.ended)
}

// Close ends the loop and all its connections and servers. What still waits fails with ECANCELED, what is asked for
// later with ESTALE.
func (loop *Loop) Close() error {
	err := loop.post(func(err error) {
		if err == nil {
			C.loop_stop(loop.handle)
		}
	})
	if err == nil {
		<-loop.ended
	}
	return err
}

// post has f called on the loop's thread; with an error, if the loop is closed before. It may not block.
func (loop *Loop) post(f func(error)) error {
	arg := cgo.NewHandle(f)
	if code := C.loop_post(loop.handle, C.handle(arg)); code < 0 {
		arg.Delete()
		return refusal(Code(code))
	}
	return nil
}

//export eddyGoPosted
func eddyGoPosted(arg, lent C.handle) {
	f := cgo.Handle(arg).Value().(func(error))
	cgo.Handle(arg).Delete()
	f(failure(lent))
}

// call has f called on the loop's thread, and waits for what it returns: a code.
func (loop *Loop) call(f func() C.int) (int, error) {
	codes := make(chan C.int, 1)
	err := loop.post(func(err error) {
		if err != nil {
			codes <- C.EDDY_ESTALE
		} else {
			codes <- f()
		}
	})
	if err != nil {
		return 0, err
	}
	code := <-codes
	if code < 0 {
		return 0, refusal(Code(code))
	}
	return int(code), nil
}

// operation is something that was started and calls back once. Until then the handle that eddy has as its arg keeps
// it, and with it what it is about.
type operation struct {
	about any
	into  []byte                        // where bytes are to go; nil: into a slice of their own
	serve func(reader, writer C.handle) // of a server, whose clients come with the same arg
	loop  *Loop
	done  chan result
}

type result struct {
	err           error
	arg, one, two C.handle
	bytes         []byte
	n             int
}

// await has begin called on the loop's thread, and waits for the callback of what that starts, or cancels it when
// the context is done.
func (loop *Loop) await(ctx context.Context, op operation, begin func(arg C.handle) C.eddy_op) result {
	if err := ctx.Err(); err != nil {
		return result{err: err}
	}
	op.loop, op.done = loop, make(chan result, 1)
	var receipt C.eddy_op
	err := loop.post(func(err error) {
		if err != nil {
			op.done <- result{err: err}
			return
		}
		arg := cgo.NewHandle(&op)
		if receipt = begin(C.handle(arg)); receipt < 0 {
			arg.Delete()
			op.done <- result{err: refusal(Code(receipt))}
		}
	})
	if err != nil {
		return result{err: err}
	}
	select {
	case got := <-op.done:
		return got
	case <-ctx.Done():
		loop.post(func(err error) {
			if err == nil && receipt >= 0 {
				C.loop_cancel(loop.handle, receipt)
			}
		})
		got := <-op.done // it may have come to its end all the same
		if err, ok := got.err.(*Error); ok && err.Code == ECANCELED {
			got.err = ctx.Err()
		}
		return got
	}
}

//export eddyGoDone
func eddyGoDone(arg, lent, one, two C.handle, bytes *C.char, len C.size_t) {
	op := cgo.Handle(arg).Value().(*operation)
	if op.serve != nil && lent == 0 {
		op.loop.servers[cgo.Handle(arg)] = true // clients will come
	} else {
		cgo.Handle(arg).Delete()
	}
	got := result{err: failure(lent), arg: arg, one: one, two: two}
	lentBytes := unsafe.Slice((*byte)(unsafe.Pointer(bytes)), int(len))
	if op.into != nil {
		got.n = copy(op.into, lentBytes)
	} else {
		got.bytes = append([]byte{}, lentBytes...)
	}
	op.done <- got
}

//export eddyGoClient
func eddyGoClient(arg, reader, writer C.handle) {
	cgo.Handle(arg).Value().(*operation).serve(reader, writer)
}

//export eddyGoException
func eddyGoException(message *C.char) {
	log.Printf("eddy: %s", C.GoString(message))
}
