package linux

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// goodAnswer is what describe and check.sh print for an ordinary user.
const goodAnswer = "origin local\nuid 1001\ngid 1001\ngecos ,,,,terraform-provider-stitch\nhome /home/stitch\nshell /bin/sh\ngroup stitch\n" +
	"password none\nchanged 19000\nlongest 99999\nexpires \ntoday 20000\nexecutable yes\nhomedir 41c0 1001 1001\nsshdir absent\nkeysfile absent\n" +
	"groups stitch\nsshd allowtcpforwarding yes\nsshd maxsessions 10\nsshd permitopen any\nsshd authorizedkeysfile .ssh/authorized_keys\n"

// An answer comes from a shell, and a shell may print anything: what is read from an answer is
// complete and makes sense, or the result is an error no longer than a screen.
func TestOddAnswers(t *testing.T) {
	with := func(old, text string) string { return strings.Replace(goodAnswer, old, text, 1) }
	stars := strings.Repeat("*a", 40) + "*b"
	for name, answer := range map[string]string{
		"good":                       goodAnswer,
		"nothing":                    "",
		"an empty line":              "\n",
		"a zero byte":                "\x00",
		"an origin alone":            "origin local",
		"an origin without a user":   "origin local\nuid \ngid \n",
		"another origin":             with("origin local", "origin elsewhere"),
		"no origin":                  with("origin local\n", ""),
		"two origins":                goodAnswer + "origin elsewhere\n",
		"a negative uid":             with("uid 1001", "uid -1"),
		"a uid of 33 bits":           with("uid 1001", "uid 4294967296"),
		"a uid in words":             with("uid 1001", "uid root"),
		"no gid":                     with("gid 1001\n", ""),
		"a zero byte at home":        with("/home/stitch", "/home/\x00stitch"),
		"no text at home":            with("/home/stitch", "/home/\xff\xfe"),
		"a terminal's at home":       with("/home/stitch", "/home/\x1b[2J"),
		"a relative home":            with("/home/stitch", "home"),
		"a long home":                with("/home/stitch", "/"+strings.Repeat("h", 100_000)),
		"a long group":               with("group stitch", "group "+strings.Repeat("g", 100_000)),
		"a shell of another kind":    with("shell /bin/sh", "shell \r\x07"),
		"a comment of a terminal":    with("gecos ", "gecos \x1b]0;title\x07"),
		"a long comment":             with("gecos ", "gecos "+strings.Repeat("c", 100_000)),
		"a hash":                     with("password none", "password $6$salt$hash"),
		"an expiry of never":         with("expires ", "expires 9223372036854775807"),
		"an expiry before all":       with("expires ", "expires -5"),
		"days that overflow":         with("changed 19000\nlongest 99999", "changed 9223372036854775807\nlongest 9223372036854775807"),
		"a mode in words":            with("41c0 1001 1001", "rwx root root"),
		"a mode of 64 bits":          with("41c0", "ffffffffffffffff"),
		"a long answer":              goodAnswer + strings.Repeat("x\n", 4<<20),
		"many facts":                 goodAnswer + many("fact"),
		"many settings":              goodAnswer + many("sshd setting"),
		"a long setting":             goodAnswer + "sshd denyusers " + strings.Repeat("u", 900_000) + " stitch\n",
		"many users":                 goodAnswer + "sshd denyusers " + strings.Repeat("u ", 400_000) + " stitch\n",
		"many files":                 goodAnswer + many("holds file"),
		"a long file":                goodAnswer + "holds " + strings.Repeat("f", 900_000) + "\n",
		"a long group that it is in": with("groups stitch", "groups "+strings.Repeat("g", 900_000)),
		"many groups":                with("groups stitch", "groups "+strings.Repeat("g ", 400_000)) + "sshd allowgroups x\n",
		"patterns of many stars":     with("groups stitch", "groups "+strings.Repeat("a", 60)) + "sshd denygroups " + stars + "\n",
		"sessions in words":          with("maxsessions 10", "maxsessions many"),
		"what sshd says, at length":  goodAnswer + "unknown " + strings.Repeat("no ", 300_000) + "\n",
		"files of keys, at length":   goodAnswer + "authorizedkeysfile " + strings.Repeat("/etc/keys ", 90_000) + "\n",
		"keys that are none":         "present 600\n" + strings.Repeat("!", 100_000),
		"many keys":                  "present 600\n" + strings.Repeat("AAAA", 2<<20),
		"neither":                    "here\n",
		"busy":                       "busy\n" + strings.Repeat("process 1 "+strings.Repeat("x", 1000)+"\n", 1000),
		"busy without a process":     "busy\nnone\n",
		"a home that is left":        "deleted\nhome " + strings.Repeat("x", 100_000) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan string, 1)
			go func() { ended <- checkAnswer(answer) }()
			select {
			case fault := <-ended:
				if fault != "" {
					t.Error(fault)
				}
			case <-time.After(30 * time.Second):
				t.Error("it takes too long")
			}
		})
	}
	u, err := parseUser("stitch", []byte(goodAnswer))
	if err != nil || !u.Created || u.UID != 1001 || u.Problems() != nil {
		t.Errorf("the good one: %+v, %v", u, err)
	}
	for odd, want := range map[string]string{with("uid 1001", "uid -1"): "uid", with("/home/stitch", "/home/\x00stitch"): "home directory", "": "cannot parse"} {
		if _, err := parseUser("stitch", []byte(odd)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func many(what string) string {
	var b strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&b, "%s%d x\n", what, i)
	}
	return b.String()
}

// longest bounds the length of what is made of an answer.
const longest = 20_000

// checkAnswer makes every reader of answers read one, and says what is wrong.
func checkAnswer(answer string) string {
	var faults []string
	fault := func(format string, values ...any) { faults = append(faults, fmt.Sprintf(format, values...)) }
	refused := func(err error) bool {
		if err != nil && (len(err.Error()) > longest || err.Error() == "") {
			fault("an error of %d bytes", len(err.Error()))
		}
		return err != nil
	}
	if u, err := parseUser("stitch", []byte(answer)); !refused(err) {
		for _, text := range []string{u.Home, u.Shell, u.Group, u.Comment, u.Expires, string(u.Password)} {
			if len(text) > longest || strings.ContainsFunc(text, unprintable) {
				fault("%.100q is part of a user", text)
			}
		}
		_, err := time.Parse(time.DateOnly, u.Expires)
		if u.UID < 0 || u.UID > 1<<32-1 || u.GID < 0 || u.GID > 1<<32-1 || u.Expires != "" && len(u.Expires) == len(time.DateOnly) && err != nil {
			fault("%d %d %q", u.UID, u.GID, u.Expires)
		}
		switch u.Password {
		case PasswordNone, PasswordLocked, PasswordEmpty, PasswordSet, PasswordUnknown:
		default:
			fault("the password is %.100q", u.Password)
		}
	}
	if found, err := parseFoundUser("stitch", []byte(answer)); !refused(err) {
		comment := ""
		text := strings.Join(NewUser{Name: "stitch", Comment: &comment}.withDefaults().refusals(found), "\n")
		if len(text) > longest || strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), unprintable) {
			fault("it is not adopted for %d bytes of reasons: %.200q", len(text), text)
		}
	}
	if f, err := parseCheck("stitch", []byte(answer)); !refused(err) {
		key := PublicKey{Type: "ssh-ed25519", Blob: strings.Fields(ed25519Key)[1]}
		f.peer, f.keysFile = "127.0.0.1", "/home/stitch/.ssh/authorized_keys"
		for _, finding := range findings(Check{Username: "stitch", PublicKey: &key, Host: "db.internal", Port: 5432}, f) {
			if length := len(finding.Summary) + len(finding.Detail) + len(finding.Remedy); length > longest || finding.Summary == "" {
				fault("a finding of %d bytes: %.200q", length, finding.Summary+finding.Detail)
			}
		}
		if (f.user == nil) != strings.Contains(answer, "origin absent") {
			fault("whether there is a user")
		}
	}
	if f, err := parseLocation("stitch", []byte(answer)); !refused(err) {
		if !strings.HasPrefix(f.path(), f.home) || f.name == "" || strings.ContainsRune(f.home, 0) || len(f.path()) > longest {
			fault("keys are at %.100q", f.path())
		}
	}
	if c, err := parseKeysContent(answer); !refused(err) && len(c.text) > maxKeys {
		fault("%d bytes of keys", len(c.text))
	}
	d, err := parseDeletion("stitch", answer)
	if !refused(err) && d == (Deletion{}) && !strings.HasPrefix(answer, "absent") {
		fault("what was not said to be gone is")
	}
	if len(d.KeptHome) > longest {
		fault("a home directory of %d bytes", len(d.KeptHome))
	}
	var busy *BusyError
	if errors.As(err, &busy) {
		for _, p := range busy.Processes {
			if len(p.Command) > 3*longestCommand || !utf8.ValidString(p.Command) {
				fault("a process called %.100q", p.Command)
			}
		}
	}
	e := parseEnds([]byte(answer))
	for _, end := range []string{e.peer, e.localAddress, e.localPort} {
		if len(end) > 100 || strings.ContainsFunc(end, unprintable) {
			fault("an address %.100q", end)
		}
	}
	return strings.Join(faults, "; ")
}

// Whatever a shell answers, the result makes sense or is an error.
func FuzzAnswers(f *testing.F) {
	for _, answer := range []string{goodAnswer, "absent\n", "present 600\nAAAA\n", "busy\nprocess 1 x\n", "kept\n", "deleted\nhome x\n", "127.0.0.1 1 ::1 2", "origin absent\n"} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		if fault := checkAnswer(answer); fault != "" {
			t.Error(fault)
		}
	})
}

// slowMatch is matchPattern according to its definition.
func slowMatch(pattern, text string) bool {
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return slowMatch(pattern[1:], text) || text != "" && slowMatch(pattern, text[1:])
	}
	return text != "" && (pattern[0] == '?' || pattern[0] == text[0]) && slowMatch(pattern[1:], text[1:])
}

// A pattern matches what its definition says.
func FuzzPatterns(f *testing.F) {
	for _, pattern := range []string{"", "*", "**", "?", "a*b", "*a*a*b", "*?*", "a?c*"} {
		f.Add(pattern, "aab")
		f.Add(pattern, "")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		pattern, text = pattern[:min(len(pattern), 12)], text[:min(len(text), 12)]
		if got := matchPattern(pattern, text); got != slowMatch(pattern, text) {
			t.Errorf("%q matches %q: %v", pattern, text, got)
		}
	})
}
