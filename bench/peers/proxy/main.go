// A proxy in front of an S3 server, on loopback, that counts requests by kind and the bytes of bodies both ways. In Go,
// since it shares the cores with what is measured: a body passes through a buffer and is never looked at.
//
//	proxy HOST:PORT      prints {"s3":PORT,"counts":PORT} once it listens; ends when its input does
//
// GET on the second port answers what was counted since the last time, and starts anew.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

const bufferBytes = 256 << 10

type counts struct {
	mutex    sync.Mutex
	requests map[string]int64
	up, down atomic.Int64
}

func main() {
	server := &url.URL{Scheme: "http", Host: os.Args[1]}
	counted := &counts{requests: map[string]int64{}}
	proxy := &httputil.ReverseProxy{
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 256,
			DisableCompression:  true,
			WriteBufferSize:     bufferBytes,
			ReadBufferSize:      bufferBytes,
		},
		BufferPool: &buffers{},
		// The host is signed: it stays the one that the client named.
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(server)
			request.Out.Host = request.In.Host
		},
		ModifyResponse: func(response *http.Response) error {
			response.Body = body{response.Body, &counted.down}
			return nil
		},
		ErrorLog: log.New(io.Discard, "", 0), // a client that hangs up is no news
	}
	s3 := listen(func(answer http.ResponseWriter, request *http.Request) {
		counted.add(kindOf(request))
		request.Body = body{request.Body, &counted.up}
		proxy.ServeHTTP(answer, request)
	})
	control := listen(func(answer http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(answer).Encode(counted.take())
	})
	fmt.Printf("{\"s3\":%d,\"counts\":%d}\n", s3, control)
	io.Copy(io.Discard, os.Stdin)
}

func listen(handle http.HandlerFunc) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(listener, handle)
	return listener.Addr().(*net.TCPAddr).Port
}

// The operation of S3, in a word: path-style addresses only.
func kindOf(request *http.Request) string {
	query := request.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(request.URL.Path, "/"), "/")
	switch request.Method {
	case http.MethodPut:
		switch {
		case request.Header.Get("X-Amz-Copy-Source") != "":
			return "COPY"
		case query.Has("partNumber"):
			return "PART"
		}
	case http.MethodPost:
		switch {
		case query.Has("uploads"):
			return "START"
		case query.Has("uploadId"):
			return "COMPLETE"
		case query.Has("delete"):
			return "DELETE"
		}
	case http.MethodDelete:
		if query.Has("uploadId") {
			return "ABORT"
		}
	case http.MethodGet:
		if key == "" && !query.Has("location") {
			return "LIST"
		}
	}
	return request.Method
}

func (c *counts) add(kind string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.requests[kind]++
}

func (c *counts) take() map[string]any {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	taken := map[string]any{"up": c.up.Swap(0), "down": c.down.Swap(0), "requests": c.requests}
	c.requests = map[string]int64{}
	return taken
}

type body struct {
	io.ReadCloser
	bytes *atomic.Int64
}

func (b body) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.bytes.Add(int64(n))
	return n, err
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().([]byte); ok {
		return buffer
	}
	return make([]byte, bufferBytes)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(buffer) }
