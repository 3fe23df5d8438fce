package eddy

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"context"
	"io"
	"log"
	"runtime"
	"runtime/cgo"
	"runtime/debug"
	"strings"
	"time"
	"unsafe"
)

// Options are those of eddy.h; the zero value of each is its default.
type Options struct {
	Limit          uint          // the longest line, and half the most that is buffered
	MaxWriteBuffer uint          // bytes unsent beyond which a write is refused
	Timeout        time.Duration // for resolving and connecting together
	HappyEyeballs  time.Duration // the head start of each address
	LocalHost      string
	LocalPort      uint16
	Family         int
	TLS            *TLS          // speak it, with these settings
	ServerHostname string        // to be verified; the host, if empty
	TLSShutdown    time.Duration // for the peer's goodbye
	TLSBuffered    bool          // of StartTLS: what has come and nobody has read goes to TLS
	MaxClients     uint
	Backlog        int
	ReusePort      bool
	NoReuseAddress bool
	KeepSocketFile bool
	KeepAlive      bool
	Delay          bool
}

// inC is to be freed. It lies in C's memory: in Go's a handle may not be where a pointer is expected.
func (options *Options) inC() (given *C.eddy_options, free func()) {
	if options == nil {
		return nil, func() {}
	}
	host, server := text(options.LocalHost), text(options.ServerHostname)
	given = (*C.eddy_options)(C.malloc(C.sizeof_eddy_options))
	*given = C.eddy_options{
		size:               C.sizeof_eddy_options,
		limit:              C.size_t(options.Limit),
		max_write_buffer:   C.size_t(options.MaxWriteBuffer),
		timeout_ms:         milliseconds(options.Timeout),
		happy_eyeballs_ms:  milliseconds(options.HappyEyeballs),
		local_host:         host,
		local_port:         C.uint16_t(options.LocalPort),
		family:             C.int(options.Family),
		server_hostname:    server,
		tls_shutdown_ms:    milliseconds(options.TLSShutdown),
		tls_takes_buffered: flag(options.TLSBuffered),
		max_clients:        C.size_t(options.MaxClients),
		backlog:            C.int(options.Backlog),
		reuse_port:         flag(options.ReusePort),
		no_reuse_address:   flag(options.NoReuseAddress),
		keep_socket_file:   flag(options.KeepSocketFile),
		keep_alive:         flag(options.KeepAlive),
		delay:              flag(options.Delay),
	}
	if options.TLS != nil {
		C.options_set_tls(given, options.TLS.handle)
	}
	return given, func() {
		C.free(unsafe.Pointer(host))
		C.free(unsafe.Pointer(server))
		C.free(unsafe.Pointer(given))
		runtime.KeepAlive(options.TLS)
	}
}

// wrong is what C would not see, or could not say.
func (options *Options) wrong() error {
	if options == nil {
		return nil
	}
	if strings.IndexByte(options.LocalHost+options.ServerHostname, 0) >= 0 {
		return refusal(EINVAL)
	}
	if options.TLS != nil {
		return options.TLS.wrong(C.EDDY_OK)
	}
	return nil
}

// text is to be freed; nil: there is none. C would take it to end at a NUL.
func text(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}

// milliseconds rounds up: 0 would be none. Less than nothing is none, too.
func milliseconds(d time.Duration) C.uint64_t {
	if d <= 0 {
		return 0
	}
	return C.uint64_t((d-1)/time.Millisecond + 1)
}

func flag(is bool) C.int {
	if is {
		return 1
	}
	return 0
}

// connection is what a reader and a writer share. When neither is in reach any more, it is closed.
type connection struct {
	loop           *Loop
	reader, writer C.handle
}

func (loop *Loop) stream(reader, writer C.handle) (*Reader, *Writer) {
	shared := &connection{loop, reader, writer}
	runtime.SetFinalizer(shared, (*connection).free)
	return &Reader{shared, context.Background()}, &Writer{shared, context.Background()}
}

func (shared *connection) free() {
	writer := shared.writer
	shared.loop.post(func(error) { C.writer_free(writer) })
}

// open waits for what begin starts, and makes a stream of it. C would take a name to end at a NUL.
func (loop *Loop) open(ctx context.Context, name string, options *Options,
	begin func(name *C.char, options *C.eddy_options, arg C.handle) C.eddy_op) (*Reader, *Writer, error) {
	got := loop.named(ctx, operation{}, name, options, begin)
	if got.err != nil {
		return nil, nil, got.err
	}
	reader, writer := loop.stream(got.one, got.two)
	return reader, writer, nil
}

func (loop *Loop) named(ctx context.Context, op operation, name string, options *Options,
	begin func(name *C.char, options *C.eddy_options, arg C.handle) C.eddy_op) result {
	if err := options.wrong(); err != nil {
		return result{err: err}
	}
	if strings.IndexByte(name, 0) >= 0 {
		return result{err: refusal(EINVAL)}
	}
	return loop.await(ctx, op, func(arg C.handle) C.eddy_op {
		given, free := options.inC()
		defer free()
		inC := text(name)
		defer C.free(unsafe.Pointer(inC))
		return begin(inC, given, arg)
	})
}

// OpenConnection connects over TCP.
func (loop *Loop) OpenConnection(ctx context.Context, host string, port uint16, options *Options) (*Reader, *Writer,
	error) {
	return loop.open(ctx, host, options, func(host *C.char, given *C.eddy_options, arg C.handle) C.eddy_op {
		return C.open_connection(loop.handle, host, C.uint16_t(port), given, arg)
	})
}

// OpenUnixConnection connects to a unix socket; a path that begins with '@' is an abstract name.
func (loop *Loop) OpenUnixConnection(ctx context.Context, path string, options *Options) (*Reader, *Writer, error) {
	return loop.open(ctx, path, options, func(path *C.char, given *C.eddy_options, arg C.handle) C.eddy_op {
		return C.open_unix_connection(loop.handle, path, given, arg)
	})
}

// ---- readers -----------------------------------------------------------------------------------------------

// Reader is an io.Reader. One read at a time: a second fails with EBUSY.
type Reader struct {
	shared *connection
	ctx    context.Context
}

// WithContext is the same reader, whose reads end when ctx is done: with its error, and no byte is lost.
func (reader *Reader) WithContext(ctx context.Context) *Reader { return &Reader{reader.shared, ctx} }

func (reader *Reader) await(into []byte, begin func(reader, arg C.handle) C.eddy_op) result {
	handle := reader.shared.reader
	return reader.shared.loop.await(reader.ctx, operation{about: reader.shared, into: into},
		func(arg C.handle) C.eddy_op { return begin(handle, arg) })
}

// Read waits for what comes, at most as much as p holds; io.EOF at the end of the stream.
func (reader *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	got := reader.await(p, func(reader, arg C.handle) C.eddy_op { return C.reader_read(reader, C.size_t(len(p)), arg) })
	if got.err == nil && got.n == 0 {
		return 0, io.EOF
	}
	return got.n, got.err
}

// ReadLine waits for a line, with its newline; the last one may have none. io.EOF at the end of the stream.
func (reader *Reader) ReadLine() ([]byte, error) {
	got := reader.await(nil, func(reader, arg C.handle) C.eddy_op { return C.reader_readline(reader, arg) })
	if got.err == nil && len(got.bytes) == 0 {
		return nil, io.EOF
	}
	return got.bytes, got.err
}

// ReadExactly waits for n bytes.
func (reader *Reader) ReadExactly(n int) ([]byte, error) {
	if n < 0 {
		return nil, refusal(EINVAL)
	}
	got := reader.await(nil, func(reader, arg C.handle) C.eddy_op {
		return C.reader_readexactly(reader, C.size_t(n), arg)
	})
	return got.bytes, got.err
}

// ReadUntil waits for the separator, and all before it.
func (reader *Reader) ReadUntil(separator string) ([]byte, error) {
	got := reader.await(nil, func(reader, arg C.handle) C.eddy_op {
		inC := text(separator)
		defer C.free(unsafe.Pointer(inC))
		return C.reader_readuntil(reader, unsafe.Pointer(inC), C.size_t(len(separator)), arg)
	})
	return got.bytes, got.err
}

// AtEOF says whether the stream has ended and nothing is left of it.
func (reader *Reader) AtEOF() bool {
	code, _ := reader.shared.loop.call(func() C.int { return flag(bool(C.reader_at_eof(reader.shared.reader))) })
	return code == 1
}

// SetTimeout bounds each read from now on: ETIMEDOUT, and nothing is lost. 0: no bound.
func (reader *Reader) SetTimeout(d time.Duration) error {
	return reader.shared.call(func() C.int { return C.reader_set_timeout(reader.shared.reader, milliseconds(d)) })
}

func (shared *connection) call(f func() C.int) error {
	_, err := shared.loop.call(f)
	return err
}

// ---- writers -----------------------------------------------------------------------------------------------

// Writer is an io.WriteCloser.
type Writer struct {
	shared *connection
	ctx    context.Context
}

// WithContext is the same writer, whose waiting ends when ctx is done.
func (writer *Writer) WithContext(ctx context.Context) *Writer { return &Writer{writer.shared, ctx} }

func (writer *Writer) await(begin func(writer, arg C.handle) C.eddy_op) error {
	handle := writer.shared.writer
	return writer.shared.loop.await(writer.ctx, operation{about: writer.shared},
		func(arg C.handle) C.eddy_op { return begin(handle, arg) }).err
}

// Write takes p whole or not at all. It waits, as Go's writers do, while too much is unsent: it drains by itself.
func (writer *Writer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	above, err := writer.shared.loop.call(func() C.int {
		return C.writer_write(writer.shared.writer, unsafe.Pointer(&p[0]), C.size_t(len(p)))
	})
	if err != nil {
		return 0, err
	}
	if above == 1 {
		err = writer.Drain()
	}
	return len(p), err
}

// Drain waits until most of what was written is sent; ELOST when the connection is gone.
func (writer *Writer) Drain() error {
	return writer.await(func(writer, arg C.handle) C.eddy_op { return C.writer_drain(writer, arg) })
}

// WriteEOF ends this side of the stream once all is sent; reading goes on.
func (writer *Writer) WriteEOF() error {
	return writer.shared.call(func() C.int { return C.writer_write_eof(writer.shared.writer) })
}

// Close closes the connection once all is sent, and waits for neither. What has come can still be read.
func (writer *Writer) Close() error {
	return writer.shared.call(func() C.int { return C.writer_close(writer.shared.writer) })
}

// Abort closes it now; what is unsent is lost.
func (writer *Writer) Abort() error {
	return writer.shared.call(func() C.int { return C.writer_abort(writer.shared.writer) })
}

// IsClosing says whether it was closed or aborted by this side, or is lost.
func (writer *Writer) IsClosing() bool {
	code, _ := writer.shared.loop.call(func() C.int { return flag(bool(C.writer_is_closing(writer.shared.writer))) })
	return code == 1
}

// WaitClosed waits for the end of the connection; ELOST when the network took it.
func (writer *Writer) WaitClosed() error {
	return writer.await(func(writer, arg C.handle) C.eddy_op { return C.writer_wait_closed(writer, arg) })
}

// StartTLS encrypts what follows, both ways: the options' TLS is a client's or a server's. A server whose client may
// begin as soon as it has got the go-ahead, before this call, needs TLSBuffered.
func (writer *Writer) StartTLS(options *Options) error {
	if err := options.wrong(); err != nil {
		return err
	}
	return writer.await(func(writer, arg C.handle) C.eddy_op {
		given, free := options.inC()
		defer free()
		return C.writer_start_tls(writer, given, arg)
	})
}

// Free closes the connection as Close does, and frees its reader: now, not when the garbage collector comes by.
func (writer *Writer) Free() {
	writer.shared.free()
}

// SetTimeout bounds each drain from now on, and what Close has left to send: ETIMEDOUT. 0: no bound.
func (writer *Writer) SetTimeout(d time.Duration) error {
	return writer.shared.call(func() C.int { return C.writer_set_timeout(writer.shared.writer, milliseconds(d)) })
}

// GetExtraInfo tells "peername", "sockname", "socket"; of TLS "version", "cipher", "peercert" and more; empty if there
// is none.
func (writer *Writer) GetExtraInfo(name string) string {
	var value string
	writer.shared.loop.call(func() C.int {
		inC := C.CString(name)
		defer C.free(unsafe.Pointer(inC))
		var len C.size_t
		info := C.writer_get_extra_info(writer.shared.writer, inC, &len)
		value = C.GoStringN(info, C.int(len))
		return 0
	})
	return value
}

// ---- servers -----------------------------------------------------------------------------------------------

// Server serves until it is closed, also when nobody refers to it.
type Server struct {
	loop   *Loop
	handle C.handle
	arg    cgo.Handle
}

// Handler serves one client, in a goroutine of its own. When it panics, that is logged and the client's connection
// freed; the server goes on.
type Handler func(reader *Reader, writer *Writer)

func (loop *Loop) serve(handler Handler, reader *Reader, writer *Writer) {
	defer func() {
		if trouble := recover(); trouble != nil {
			log.Printf("eddy: panic serving %s: %v\n%s", writer.GetExtraInfo("peername"), trouble, debug.Stack())
			writer.Free()
		}
	}()
	handler(reader, writer)
}

func (loop *Loop) listen(ctx context.Context, handler Handler, name string, options *Options,
	begin func(name *C.char, options *C.eddy_options, arg C.handle) C.eddy_op) (*Server, error) {
	if handler == nil {
		return nil, refusal(EINVAL)
	}
	op := operation{serve: func(reader, writer C.handle) {
		r, w := loop.stream(reader, writer)
		go loop.serve(handler, r, w)
	}}
	got := loop.named(ctx, op, name, options, begin)
	if got.err != nil {
		return nil, got.err
	}
	return &Server{loop, got.one, cgo.Handle(got.arg)}, nil
}

// StartServer listens on host, or with "" on every address of this machine; port 0: any that is free.
func (loop *Loop) StartServer(ctx context.Context, handler Handler, host string, port uint16,
	options *Options) (*Server, error) {
	return loop.listen(ctx, handler, host, options, func(host *C.char, given *C.eddy_options, arg C.handle) C.eddy_op {
		return C.start_server(loop.handle, host, C.uint16_t(port), given, arg)
	})
}

// StartUnixServer listens on a unix socket.
func (loop *Loop) StartUnixServer(ctx context.Context, handler Handler, path string, options *Options) (*Server,
	error) {
	return loop.listen(ctx, handler, path, options, func(path *C.char, given *C.eddy_options, arg C.handle) C.eddy_op {
		return C.start_unix_server(loop.handle, path, given, arg)
	})
}

// forget is for the loop's thread: no more clients will come.
func (server *Server) forget() {
	if server.loop.servers[server.arg] {
		delete(server.loop.servers, server.arg)
		server.arg.Delete()
		runtime.SetFinalizer(server, func(server *Server) {
			handle := server.handle
			server.loop.post(func(error) { C.server_free(handle) })
		})
	}
}

// Close ends listening; the clients of now stay.
func (server *Server) Close() error {
	_, err := server.loop.call(func() C.int {
		code := C.server_close(server.handle)
		server.forget()
		return code
	})
	return err
}

func (server *Server) await(ctx context.Context, begin func(arg C.handle) C.eddy_op) error {
	return server.loop.await(ctx, operation{about: server}, begin).err
}

// Shutdown closes it, and waits until its clients have ended; ETIMEDOUT: some had to be cut off after the grace.
func (server *Server) Shutdown(ctx context.Context, grace time.Duration) error {
	return server.await(ctx, func(arg C.handle) C.eddy_op {
		op := C.server_shutdown(server.handle, milliseconds(grace), arg)
		server.forget()
		return op
	})
}

// WaitClosed waits until it is closed and its last client is gone.
func (server *Server) WaitClosed(ctx context.Context) error {
	return server.await(ctx, func(arg C.handle) C.eddy_op { return C.server_wait_closed(server.handle, arg) })
}

// CloseClients closes the connections of the clients of now.
func (server *Server) CloseClients() error {
	_, err := server.loop.call(func() C.int { return C.server_close_clients(server.handle) })
	return err
}

// AbortClients aborts them.
func (server *Server) AbortClients() error {
	_, err := server.loop.call(func() C.int { return C.server_abort_clients(server.handle) })
	return err
}

// IsServing says whether it has not been closed.
func (server *Server) IsServing() bool {
	code, _ := server.loop.call(func() C.int { return flag(bool(C.server_is_serving(server.handle))) })
	return code == 1
}

// Sockname is "127.0.0.1:8080", or a path; empty past the last, and once closed.
func (server *Server) Sockname(index uint) string {
	var name string
	server.loop.call(func() C.int {
		name = C.GoString(C.server_sockname(server.handle, C.size_t(index)))
		return 0
	})
	return name
}
