package sshclient

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxSaid bounds how much text from a host an error quotes.
const maxSaid = 2000

// Shorten removes the middle of a text from a host, if the text is long.
func Shorten(text string) string {
	const half = maxSaid / 2
	if len(text) <= maxSaid {
		return text
	}
	head, tail := text[:half], text[len(text)-half:]
	return fmt.Sprintf("%s [%d bytes are left out] %s", strings.ToValidUTF8(head, ""), len(text)-2*half, strings.ToValidUTF8(tail, ""))
}

// quote returns what an error may show of a text from the host: without the secrets that were sent
// to the host, which it may repeat, and as short as Shorten makes it.
func (h *shared) quote(text string) string {
	for _, secret := range []string{h.config.Password, h.config.SudoPassword} {
		if secret != "" {
			quoted := strconv.Quote(secret) // as in the errors of the ssh package
			text = strings.NewReplacer(secret, "...", quoted[1:len(quoted)-1], "...").Replace(text)
		}
	}
	return Shorten(text)
}

// shortestSecret is the length from which a password is searched for in answers: an honest host's
// answer may well contain a shorter one, such as root.
const shortestSecret = 8

// repeats reports whether an answer holds a secret that was sent to the host. Parts of an answer
// may end up in the state, and on a screen.
func (h *shared) repeats(answer []byte) bool {
	for _, secret := range []string{h.config.Password, h.config.SudoPassword} {
		if len(secret) >= shortestSecret && bytes.Contains(answer, []byte(secret)) {
			return true
		}
	}
	return false
}

// said returns an error that may quote text from the host.
func (h *shared) said(err error) error { return &saidError{text: h.quote(err.Error()), err: err} }

type saidError struct {
	text string
	err  error
}

func (e *saidError) Error() string { return e.text }
func (e *saidError) Unwrap() error { return e.err }
