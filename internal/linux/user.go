package linux

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// A User is a user of a Linux host, as /etc/passwd, /etc/shadow and the file
// system have it.
type User struct {
	Name     string
	UID      int64
	GID      int64
	Group    string // the name of GID; "" if it has none
	Home     string
	Shell    string
	Comment  string        // of the GECOS field, without the mark
	Created  bool          // it carries the mark of users that CreateUser made
	Local    bool          // it stands in /etc/passwd, not only in a directory such as LDAP
	Password PasswordState // never a password, nor its hash
	Expires  string        // the last day on which it may log in and the one after which it may not, for example "2026-12-31"; "": never
	Expired  bool          // by the host's own clock

	paths []pathState // the home directory, .ssh and authorized_keys
}

// A NewUser says how a user is to be made. What is "" is left to CreateUser,
// and by UpdateUser as it is.
type NewUser struct {
	Name    string
	Group   string // an existing group; "": one of the user's own name, which is made with it
	Home    string // "": /home/ and the name
	Shell   string // "": /bin/sh
	Comment string
}

// A PasswordState is what the password field of /etc/shadow says. sshd without
// PAM refuses a user whose field begins with "!", also with a key.
type PasswordState string

// The states of a password.
const (
	PasswordNone    PasswordState = "none"    // *: no password opens it, a key does
	PasswordLocked  PasswordState = "locked"  // !, !! or a hash behind an exclamation mark
	PasswordEmpty   PasswordState = "empty"   // whoever may ask for one gets in without
	PasswordSet     PasswordState = "set"     // a hash
	PasswordUnknown PasswordState = "unknown" // not in /etc/shadow
)

// mark stands in the last part of the GECOS field, which only root can change.
const mark = "terraform-provider-stitch"

// The errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists already")
)

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// CheckUserName refuses what the tools of some Linux would, or should, refuse.
func CheckUserName(name string) error {
	if !userName.MatchString(name) {
		return fmt.Errorf("the user name %q does not begin with a small letter or an underscore, holds something other than small letters, digits, _ and -, or has more than 32 characters", name)
	}
	return nil
}

// CheckGroupName refuses likewise.
func CheckGroupName(name string) error {
	if !userName.MatchString(name) {
		return fmt.Errorf("the group name %q does not begin with a small letter or an underscore, holds something other than small letters, digits, _ and -, or has more than 32 characters", name)
	}
	return nil
}

// CheckComment refuses what /etc/passwd can not hold, and what could not be
// told from the mark when it is read.
func CheckComment(comment string) error {
	switch {
	case strings.ContainsRune(comment, ':'):
		return fmt.Errorf("the comment %q holds a colon, which separates the fields of /etc/passwd", comment)
	case strings.ContainsFunc(comment, unprintable):
		return fmt.Errorf("the comment %q holds a control character or bytes that are no text", comment)
	case strings.Count(comment, ",") > 3, strings.HasSuffix(comment, ","):
		return fmt.Errorf("the comment %q ends with a comma or holds more than three: commas separate name, room and telephone numbers", comment)
	case len(comment) > 256:
		return fmt.Errorf("the comment has %d bytes, 256 are allowed", len(comment))
	}
	return nil
}

// CheckPath refuses what can not be the home directory or the shell of a user.
func CheckPath(text string) error {
	switch {
	case !strings.HasPrefix(text, "/"), path.Clean(text) != text, text == "/":
		return fmt.Errorf("%q is not an absolute path without . and .. or a slash at the end", text)
	case strings.ContainsRune(text, ':'), strings.ContainsFunc(text, unprintable):
		return fmt.Errorf("the path %q holds a colon or a control character, which /etc/passwd can not", text)
	case len(text) > 1024:
		return fmt.Errorf("the path has %d bytes, 1024 are allowed", len(text))
	}
	return nil
}

func unprintable(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }
