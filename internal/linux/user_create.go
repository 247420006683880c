package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// The exit statuses of the scripts that have a meaning. Any other is an error whose text is what
// the script wrote.
const (
	statusUserExists  = 80
	statusGroupExists = 81
	statusNoGroup     = 82
	statusHomeExists  = 83
	statusNoUser      = 84
	statusOtherUser   = 85
	statusDirectory   = 86
)

// CreateUser makes a user that has no password and that sshd accepts with a key. Its home directory
// is empty, and no other user may enter it. If DeleteUser left the home directory of an earlier
// user of that name, the new user gets that directory, and the same uid. If the user already
// exists, the error is ErrExists and nothing changes. If one part cannot be made, the parts that
// were made are removed again.
func CreateUser(ctx context.Context, h *sshclient.Host, u NewUser) (User, error) {
	if err := u.check(); err != nil {
		return User{}, err
	}
	u = u.withDefaults()
	answer, err := h.Run(ctx, sshclient.Command{
		Script: accountScript + userCreateScript,
		Data: map[string]string{
			"name":       u.Name,
			"want_group": u.Group,
			"want_home":  u.Home,
			"want_shell": u.Shell,
			"want_gecos": gecos(*u.Comment, true),
		},
	})
	if err == nil {
		var made User
		made, err = parseUser(u.Name, answer)
		if taken := strings.HasPrefix(string(answer), "taken yes\n"); err == nil && taken && made.Problems() != nil {
			made, err = updateUser(ctx, h, made.UID, u) // applies to the home directory that was left
		}
		if err == nil {
			return made, nil
		}
	}
	err = explain(err, u)
	var outcome *sshclient.OutcomeError
	if errors.As(err, &outcome) {
		err = fmt.Errorf("%w. Apply again: if the user was created, the provider adopts it", err)
	}
	return User{}, fmt.Errorf("create user %q on SSH host %q: %w", u.Name, h.Name(), err)
}

// withDefaults returns how CreateUser makes a user.
func (u NewUser) withDefaults() NewUser {
	u.Group = cmp.Or(u.Group, u.Name)
	u.Home = cmp.Or(u.Home, homes+u.Name)
	u.Shell = cmp.Or(u.Shell, defaultShell)
	if u.Comment == nil {
		u.Comment = new(string)
	}
	return u
}

// explain turns the exit statuses above into errors.
func explain(err error, u NewUser) error {
	var exit *sshclient.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	switch exit.Status {
	case statusUserExists:
		return fmt.Errorf("the user %w: import it, or choose another name", ErrExists)
	case statusGroupExists:
		return fmt.Errorf("a group of that name %w: set group to that group or to another one, or choose another user name", errGroupExists)
	case statusNoGroup:
		return fmt.Errorf("the group %q does not exist: create it first, or name another group", u.Group)
	case statusHomeExists:
		return fmt.Errorf("%s already exists, perhaps left by an earlier user, and would belong to the new user: remove or rename it, or set home to another path", u.Home)
	case statusNoUser:
		return ErrNotFound
	case statusOtherUser:
		return errors.New("the user of that name now has a different uid: the original user was deleted, and another one was created. Remove the resource from the state (terraform state rm). If Terraform should manage the new user, import it")
	case statusDirectory:
		return errors.New("the user comes from a directory such as LDAP, not from /etc/passwd: change it in that directory")
	}
	return err
}

// errGroupExists is not ErrExists: importing the user would not help.
var errGroupExists = errors.New("already exists")
