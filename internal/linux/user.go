package linux

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A User is a user of a Linux host, as /etc/passwd, /etc/shadow and the file system describe it.
type User struct {
	Name     string
	UID      int64
	GID      int64
	Group    string // the name of GID; "" if it has none
	Home     string
	Shell    string
	Comment  string        // the GECOS field, without the mark
	Created  bool          // it carries the mark of users that CreateUser made
	Local    bool          // it is in /etc/passwd, not only in a directory such as LDAP
	Password PasswordState // never a password, nor its hash
	Expires  string        // the day from which it can no longer log in, for example "2026-12-31"; "": never
	Expired  bool          // that day has come, by the host's clock

	aged       bool // the password is too old, or must be changed at the next login
	executable bool // the shell can be executed
	home       fileFacts
	ssh        fileFacts // ~/.ssh
	keys       fileFacts // ~/.ssh/authorized_keys
}

// A NewUser says how to make a user. For a value of "", CreateUser chooses a default and UpdateUser
// keeps what is there.
type NewUser struct {
	Name    string
	Group   string  // an existing group; "" or Name: a group of the user's own name, made with the user
	Home    string  // "": /home/ and the name
	Shell   string  // "": /bin/sh
	Comment *string // nil: none
}

// A PasswordState is the meaning of the password field in /etc/shadow. sshd without PAM refuses a
// user whose field begins with "!", even with a key.
type PasswordState string

// The states of a password.
const (
	PasswordNone    PasswordState = "none"    // *: no password logs in, a key does
	PasswordLocked  PasswordState = "locked"  // !, !! or a hash behind an exclamation mark
	PasswordEmpty   PasswordState = "empty"   // anyone who can reach a password prompt gets in without one
	PasswordSet     PasswordState = "set"     // a hash
	PasswordUnknown PasswordState = "unknown" // not in /etc/shadow
)

// mark is in the last part of the GECOS field, which only root can change.
const mark = "terraform-provider-stitch"

// The errors that callers branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
)

const (
	defaultShell = "/bin/sh"
	homes        = "/home/"
)

var portableName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

// CheckUserName refuses what the tools of some Linux would, or should, refuse.
func CheckUserName(name string) error { return checkPortableName("user", name) }

// CheckGroupName does the same for groups.
func CheckGroupName(name string) error { return checkPortableName("group", name) }

func checkPortableName(what, name string) error {
	if !portableName.MatchString(name) {
		return fmt.Errorf("the %s name %q is not valid: use at most 32 lower-case letters, digits, _ and -, and begin with a letter or _", what, name)
	}
	return nil
}

// checkLogin refuses what cannot be the name of a user, not even of a directory such as LDAP.
func checkLogin(name string) error {
	if name == "" || strings.HasPrefix(name, "-") || len(name) > 256 || !isText(name) || strings.ContainsAny(name, ":/ ") {
		return fmt.Errorf("%q is not a valid user name", name)
	}
	return nil
}

// CheckComment refuses what /etc/passwd cannot hold, and what a reader could not distinguish from
// the mark.
func CheckComment(comment string) error {
	switch {
	case strings.Contains(comment, ":"):
		return fmt.Errorf("the comment %q holds a colon, which separates the fields of /etc/passwd", comment)
	case !isText(comment):
		return fmt.Errorf("the comment %q holds a control character, or bytes that are not UTF-8 text", comment)
	case strings.Count(comment, ",") > 3, strings.HasSuffix(comment, ","):
		return fmt.Errorf("the comment %q ends with a comma or holds more than three commas. In /etc/passwd, commas separate name, room and two telephone numbers", comment)
	case len(comment) > 256:
		return fmt.Errorf("the comment has %d bytes, and at most 256 are allowed", len(comment))
	}
	return nil
}

// CheckHome refuses what cannot be the home directory of a user.
func CheckHome(text string) error {
	if strings.ContainsAny(text, `*?[\`) {
		return fmt.Errorf("the path %q holds one of * ? [ and \\, which would make newer releases of sshd look for keys elsewhere", text)
	}
	return CheckShell(text)
}

// CheckShell refuses what cannot be the path of a shell.
func CheckShell(text string) error {
	switch {
	case !strings.HasPrefix(text, "/"), path.Clean(text) != text, text == "/":
		return fmt.Errorf("%q is not valid: use an absolute path without . and .. and without a slash at the end", text)
	case strings.Contains(text, ":"), !isText(text):
		return fmt.Errorf("the path %q holds a colon or a control character, which /etc/passwd cannot store", text)
	case len(text) > 1024:
		return fmt.Errorf("the path has %d bytes, and at most 1024 are allowed", len(text))
	}
	return nil
}

func unprintable(r rune) bool { return unicode.IsControl(r) }

// isText reports whether text is UTF-8 without control characters, among them line breaks.
func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unprintable)
}

// check refuses what cannot be a user. It does not check values of "".
func (u NewUser) check() error {
	if err := CheckUserName(u.Name); err != nil {
		return err
	}
	if u.Group != "" {
		if err := CheckGroupName(u.Group); err != nil {
			return err
		}
	}
	if u.Home != "" {
		if err := CheckHome(u.Home); err != nil {
			return err
		}
	}
	if u.Shell != "" {
		if err := CheckShell(u.Shell); err != nil {
			return err
		}
	}
	if u.Comment != nil {
		return CheckComment(*u.Comment)
	}
	return nil
}

// gecos appends the mark to a comment.
func gecos(comment string, created bool) string {
	if !created {
		return comment
	}
	return comment + strings.Repeat(",", 4-strings.Count(comment, ",")) + mark
}

// splitGECOS is the reverse. Commas at the end of a comment have no meaning.
func splitGECOS(field string) (comment string, created bool) {
	parts := strings.Split(field, ",")
	if created = len(parts) == 5 && parts[4] == mark; created {
		field = strings.Join(parts[:4], ",")
	}
	return strings.TrimRight(strings.ToValidUTF8(field, "\uFFFD"), ","), created
}
