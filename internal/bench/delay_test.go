package main

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// Data through a delay arrives whole, later, and no slower.
func TestDelay(t *testing.T) {
	const oneWay = 50 * time.Millisecond
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	d, err := newDelay(t.Context(), echo.Addr().String(), oneWay)
	if err != nil {
		t.Fatal(err)
	}
	defer d.stop()

	began := time.Now()
	conn, err := net.Dial("tcp", d.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	buffer := make([]byte, 4)
	for trip := range 3 {
		if _, err := conn.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buffer); err != nil || string(buffer) != "ping" {
			t.Fatalf("%q, %v", buffer, err)
		}
		if took, want := time.Since(began), time.Duration(trip+2)*2*oneWay; took < want {
			t.Errorf("trip %d was over after %s: connecting and it take %s", trip+1, took, want)
		}
	}

	began = time.Now()
	much := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	go func() {
		_, _ = conn.Write(much)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, much) {
		t.Errorf("%d bytes of %d came back, %v", len(got), len(much), err)
	}
	// Were its 512 packets late one after the other, they would take twice the upper bound.
	if took := time.Since(began); took < 2*oneWay || took > 256*oneWay {
		t.Errorf("16 MiB took %s there and back", took)
	}
}
