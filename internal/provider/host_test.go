package provider

import (
	"strings"
	"testing"
)

func TestHostMistake(t *testing.T) {
	for host, want := range map[string]string{
		"db.internal": "", "localhost": "", "10.0.0.1": "", "::1": "", "fe80::1%eth0": "", "2001:db8::5": "", "/var/run/postgresql": "", "db-1_a": "", "ümlaut.example": "",
		"":                  "It is empty",
		"[::1]":             `write "::1"`,
		"[fe80::1%eth0]":    `write "fe80::1%eth0"`,
		"[db.internal]":     `write "db.internal"`,
		"[::1]:22":          `write host = "::1", port = 22`,
		"db.internal:5432":  `write host = "db.internal", port = 5432`,
		"10.0.0.1:5432":     `write host = "10.0.0.1", port = 5432`,
		"postgres://u@db/x": "is a URL",
		"ssh://bastion":     "is a URL",
		"root@bastion":      "set the attribute username",
		" db":               "contains a space",
		"db\n":              "contains a space",
		"db1,db2":           "an entry for each host",
		"db.internal/shop":  "contains a slash",
		"10.0.0.0/8":        "contains a slash",
		"[::1":              `write "::1"`,
	} {
		if got := hostMistake(host); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}
