// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// serve answers on l in the way of its kind until ctx ends.
func serve(ctx context.Context, l net.Listener, kind Kind) error {
	if kind == HTTP {
		return serveHTTP(ctx, l)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			continue
		}
		go func() {
			defer c.Close()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			_ = answerQueries(c) // the client's going is the ordinary end
		}()
	}
}

func serveHTTP(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		ReadHeaderTimeout: idle,
		IdleTimeout:       idle,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := strconv.Atoi(r.URL.Query().Get("bytes"))
			if err != nil || n < 0 || n > maxAnswer {
				http.Error(w, "bytes: a number up to "+strconv.Itoa(maxAnswer), http.StatusBadRequest)
				return
			}
			_, _ = w.Write(make([]byte, n)) // the client may have left
		}),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const (
	maxAnswer = 1 << 20
	idle      = time.Minute
)

// A query is the number of bytes wanted, as 4 bytes in network order; the
// answer is that number again and then the bytes.
func answerQueries(c net.Conn) error {
	w := bufio.NewWriter(c)
	for {
		var head [4]byte
		if err := c.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		n := min(binary.BigEndian.Uint32(head[:]), maxAnswer)
		binary.BigEndian.PutUint32(head[:], n)
		_, _ = w.Write(head[:]) // a Writer remembers its first error until Flush
		_, _ = w.Write(make([]byte, n))
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

// query asks for n bytes and reads them.
func query(c net.Conn, n int) error {
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(n))
	if _, err := c.Write(head[:]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:])))
	return err
}
