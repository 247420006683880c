package pgclient

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The error of several attempts reports the last one at each address: that there is no TLS only
// where no attempt was made without it.
func TestConnectCause(t *testing.T) {
	const (
		noTLS     = "127.0.0.1:5432 (localhost): " + refusedTLS
		noTLS6    = "[::1]:5432 (localhost): " + refusedTLS
		password  = "127.0.0.1:5432 (localhost): failed SASL auth: FATAL: no"
		password6 = "[::1]:5432 (localhost): failed SASL auth: FATAL: no"
		refused6  = "[::1]:5432 (localhost): dial error: connection refused"
	)
	server := &Server{pool: &pool{}}
	for name, tt := range map[string]struct{ attempts, want string }{
		"one address that says the same without":         {password + "|" + password, password},
		"one address, with TLS only":                     {noTLS, noTLS},
		"one address, with and without":                  {noTLS + "|" + password, password},
		"two addresses, with TLS only":                   {noTLS + "|" + refused6, noTLS + "|" + refused6},
		"two addresses, with and without":                {noTLS + "|" + refused6 + "|" + password + "|" + refused6, refused6 + "|" + password + "|" + refused6},
		"two addresses that answer":                      {noTLS + "|" + noTLS6 + "|" + password + "|" + password6, password + "|" + password6},
		"two addresses that answer, with TLS only":       {noTLS + "|" + noTLS6, noTLS + "|" + noTLS6},
		"two addresses, and one of them not without TLS": {noTLS6 + "|" + noTLS + "|" + password6, noTLS + "|" + password6},
	} {
		var attempts []error
		for attempt := range strings.SplitSeq(tt.attempts, "|") {
			attempts = append(attempts, errors.New(attempt))
		}
		if got := strings.ReplaceAll(server.connectCause(errors.Join(attempts...)).Error(), "\n", "|"); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestList(t *testing.T) {
	items := make([]string, 43)
	for i := range items {
		items[i] = fmt.Sprint("item ", i)
	}
	got := List(items)
	if !strings.HasSuffix(got, "\n  item 19\n  and 23 more") {
		t.Errorf("got %s", got)
	}
	if got := List(items[:2]); got != "\n  item 0\n  item 1" {
		t.Errorf("got %s", got)
	}
}
