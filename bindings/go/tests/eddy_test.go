// Tests of eddy against Go's own net package, and against itself.
package tests

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"eddy"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var background = context.Background()

func newLoop(t *testing.T) *eddy.Loop {
	t.Helper()
	loop, err := eddy.NewLoop()
	must(t, err)
	t.Cleanup(func() { loop.Close() })
	return loop
}

// peer gives a connection to a server of Go's that does this with its own.
func peer(t *testing.T, serve func(net.Conn), options *eddy.Options) (*eddy.Reader, *eddy.Writer) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() {
		client, err := listener.Accept()
		if err == nil {
			serve(client)
		}
	}()
	t.Cleanup(func() { listener.Close() })
	reader, writer, err := newLoop(t).OpenConnection(background, "127.0.0.1", port(listener.Addr().String()), options)
	must(t, err)
	return reader, writer
}

func says(text string) func(net.Conn) {
	return func(client net.Conn) {
		io.WriteString(client, text)
		io.Copy(io.Discard, client)
	}
}

func ends(text string) func(net.Conn) {
	return func(client net.Conn) {
		io.WriteString(client, text)
		client.Close()
	}
}

func echoes(client net.Conn) {
	io.Copy(client, client)
	client.Close()
}

// echo is the same by eddy.
func echo(reader *eddy.Reader, writer *eddy.Writer) {
	io.Copy(writer, reader)
	writer.Free()
}

func port(address string) uint16 {
	_, text, _ := net.SplitHostPort(address)
	var number uint16
	fmt.Sscan(text, &number)
	return number
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails wants an error of eddy's with this code.
func fails(t *testing.T, err error, code eddy.Code) *eddy.Error {
	t.Helper()
	var mine *eddy.Error
	if !errors.As(err, &mine) || !errors.Is(err, code) || mine.Error() == "" {
		t.Fatalf("%v is not %v", err, code)
	}
	return mine
}

func is(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%v is not %v", err, target)
	}
}

func equal(t *testing.T, actual, expected any) {
	t.Helper()
	if actual != expected {
		t.Fatalf("%q is not %q", actual, expected)
	}
}

// got wants these bytes and no error.
func got(t *testing.T, expected string) func([]byte, error) {
	return func(actual []byte, err error) {
		t.Helper()
		must(t, err)
		equal(t, string(actual), expected)
	}
}

// logged gives what is logged while body runs.
func logged(body func()) string {
	var text bytes.Buffer
	log.SetOutput(&text)
	body()
	log.SetOutput(os.Stderr)
	return text.String()
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(background, d)
	t.Cleanup(cancel)
	return ctx
}

func TestEveryKindOfRead(t *testing.T) {
	reader, writer := peer(t, ends("one\ntwo\r\nabc;def\x00\xfftail"), nil)
	got(t, "one\n")(reader.ReadLine())
	got(t, "two\r\n")(reader.ReadUntil("\n"))
	got(t, "abc;")(reader.ReadUntil(";"))
	got(t, "def\x00\xff")(reader.ReadExactly(5))
	got(t, "")(reader.ReadExactly(0))
	p := make([]byte, 2)
	n, err := reader.Read(p)
	got(t, "ta")(p[:n], err)
	n, err = reader.Read(nil)
	got(t, "")(p[:n], err)
	got(t, "il")(io.ReadAll(reader))
	_, err = reader.ReadLine()
	equal(t, err, io.EOF)
	_, err = reader.Read(p)
	equal(t, err, io.EOF)
	equal(t, reader.AtEOF(), true)
	equal(t, strings.HasPrefix(writer.GetExtraInfo("peername"), "127.0.0.1:"), true)
	equal(t, writer.GetExtraInfo("nothing"), "")
}

func TestAnEndTooEarlyTellsWhatHadCome(t *testing.T) {
	reader, _ := peer(t, ends("a\x00bc"), nil)
	_, err := reader.ReadExactly(10)
	mine := fails(t, err, eddy.EINCOMPLETE)
	equal(t, mine.Expected, 10)
	equal(t, string(mine.Partial), "a\x00bc")
	is(t, err, io.ErrUnexpectedEOF)
}

func TestALineBeyondTheLimit(t *testing.T) {
	reader, _ := peer(t, says(strings.Repeat("x", 100)+"\nnext\n"), &eddy.Options{Limit: 64, KeepAlive: true})
	_, err := reader.ReadLine()
	fails(t, err, eddy.ELIMIT)
	got(t, "next\n")(reader.ReadLine())
}

func TestAConnectionThatIsReset(t *testing.T) {
	reader, writer := peer(t, func(client net.Conn) {
		client.Read(make([]byte, 1))
		client.(*net.TCPConn).SetLinger(0)
		client.Close()
	}, nil)
	io.WriteString(writer, "!")
	_, err := reader.ReadLine()
	fails(t, err, eddy.ELOST)
	is(t, err, syscall.ECONNRESET)
	fails(t, writer.Drain(), eddy.ELOST)
}

func TestNobodyThere(t *testing.T) {
	loop := newLoop(t)
	server, err := loop.StartServer(background, echo, "127.0.0.1", 0, nil)
	must(t, err)
	address := server.Sockname(0)
	_, err = loop.StartServer(background, echo, "127.0.0.1", port(address), nil)
	is(t, err, syscall.EADDRINUSE)
	must(t, server.Close())
	_, _, err = loop.OpenConnection(background, "127.0.0.1", port(address), nil)
	is(t, err, syscall.ECONNREFUSED)
	equal(t, strings.Contains(fails(t, err, eddy.ESYSTEM).Message, address), true)
	_, _, err = loop.OpenUnixConnection(background, "/nonexistent/socket", nil)
	is(t, err, syscall.ENOENT)
}

func TestAReadThatIsLateOrCancelledLosesNothing(t *testing.T) {
	reader, writer := peer(t, echoes, nil)
	must(t, reader.SetTimeout(20*time.Millisecond))
	io.WriteString(writer, "one")
	_, err := reader.ReadLine()
	fails(t, err, eddy.ETIMEDOUT)
	is(t, err, os.ErrDeadlineExceeded)
	must(t, reader.SetTimeout(0))
	io.WriteString(writer, " and two")
	_, err = reader.WithContext(within(t, 20*time.Millisecond)).ReadLine()
	equal(t, err, context.DeadlineExceeded)
	cancelled, cancel := context.WithCancel(background)
	cancel()
	_, err = reader.WithContext(cancelled).ReadLine()
	equal(t, err, context.Canceled)
	io.WriteString(writer, " and three\n")
	got(t, "one and two and three\n")(reader.WithContext(within(t, 10*time.Second)).ReadLine())
}

func TestConnectingWithinItsTime(t *testing.T) {
	loop := newLoop(t)
	path := filepath.Join(t.TempDir(), "socket")
	_, err := loop.StartUnixServer(background, func(*eddy.Reader, *eddy.Writer) {}, path,
		&eddy.Options{MaxClients: 1, Backlog: 1})
	must(t, err)
	var writers []*eddy.Writer // and by them the connections
	for err == nil && len(writers) < 100 {
		var writer *eddy.Writer
		_, writer, err = loop.OpenUnixConnection(background, path, &eddy.Options{Timeout: 100 * time.Millisecond})
		writers = append(writers, writer)
	}
	fails(t, err, eddy.ETIMEDOUT)
	_, _, err = loop.OpenUnixConnection(within(t, 20*time.Millisecond), path, nil)
	equal(t, err, context.DeadlineExceeded)
	runtime.KeepAlive(writers)
}

func TestWaitingReadsAndServersLiveThroughTheGarbageCollector(t *testing.T) {
	loop := newLoop(t)
	server, err := loop.StartServer(background, func(reader *eddy.Reader, writer *eddy.Writer) {
		runtime.GC()
		echo(reader, writer)
	}, "127.0.0.1", 0, nil)
	must(t, err)
	number := port(server.Sockname(0))
	server = nil // nobody keeps it
	runtime.GC()
	lines := make(chan string)
	var writers []*eddy.Writer
	for i := 0; i < 20; i++ {
		reader, writer, err := loop.OpenConnection(background, "127.0.0.1", number, nil)
		must(t, err)
		go func() {
			line, err := reader.ReadLine()
			lines <- fmt.Sprint(string(line), err)
		}()
		writers = append(writers, writer)
	}
	for i, writer := range writers {
		runtime.GC()
		fmt.Fprintf(writer, "%d\n", i)
		runtime.GC()
		equal(t, <-lines, fmt.Sprintf("%d\n<nil>", i))
	}
}

func TestAConnectionThatNobodyKeepsIsClosed(t *testing.T) {
	ended := make(chan error, 1)
	reader, _ := peer(t, func(client net.Conn) {
		io.WriteString(client, "hello\n")
		_, err := client.Read(make([]byte, 1))
		ended <- err
		client.Close()
	}, nil)
	runtime.GC()
	runtime.GC()
	time.Sleep(5 * time.Millisecond)
	got(t, "hello\n")(reader.ReadLine()) // the reader alone keeps the connection
	select {
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(20 * time.Millisecond):
	}
	runtime.KeepAlive(reader)
	reader = nil
	for i := 0; i < 100; i++ {
		runtime.GC()
		select {
		case err := <-ended:
			equal(t, err, io.EOF)
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatal("it is not closed")
}

func TestAHandlerThatPanicsIsLoggedAndTheServerGoesOn(t *testing.T) {
	loop := newLoop(t)
	server, err := loop.StartServer(background, func(reader *eddy.Reader, writer *eddy.Writer) {
		line, _ := reader.ReadLine()
		if string(line) == "panic\n" {
			panic("on purpose")
		}
		writer.Write(line)
		writer.Close()
	}, "127.0.0.1", 0, nil)
	must(t, err)
	ask := func(line string) ([]byte, error) {
		reader, writer, err := loop.OpenConnection(background, "127.0.0.1", port(server.Sockname(0)), nil)
		must(t, err)
		io.WriteString(writer, line)
		return io.ReadAll(reader)
	}
	text := logged(func() { got(t, "")(ask("panic\n")) })
	for _, part := range []string{"eddy: panic serving 127.0.0.1:", "on purpose", "eddy_test.go"} {
		equal(t, strings.Contains(text, part), true)
	}
	got(t, "work\n")(ask("work\n"))
}

func TestHandlesThatAreStale(t *testing.T) {
	text := logged(func() {
		reader, writer := peer(t, echoes, nil)
		reads := make(chan error)
		go func() {
			_, err := reader.ReadLine()
			reads <- err
		}()
		time.Sleep(5 * time.Millisecond)
		writer.Free()
		writer.Free()
		fails(t, <-reads, eddy.ECANCELED)
		_, err := reader.ReadLine()
		fails(t, err, eddy.ESTALE)
		is(t, err, net.ErrClosed)
		_, err = io.WriteString(writer, "x")
		fails(t, err, eddy.ESTALE)
		fails(t, writer.Drain(), eddy.ESTALE)
		fails(t, writer.Close(), eddy.ESTALE)
		fails(t, reader.SetTimeout(1), eddy.ESTALE)
		equal(t, reader.AtEOF(), false)
		equal(t, writer.GetExtraInfo("peername"), "")
	})
	equal(t, strings.Contains(text, "stale"), true)
}

func TestALoopThatIsClosed(t *testing.T) {
	loop := newLoop(t)
	server, err := loop.StartServer(background, func(reader *eddy.Reader, writer *eddy.Writer) { reader.ReadLine() },
		"127.0.0.1", 0, nil)
	must(t, err)
	reader, writer, err := loop.OpenConnection(background, "127.0.0.1", port(server.Sockname(0)), nil)
	must(t, err)
	waiting := make(chan error)
	go func() {
		_, err := reader.ReadLine()
		waiting <- err
	}()
	go func() { waiting <- server.WaitClosed(background) }()
	time.Sleep(5 * time.Millisecond)
	must(t, loop.Close())
	fails(t, <-waiting, eddy.ECANCELED)
	fails(t, <-waiting, eddy.ECANCELED)
	fails(t, loop.Close(), eddy.ESTALE)
	_, err = reader.ReadLine()
	fails(t, err, eddy.ESTALE)
	_, err = io.WriteString(writer, "x")
	fails(t, err, eddy.ESTALE)
	fails(t, server.Close(), eddy.ESTALE)
	equal(t, server.Sockname(0), "")
	writer.Free()
	_, _, err = loop.OpenConnection(background, "127.0.0.1", 1, nil)
	fails(t, err, eddy.ESTALE)
}

func TestArgumentsThatMakeNoSense(t *testing.T) {
	loop := newLoop(t)
	open := func(host string, port uint16, options *eddy.Options) error {
		_, _, err := loop.OpenConnection(background, host, port, options)
		return err
	}
	fails(t, open("", 80, nil), eddy.EINVAL)
	fails(t, open("a\x00b", 80, nil), eddy.EINVAL)
	fails(t, open("127.0.0.1", 80, &eddy.Options{LocalHost: "a\x00b"}), eddy.EINVAL)
	fails(t, open("127.0.0.1", 80, &eddy.Options{Family: 12345}), eddy.EINVAL)
	_, err := loop.StartServer(background, nil, "127.0.0.1", 0, nil)
	fails(t, err, eddy.EINVAL)
	_, err = loop.StartServer(background, echo, "127.0.0.1", 0, &eddy.Options{LocalPort: 1})
	fails(t, err, eddy.EINVAL)
	_, err = loop.StartUnixServer(background, echo, strings.Repeat("x", 1000), nil)
	fails(t, err, eddy.EINVAL)
	reader, writer := peer(t, echoes, nil)
	_, err = reader.ReadExactly(-1)
	fails(t, err, eddy.EINVAL)
	_, err = reader.ReadUntil("")
	fails(t, err, eddy.EINVAL)
	go reader.ReadLine()
	time.Sleep(5 * time.Millisecond)
	_, err = reader.ReadLine()
	fails(t, err, eddy.EBUSY)
	must(t, writer.Close())
	_, err = io.WriteString(writer, "x")
	fails(t, err, eddy.ESTATE)
	equal(t, writer.IsClosing(), true)
}

func TestAUnixServer(t *testing.T) {
	loop := newLoop(t)
	path := filepath.Join(t.TempDir(), "socket")
	server, err := loop.StartUnixServer(background, func(reader *eddy.Reader, writer *eddy.Writer) {
		heard, _ := io.ReadAll(reader)
		writer.Write(bytes.ToUpper(heard))
		writer.Close()
		writer.WaitClosed()
	}, path, nil)
	must(t, err)
	equal(t, server.Sockname(0), path)
	equal(t, server.Sockname(1), "")
	reader, writer, err := loop.OpenUnixConnection(background, path, nil)
	must(t, err)
	io.WriteString(writer, "shout")
	must(t, writer.WriteEOF())
	got(t, "SHOUT")(io.ReadAll(reader))
	must(t, writer.Close())
	must(t, writer.WaitClosed())
	lazy, itsWriter, err := loop.OpenUnixConnection(background, path, nil)
	must(t, err)
	time.Sleep(5 * time.Millisecond)
	fails(t, server.Shutdown(background, 20*time.Millisecond), eddy.ETIMEDOUT)
	got(t, "")(io.ReadAll(lazy))
	itsWriter.Free()
	equal(t, server.IsServing(), false)
	must(t, server.WaitClosed(background))
	_, err = os.Stat(path)
	is(t, err, os.ErrNotExist)
}

func TestWriteWaitsForAPeerThatDoesNotRead(t *testing.T) {
	read := make(chan bool)
	var total int64
	_, writer := peer(t, func(client net.Conn) {
		<-read
		total, _ = io.Copy(io.Discard, client)
		client.Close()
		read <- true
	}, nil)
	megabyte, written := make([]byte, 1e6), int64(0)
	patient := writer.WithContext(within(t, 200*time.Millisecond))
	var err error
	for err == nil {
		var n int
		n, err = patient.Write(megabyte)
		written += int64(n)
	}
	equal(t, err, context.DeadlineExceeded)
	read <- true
	must(t, writer.Drain())
	must(t, writer.WriteEOF())
	<-read
	equal(t, total, written)
	must(t, writer.Abort())
	fails(t, writer.Drain(), eddy.ELOST)
}

func TestTLS(t *testing.T) {
	directory := os.Getenv("EDDY_CERTIFICATES")
	if directory == "" {
		t.Skip("no certificates")
	}
	at := func(name string) string { return filepath.Join(directory, name) }
	ours := eddy.NewTLSServer()
	err := ours.LoadCertificate(at("server.pem"), at("server.key"))
	if errors.Is(err, eddy.ENOTSUP) {
		t.Skip("a library without TLS")
	}
	must(t, err)
	must(t, ours.SetALPN("other", "echo"))
	loop := newLoop(t)
	server, err := loop.StartServer(background, echo, "127.0.0.1", 0, &eddy.Options{TLS: ours})
	must(t, err)
	address := server.Sockname(0)

	authority, err := os.ReadFile(at("authority.pem"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	theirs, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, NextProtos: []string{"echo"}})
	must(t, err)
	io.WriteString(theirs, "secret")
	must(t, theirs.CloseWrite())
	got(t, "secret")(io.ReadAll(theirs))

	trusting := eddy.NewTLSClient()
	must(t, trusting.Trust(string(authority)))
	must(t, trusting.SetALPN("echo"))
	must(t, trusting.SetResumption(false))
	options := &eddy.Options{TLS: trusting, ServerHostname: "localhost"}
	reader, writer, err := loop.OpenConnection(background, "127.0.0.1", port(address), options)
	must(t, err)
	runtime.GC()
	io.WriteString(writer, "secret\n")
	got(t, "secret\n")(reader.ReadLine())
	equal(t, writer.GetExtraInfo("alpn"), "echo")
	_, err = x509.ParseCertificate([]byte(writer.GetExtraInfo("peercert")))
	must(t, err)
	text := logged(func() {
		_, _, err = loop.OpenConnection(background, "127.0.0.1", port(address), &eddy.Options{TLS: eddy.NewTLSClient()})
		fails(t, err, eddy.ETLS)
		for i := 0; i < 100; i++ { // the server's half of it is over when its thread has been so often round
			server.IsServing()
		}
	})
	equal(t, strings.Contains(text, "eddy: "), true)

	server, err = loop.StartServer(background, func(reader *eddy.Reader, writer *eddy.Writer) {
		reader.ReadLine()
		io.WriteString(writer, "READY\n")
		if writer.StartTLS(&eddy.Options{TLS: ours, TLSBuffered: true}) == nil {
			echo(reader, writer)
		}
	}, "127.0.0.1", 0, nil)
	must(t, err)
	reader, writer, err = loop.OpenConnection(background, "127.0.0.1", port(server.Sockname(0)), nil)
	must(t, err)
	io.WriteString(writer, "STARTTLS\n")
	got(t, "READY\n")(reader.ReadLine())
	must(t, writer.StartTLS(options))
	io.WriteString(writer, "secret\n")
	got(t, "secret\n")(reader.ReadLine())
	fails(t, writer.StartTLS(options), eddy.ESTATE)

	wrong := eddy.NewTLSServer()
	err = wrong.LoadCertificate("/nonexistent.pem", "")
	equal(t, strings.Contains(err.Error(), "/nonexistent.pem"), true)
	fails(t, wrong.SetALPN("a\x00b"), eddy.EINVAL)
	_, err = loop.StartServer(background, echo, "127.0.0.1", 0, &eddy.Options{TLS: wrong})
	equal(t, strings.Contains(err.Error(), "/nonexistent.pem"), true)
}

func TestManyGoroutinesOnOneLoop(t *testing.T) {
	loop := newLoop(t)
	server, err := loop.StartServer(background, echo, "127.0.0.1", 0, nil)
	must(t, err)
	number := port(server.Sockname(0))
	var all sync.WaitGroup
	for i := 0; i < 100; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			reader, writer, err := loop.OpenConnection(background, "127.0.0.1", number, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer writer.Free()
			for n := 0; n < 20; n++ {
				said := fmt.Sprintf("%d %d\n", i, n)
				io.WriteString(writer, said)
				if line, err := reader.ReadLine(); err != nil || string(line) != said {
					t.Errorf("%q %v", line, err)
				}
			}
		}(i)
	}
	all.Wait()
	must(t, server.Shutdown(background, 5*time.Second))
}
