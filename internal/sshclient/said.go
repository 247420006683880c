package sshclient

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxSaid is how much of what a host says an error quotes.
const maxSaid = 2000

// Shorten leaves out the middle of a text that came from a host, if that is long.
func Shorten(text string) string {
	const half = maxSaid / 2
	if len(text) <= maxSaid {
		return text
	}
	head, tail := text[:half], text[len(text)-half:]
	return fmt.Sprintf("%s [%d bytes are left out] %s", strings.ToValidUTF8(head, ""), len(text)-2*half, strings.ToValidUTF8(tail, ""))
}

// quote is what an error may show of what the host said: not the secrets that the
// host was told, which it may repeat, and no more than Shorten leaves.
func (h *shared) quote(text string) string {
	for _, secret := range []string{h.config.Password, h.config.SudoPassword} {
		if secret != "" {
			quoted := strconv.Quote(secret) // as in the errors of the ssh package
			text = strings.NewReplacer(secret, "...", quoted[1:len(quoted)-1], "...").Replace(text)
		}
	}
	return Shorten(text)
}

// shortestSecret is how long a password has to be for an answer to be searched for it:
// what an honest host says may well hold a shorter one, such as root.
const shortestSecret = 8

// repeats reports whether an answer holds a secret that the host was told. What it holds
// may become part of a state, and be shown.
func (h *shared) repeats(answer []byte) bool {
	for _, secret := range []string{h.config.Password, h.config.SudoPassword} {
		if len(secret) >= shortestSecret && bytes.Contains(answer, []byte(secret)) {
			return true
		}
	}
	return false
}

// said is an error that may quote what the host said.
func (h *shared) said(err error) error { return &saidError{text: h.quote(err.Error()), err: err} }

type saidError struct {
	text string
	err  error
}

func (e *saidError) Error() string { return e.text }
func (e *saidError) Unwrap() error { return e.err }
