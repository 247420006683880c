package linux

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// An AuthorizedKey lets the holder of a private key log in as a user.
type AuthorizedKey struct {
	Username  string
	PublicKey PublicKey // including the comment of the line
	Options   []string  // for example ["restrict", "port-forwarding"]
	Problems  []string  // of a line that was read: why sshd refuses its file
}

// AddAuthorizedKey adds a line. The error is ErrExists if the key is already there, and ErrNotFound
// if the user does not exist.
func AddAuthorizedKey(ctx context.Context, h *sshclient.Host, k AuthorizedKey) error {
	err := k.check()
	if err == nil {
		err = editKeys(ctx, h, k.Username, func(content, path string) (string, error) {
			return withKey(content, path, k)
		})
	}
	return k.wrap("add", h, err)
}

// ReadAuthorizedKey finds the line of a key. ErrNotFound means that the host reported the key or
// its user as absent.
func ReadAuthorizedKey(ctx context.Context, h *sshclient.Host, username string, key PublicKey) (AuthorizedKey, error) {
	k := AuthorizedKey{Username: username, PublicKey: key}
	found, problems, err := readKey(ctx, h, username, key)
	if err != nil {
		return AuthorizedKey{}, k.wrap("read", h, err)
	}
	return AuthorizedKey{Username: username, PublicKey: found.key, Options: found.options, Problems: problems}, nil
}

// FindAuthorizedKey is ReadAuthorizedKey for a key of which only the fingerprint is known: SHA256,
// as ssh-keygen -lf shows it.
func FindAuthorizedKey(ctx context.Context, h *sshclient.Host, username, fingerprint string) (AuthorizedKey, error) {
	f, content, err := readKeys(ctx, h, username)
	if err == nil {
		for _, line := range keyLines(content.text) {
			if line.key.Fingerprint() == fingerprint {
				return ReadAuthorizedKey(ctx, h, username, line.key) // which also detects duplicates
			}
		}
		err = fmt.Errorf("%w in %s", ErrNotFound, f.path())
	}
	return AuthorizedKey{}, fmt.Errorf("find authorized key %s of user %q on SSH host %q: %w", fingerprint, username, h.Name(), err)
}

func readKey(ctx context.Context, h *sshclient.Host, username string, key PublicKey) (found *keyLine, problems []string, err error) {
	f, content, err := readKeys(ctx, h, username)
	if err != nil {
		return nil, nil, err
	}
	found, err = findKey(content.text, f.path(), key)
	if err == nil && found == nil {
		err = fmt.Errorf("%w in %s", ErrNotFound, f.path())
	}
	return found, content.problems(f.path()), err
}

func readKeys(ctx context.Context, h *sshclient.Host, username string) (f keysFile, content keysContent, err error) {
	if f, err = locateKeys(ctx, h, username); err != nil {
		return keysFile{}, keysContent{}, err
	}
	content, err = f.read(ctx, h)
	return f, content, err
}

// ChangeAuthorizedKey gives the line of a key other options, and another comment unless k has none.
func ChangeAuthorizedKey(ctx context.Context, h *sshclient.Host, k AuthorizedKey) error {
	err := k.check()
	if err == nil && slices.ContainsFunc(k.Options, isConfining) {
		err = checkNotLogin(ctx, h, k.Username, k.PublicKey)
	}
	if err == nil {
		err = editKeys(ctx, h, k.Username, func(content, path string) (string, error) {
			return withChangedKey(content, path, k)
		})
	}
	return k.wrap("change", h, err)
}

// RemoveAuthorizedKey removes the line of a key. It succeeds if the line is already gone. It
// refuses to remove the key that h is connected with.
func RemoveAuthorizedKey(ctx context.Context, h *sshclient.Host, username string, key PublicKey) error {
	err := checkNotLogin(ctx, h, username, key)
	if err == nil {
		err = editKeys(ctx, h, username, func(content, path string) (string, error) {
			return withoutKey(content, path, key)
		})
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return AuthorizedKey{Username: username, PublicKey: key}.wrap("remove", h, err)
}

// check refuses a key that would make a line that sshd ignores, or more than one line.
func (k AuthorizedKey) check() error {
	if _, err := ParsePublicKey(k.PublicKey.String()); err != nil {
		return err
	}
	return CheckOptions(k.Options)
}

func (k AuthorizedKey) wrap(verb string, h *sshclient.Host, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s authorized key %s of user %q on SSH host %q: %w", verb, k.PublicKey.Fingerprint(), k.Username, h.Name(), err)
}

// isConfining reports whether an option may keep a login from running commands.
func isConfining(option string) bool {
	name, _, _, err := splitOption(option)
	return err == nil && slices.Contains([]string{"command", "from", "expiry-time", "cert-authority"}, name)
}

// isLogin reports whether a key is the one that h is connected with.
func isLogin(ctx context.Context, h *sshclient.Host, username string, key PublicKey) (bool, error) {
	if username != h.Username() {
		return false, nil
	}
	text, err := h.LoginKey(ctx)
	line, ok := parseKeyLine(text)
	return ok && line.key.Same(key), err
}

// checkNotLogin refuses a key that h is connected with.
func checkNotLogin(ctx context.Context, h *sshclient.Host, username string, key PublicKey) error {
	is, err := isLogin(ctx, h, username, key)
	if err != nil {
		return err
	}
	if is {
		return fmt.Errorf("ssh_hosts.%s logs in with this key, and this change would lock Terraform out: let that entry log in with another key first", h.Name())
	}
	return nil
}
