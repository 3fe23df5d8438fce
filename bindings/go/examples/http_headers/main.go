// http_headers: ask a web server about a page, and print the headers of its answer.
//
//	go run ./examples/http_headers https://example.com/path/page.html
package main

import (
	"bytes"
	"context"
	"eddy"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// http[s]://HOST[:PORT][/PATH]; HOST may be an IPv6 address in brackets.
var form = regexp.MustCompile(`^http(s?)://((?:\[([^][/]{1,255})\]|([^][/:?#@]{1,255}))(?::([0-9]{1,5}))?)([/?#].*)?$`)

type page struct {
	authority, host, path string
	port                  uint16
	options               eddy.Options
}

func parse(url string) (page, bool) {
	for _, c := range []byte(url) {
		if c <= ' ' || c > '~' {
			return page{}, false
		}
	}
	parts := form.FindStringSubmatch(url)
	if parts == nil || len(url) > 2000 {
		return page{}, false
	}
	number := map[string]string{"": "80", "s": "443"}[parts[1]]
	if parts[5] != "" {
		number = parts[5]
	}
	port, err := strconv.ParseUint(number, 10, 16)
	path, _, _ := strings.Cut(parts[6], "#")
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	asked := page{authority: parts[2], host: parts[3] + parts[4], path: path, port: uint16(port)}
	if parts[1] == "s" {
		asked.options.TLS = eddy.NewTLSClient() // trusts whom the system trusts
	}
	return asked, err == nil && port > 0
}

func printHeaders(page page) error {
	loop, err := eddy.NewLoop()
	if err != nil {
		return err
	}
	defer loop.Close()
	reader, writer, err := loop.OpenConnection(context.Background(), page.host, page.port, &page.options)
	if err != nil {
		return err
	}
	fmt.Fprintf(writer, "HEAD %s HTTP/1.0\r\nHost: %s\r\n\r\n", page.path, page.authority)
	for answered := false; ; answered = true {
		line, err := reader.ReadLine()
		if line = bytes.TrimSpace(line); len(line) > 0 {
			fmt.Printf("HTTP header> %s\n", line)
		} else if answered && (err == nil || errors.Is(err, io.EOF)) {
			return nil
		} else if err == nil || errors.Is(err, io.EOF) {
			return errors.New("the server did not answer")
		} else {
			return err
		}
	}
}

func main() {
	var asked page
	ok := len(os.Args) == 2
	if ok {
		asked, ok = parse(os.Args[1])
	}
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: http_headers http[s]://HOST[:PORT][/PATH]")
		os.Exit(2)
	}
	if err := printHeaders(asked); err != nil {
		fmt.Fprintln(os.Stderr, "http_headers:", err)
		os.Exit(1)
	}
}
