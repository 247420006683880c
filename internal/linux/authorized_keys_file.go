package linux

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// maxKeysWait bounds how long an edit is retried when others change the file at the same time.
const maxKeysWait = 2 * time.Minute

// maxKeys is the largest file of keys that is accepted; keys_read.sh refuses a larger one.
const maxKeys = 1 << 20

// A keysFile is where sshd looks for a user's keys.
type keysFile struct {
	username  string
	home      string
	directory string // below home, "" if it is home itself
	name      string
}

func (f keysFile) path() string { return path.Join(f.home, f.directory, f.name) }

// keysContent is the content of the file.
type keysContent struct {
	exists bool
	text   string
	mode   uint32 // the permissions of the file
}

// problems says, one line for each reason, why sshd refuses the keys of a file. The scripts check
// who owns it.
func (c keysContent) problems(path string) []string {
	if c.mode&0o022 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("other users can write to %s (mode %04o)", path, c.mode)}
}

// is reports whether both have the same text.
func (c keysContent) is(other keysContent) bool {
	return c.exists == other.exists && c.text == other.text
}

// sum is a checksum of the content, computed as the scripts do.
func (c keysContent) sum() string {
	if !c.exists {
		return "absent"
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(c.text)))
}

// editKeys reads the file of a user, computes its new content, and replaces the file unless another
// process has changed it since. In that case it starts again. The scripts first take write
// permission away from others.
func editKeys(ctx context.Context, h *sshclient.Host, username string, edit func(content, path string) (string, error)) error {
	f, err := locateKeys(ctx, h, username)
	if err != nil {
		return err
	}
	have, err := f.read(ctx, h)
	if err == nil && have.problems("") != nil {
		_, err = h.Run(ctx, sshclient.Command{Script: keysReadScript + "\nenter write\nlook write\nchmod go-w \"$file\" || die \"cannot take write permission on $(pwd)/$file away from other users\"", Data: f.data(), User: f.username})
	}
	if err != nil {
		return err
	}
	for began := time.Now(); ; {
		text, err := edit(have.text, f.path())
		if err != nil || text == have.text {
			return err
		}
		want := keysContent{exists: true, text: text}
		now, err := f.write(ctx, h, have, want)
		if err != nil || now.is(want) {
			return err
		}
		if time.Since(began) > maxKeysWait {
			return fmt.Errorf("other processes kept changing %s for %s: apply again when they have finished", f.path(), maxKeysWait)
		}
		have = now
		select {
		case <-time.After(rand.N(50 * time.Millisecond)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// locateKeys asks sshd where it looks for the keys of a user who connects as h does, if the login
// can become root. Otherwise it assumes sshd's default.
func locateKeys(ctx context.Context, h *sshclient.Host, username string) (keysFile, error) {
	if err := checkLogin(username); err != nil {
		return keysFile{}, err
	}
	ends, err := connectionEnds(ctx, h)
	if err != nil {
		return keysFile{}, err
	}
	command := sshclient.Command{Script: accountScript + keysLocateScript + "locate", Data: ends.data(username)}
	answer, err := h.Run(ctx, command)
	if username == h.Username() && isNotRoot(ctx, err) {
		command.User = username
		answer, err = h.Run(ctx, command)
	}
	if err != nil {
		return keysFile{}, err
	}
	return parseLocation(username, answer)
}

// isNotRoot reports whether a command was not run because the login cannot become root.
func isNotRoot(ctx context.Context, err error) bool {
	var root *sshclient.RootError
	return ctx.Err() == nil && errors.As(err, &root)
}

func parseLocation(username string, answer []byte) (keysFile, error) {
	facts, err := parseFacts(answer, "origin", "unknown", "uid", "home", "authorizedkeysfile")
	if err != nil {
		return keysFile{}, err
	}
	switch facts["origin"] {
	case "absent":
		return keysFile{}, errNoUser
	case "local", "directory":
	default:
		return keysFile{}, notUnderstood(answer)
	}
	if why := facts["unknown"]; why != "" {
		return keysFile{}, fmt.Errorf("cannot ask sshd where it looks for keys (sshd -T): %s", sshclient.Shorten(strings.TrimSpace(why)))
	}
	uid, err := parseID(facts["uid"])
	if err != nil {
		return keysFile{}, fmt.Errorf("its uid is not a valid number: %w", err)
	}
	home := facts["home"]
	if !strings.HasPrefix(home, "/") {
		return keysFile{}, fmt.Errorf("the user has no home directory (%.200q)", home)
	}
	if err := checkFact("home directory", home); err != nil {
		return keysFile{}, err
	}
	patterns := strings.Fields(facts["authorizedkeysfile"])
	if len(patterns) == 0 {
		patterns = []string{defaultKeysFile}
	}
	return chooseKeysFile(username, uid, home, patterns)
}

const defaultKeysFile = ".ssh/authorized_keys"

// errNoUser is also ErrNotFound.
var errNoUser = fmt.Errorf("the user was %w on the host: stitch_ssh_user can create it", ErrNotFound)

// chooseKeysFile returns the first of sshd's files (AuthorizedKeysFile) that is in the home
// directory. A file elsewhere belongs to root, and is not edited.
func chooseKeysFile(username string, uid int64, home string, patterns []string) (keysFile, error) {
	home = path.Clean(home)
	tokens := strings.NewReplacer("%%", "%", "%h", home, "%u", username, "%U", strconv.FormatInt(uid, 10))
	for _, pattern := range patterns {
		name := tokens.Replace(pattern)
		if !path.IsAbs(name) {
			name = path.Join(home, name)
		}
		name = path.Clean(name)
		inside, ok := strings.CutPrefix(name, strings.TrimSuffix(home, "/")+"/")
		if !ok || pattern == "none" {
			continue
		}
		directory, file := path.Split(inside)
		return keysFile{username: username, home: home, directory: strings.TrimSuffix(directory, "/"), name: file}, nil
	}
	if strings.EqualFold(patterns[0], "none") {
		return keysFile{}, fmt.Errorf("sshd reads keys of %q from no file (AuthorizedKeysFile is none in its sshd_config): set it to %s", username, defaultKeysFile)
	}
	return keysFile{}, fmt.Errorf("sshd reads keys of %q from %s (AuthorizedKeysFile in its sshd_config). This is not below the home directory %s, and the provider edits no file outside it: add %s to that setting",
		username, sshclient.Shorten(strings.Join(patterns, " ")), home, defaultKeysFile)
}

func (f keysFile) data() map[string]string {
	return map[string]string{"home": f.home, "directory": f.directory, "file": f.name}
}

func (f keysFile) read(ctx context.Context, h *sshclient.Host) (keysContent, error) {
	answer, err := h.Run(ctx, sshclient.Command{
		Script: keysReadScript + "\nenter read || { printf 'absent\\n'; exit 0; }\nlook read\nshow",
		Data:   f.data(),
		User:   f.username,
	})
	if err != nil {
		return keysContent{}, err
	}
	return parseKeysContent(string(answer))
}

// write replaces have by want and returns want, or the content that it found instead of have. If
// the connection breaks, the file shows whether it was written.
func (f keysFile) write(ctx context.Context, h *sshclient.Host, have, want keysContent) (keysContent, error) {
	data := f.data()
	data["have"] = have.sum()
	data["want"] = want.sum()
	data["content"] = base64.StdEncoding.EncodeToString([]byte(want.text))
	answer, err := h.Run(ctx, sshclient.Command{Script: keysReadScript + keysWriteScript, Data: data, User: f.username})
	var outcome *sshclient.OutcomeError
	if errors.As(err, &outcome) && ctx.Err() == nil {
		if now, failure := f.read(ctx, h); failure == nil && now.is(want) {
			return want, nil
		}
	}
	if err != nil {
		return keysContent{}, err
	}
	first, rest, _ := strings.Cut(string(answer), "\n")
	switch first {
	case "written":
		return want, nil
	case "changed":
		return parseKeysContent(rest)
	}
	return keysContent{}, notUnderstood(answer)
}

func parseKeysContent(answer string) (keysContent, error) {
	first, rest, _ := strings.Cut(answer, "\n")
	first, octal, _ := strings.Cut(first, " ")
	switch first {
	case "absent":
		return keysContent{}, nil
	case "present":
		mode, err := strconv.ParseUint(octal, 8, 16)
		if err != nil {
			return keysContent{}, fmt.Errorf("the host's answer holds no file permissions: %w", err)
		}
		text, err := base64.StdEncoding.DecodeString(rest) // which ignores line breaks
		if err != nil {
			return keysContent{}, fmt.Errorf("the host's answer is not base64: %w", err)
		}
		if len(text) > maxKeys {
			return keysContent{}, fmt.Errorf("the host's answer holds %d bytes of keys, and at most %d are allowed", len(text), maxKeys)
		}
		return keysContent{exists: true, text: string(text), mode: uint32(mode)}, nil
	}
	return keysContent{}, notUnderstood([]byte(answer))
}
