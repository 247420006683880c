package sshclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestCheckJumps(t *testing.T) {
	for name, tt := range map[string]struct {
		jumps map[string]string
		want  string
	}{
		"none":         {map[string]string{"a": "", "b": ""}, ""},
		"a chain":      {map[string]string{"a": "b", "b": "c", "c": ""}, ""},
		"two to one":   {map[string]string{"a": "c", "b": "c", "c": ""}, ""},
		"itself":       {map[string]string{"a": "a"}, `SSH host "a" would be reached through itself: a -> a`},
		"a circle":     {map[string]string{"c": "a", "a": "b", "b": "c"}, `SSH host "a" would be reached through itself: a -> b -> c -> a`},
		"leads to one": {map[string]string{"a": "b", "b": "c", "c": "b"}, `SSH host "b" would be reached through itself: b -> c -> b`},
		"unknown":      {map[string]string{"a": "gone"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			configs := map[string]Config{}
			for host, jump := range tt.jumps {
				configs[host] = Config{JumpHost: jump}
			}
			got := ""
			if err := CheckJumps(configs); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestMayRetry(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	handshake := func(err error) error { return fmt.Errorf("ssh: handshake failed: %w", err) }
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"refused":                    {refused, true},
		"reset in the handshake":     {handshake(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), true},
		"closed in the handshake":    {handshake(io.EOF), true},
		"closed in the login":        {&loginError{err: handshake(io.EOF)}, false},
		"login refused":              {&loginError{err: errors.New("ssh: unable to authenticate")}, false},
		"another host key":           {handshake(&HostKeyError{}), false},
		"no common algorithm":        {handshake(&ssh.AlgorithmNegotiationError{}), false},
		"no such file":               {&settingError{&os.PathError{Op: "open", Path: "key", Err: syscall.ENOENT}}, false},
		"no agent":                   {&settingError{refused}, false},
		"unknown name":               {&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, false},
		"name server does not serve": {&net.OpError{Op: "dial", Err: &net.DNSError{IsTemporary: true}}, true},
		"forwarding not allowed":     {&ForwardError{Refused: true}, false},
		"forwarding met nobody":      {&ForwardError{}, true},
		"jump host refused login":    {&ConnectError{Err: &ConnectError{Err: &loginError{err: io.EOF}}}, false},
		"jump host refused":          {&ConnectError{Err: &ConnectError{Err: refused}}, true},
		"cancelled":                  {context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mayRetry(&ConnectError{Err: tt.err}); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
