package linux

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// ReadUser returns the user called name. ErrNotFound means that the host reported it as absent.
func ReadUser(ctx context.Context, h *sshclient.Host, name string) (User, error) {
	u, err := readUser(ctx, h, name)
	if err != nil {
		return User{}, fmt.Errorf("read user %q on SSH host %q: %w", name, h.Name(), err)
	}
	return u, nil
}

func readUser(ctx context.Context, h *sshclient.Host, name string) (User, error) {
	if err := checkLogin(name); err != nil {
		return User{}, err
	}
	answer, err := h.Run(ctx, sshclient.Command{
		Script: accountScript + `describe "$name"`,
		Data:   map[string]string{"name": name},
	})
	if err != nil {
		return User{}, err
	}
	return parseUser(name, answer)
}

// fileFacts is what lstat reports about a file.
type fileFacts struct {
	known  bool // lstat was called
	exists bool
	mode   uint32 // including the type of the file, as in st_mode
	uid    int64
}

// The parts of st_mode.
const (
	modeType      = 0o170000
	modeDirectory = 0o040000
	modeLink      = 0o120000
)

func (f fileFacts) isDirectory() bool { return f.exists && f.mode&modeType == modeDirectory }

// parseUser reads the output of describe in account.sh.
func parseUser(name string, answer []byte) (User, error) {
	facts, err := parseFacts(answer, "origin", "uid", "gid", "gecos", "home", "shell", "group", "password", "today", "changed", "longest", "expires", "executable", "homedir", "sshdir", "keysfile")
	if err != nil {
		return User{}, err
	}
	u := User{Name: name, Local: facts["origin"] == "local", Home: facts["home"], Shell: facts["shell"], Group: facts["group"], Password: PasswordUnknown}
	switch facts["origin"] {
	case "absent":
		return User{}, ErrNotFound
	case "local", "directory":
	default:
		return User{}, notUnderstood(answer)
	}
	if u.UID, err = parseID(facts["uid"]); err != nil {
		return User{}, fmt.Errorf("its uid is not a valid number: %w", err)
	}
	if u.GID, err = parseID(facts["gid"]); err != nil {
		return User{}, fmt.Errorf("its gid is not a valid number: %w", err)
	}
	for _, f := range []struct{ what, text string }{{"home directory", u.Home}, {"shell", u.Shell}, {"group", u.Group}, {"comment", facts["gecos"]}} {
		if err := checkFact(f.what, f.text); err != nil {
			return User{}, err
		}
	}
	u.Comment, u.Created = splitGECOS(facts["gecos"])
	switch state := PasswordState(facts["password"]); state {
	case PasswordNone, PasswordLocked, PasswordEmpty, PasswordSet:
		u.Password = state
	}
	u.age(facts)
	u.executable = facts["executable"] == "yes"
	u.home, u.ssh, u.keys = parseFileFacts(facts["homedir"]), parseFileFacts(facts["sshdir"]), parseFileFacts(facts["keysfile"])
	return u, nil
}

// parseID reads a uid or gid.
func parseID(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	return int64(n), err //nolint:gosec // of 32 bits
}

// age reads the days in /etc/shadow, which count from 1970.
func (u *User) age(facts map[string]string) {
	day := func(key string) (int64, bool) {
		n, err := strconv.ParseInt(facts[key], 10, 32)
		return n, err == nil && n >= 0
	}
	today, _ := day("today")
	if expires, ok := day("expires"); ok && expires > 0 {
		u.Expires = time.Unix(expires*24*60*60, 0).UTC().Format(time.DateOnly)
		u.Expired = expires <= today
	}
	changed, ok := day("changed")
	longest, limited := day("longest")
	u.aged = ok && (changed == 0 || limited && changed+longest < today)
}

// parseFileFacts reads "MODE UID GID", with the mode in hexadecimal.
func parseFileFacts(text string) fileFacts {
	if text == "absent" {
		return fileFacts{known: true}
	}
	var gid int64
	f := fileFacts{known: true, exists: true}
	if n, _ := fmt.Sscanf(text, "%x %d %d", &f.mode, &f.uid, &gid); n != 3 {
		return fileFacts{}
	}
	return f
}
