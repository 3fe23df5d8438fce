// echo_server: send every line back to where it came from.
//
//	go run ./examples/echo_server 7777          (0: any free port; the first line of the output tells which)
package main

import (
	"context"
	"eddy"
	"errors"
	"fmt"
	"os"
	"strconv"
)

func echo(reader *eddy.Reader, writer *eddy.Writer) {
	defer writer.Free()
	for {
		line, err := reader.ReadLine()
		if errors.Is(err, eddy.ELIMIT) {
			line, err = []byte("line too long\n"), nil // the next read begins with the next line
		}
		if err != nil {
			return // io.EOF, or the connection is lost
		}
		if _, err := writer.Write(line); err != nil { // waits for a client that does not listen
			return
		}
	}
}

func serve(port uint16) error {
	loop, err := eddy.NewLoop()
	if err != nil {
		return err
	}
	server, err := loop.StartServer(context.Background(), echo, "127.0.0.1", port, &eddy.Options{Limit: 4096})
	if err != nil {
		return err
	}
	fmt.Println("listening on", server.Sockname(0))
	return server.WaitClosed(context.Background())
}

func main() {
	port, err := uint64(7777), error(nil)
	if len(os.Args) > 1 {
		port, err = strconv.ParseUint(os.Args[1], 10, 16)
	}
	if len(os.Args) > 2 || err != nil {
		fmt.Fprintln(os.Stderr, "usage: echo_server [PORT]")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "echo_server:", serve(uint16(port)))
	os.Exit(1)
}
