package linux

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

const (
	maxCreationWait = 15 * time.Second // for a script that has lost its client and is still making a user
	creationPause   = 500 * time.Millisecond
)

// AdoptUser takes over a user that CreateUser found to exist, if the user is as CreateUser makes
// it, carries the mark, and is unused since. It repairs what a crash of the host left unfinished.
// If it does not take the user over, it returns why not, one line for each reason, and changes
// nothing.
func AdoptUser(ctx context.Context, h *sshclient.Host, u NewUser) (User, []string, error) {
	adopted, refusals, err := adoptUser(ctx, h, u)
	if err != nil {
		return User{}, nil, fmt.Errorf("adopt user %q on SSH host %q: %w", u.Name, h.Name(), explain(err, u))
	}
	return adopted, refusals, nil
}

func adoptUser(ctx context.Context, h *sshclient.Host, u NewUser) (User, []string, error) {
	if err := u.check(); err != nil {
		return User{}, nil, err
	}
	found, err := readWholeUser(ctx, h, u.Name)
	if err != nil {
		return User{}, nil, err
	}
	if refusals := u.withDefaults().refusals(found); len(refusals) > 0 {
		return User{}, refusals, nil
	}
	if found.Problems() == nil {
		return found.User, nil, nil
	}
	adopted, err := updateUser(ctx, h, found.UID, u)
	return adopted, nil, err
}

// A foundUser is a user that exists, and what it has gained since it was made.
type foundUser struct {
	User
	groups []string // all that it is a member of
	files  []string // some of the files in its home directory
}

// refusals returns why an existing user is not taken over for u.
func (u NewUser) refusals(found foundUser) (lines []string) {
	switch {
	case !found.Local:
		return []string{"it comes from a directory such as LDAP, not from /etc/passwd"}
	case !found.Created:
		lines = append(lines, "this provider did not create it: its entry in /etc/passwd lacks the provider's mark")
	}
	if found.UID == 0 {
		lines = append(lines, "its uid is 0, which is root's")
	}
	for _, attribute := range []struct{ name, want, have string }{
		{"group", u.Group, found.Group},
		{"home", u.Home, found.Home},
		{"shell", u.Shell, found.Shell},
		{"comment", *u.Comment, found.Comment},
	} {
		if attribute.want != attribute.have {
			lines = append(lines, fmt.Sprintf("%s is %q, not %q", attribute.name, attribute.have, attribute.want))
		}
	}
	for _, group := range found.groups {
		if group != found.Group {
			lines = append(lines, fmt.Sprintf("it is a member of group %.100q", group))
		}
	}
	if found.Password == PasswordSet {
		lines = append(lines, "it has a password")
	}
	if found.Expires != "" {
		lines = append(lines, "it expires on "+found.Expires)
	}
	for _, file := range found.files {
		lines = append(lines, fmt.Sprintf("its home directory holds %.300q", file))
	}
	if more := len(lines) - shown; more > 0 {
		lines = append(lines[:shown], fmt.Sprintf("and %d more reasons", more))
	}
	return lines
}

// readWholeUser waits a moment for a user of which only a part exists: the script that makes it may
// outlive its client, and would remove what is repaired too early.
func readWholeUser(ctx context.Context, h *sshclient.Host, name string) (foundUser, error) {
	for began := time.Now(); ; {
		answer, err := h.Run(ctx, sshclient.Command{
			Script: accountScript + userAdoptScript,
			Data:   map[string]string{"name": name},
		})
		if err != nil {
			return foundUser{}, err
		}
		found, err := parseFoundUser(name, answer)
		isWhole := found.Group != "" && found.Problems() == nil
		if err != nil || !found.Created || isWhole || time.Since(began) > maxCreationWait {
			return found, err
		}
		select {
		case <-time.After(creationPause):
		case <-ctx.Done():
			return foundUser{}, ctx.Err()
		}
	}
}

func parseFoundUser(name string, answer []byte) (found foundUser, err error) {
	for line := range strings.Lines(string(answer)) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "groups "); ok {
			found.groups = strings.Fields(text)
		}
		if text, ok := strings.CutPrefix(line, "holds "); ok {
			found.files = append(found.files, strings.ToValidUTF8(text, "\uFFFD"))
		}
	}
	found.User, err = parseUser(name, answer)
	return found, err
}
