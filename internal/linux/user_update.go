package linux

import (
	"context"
	"fmt"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// UpdateUser changes what differs from u in the user called u.Name, whose uid is uid, and repairs
// what Problems lists. A value of "" or nil in u stays unchanged, and so does a password that is
// set. UpdateUser moves no file when Home changes: it makes the new directory if it does not exist,
// and an existing one must belong to the user. The contents of the old one, authorized keys
// included, stay there.
func UpdateUser(ctx context.Context, h *sshclient.Host, uid int64, u NewUser) (User, error) {
	updated, err := updateUser(ctx, h, uid, u)
	if err != nil {
		return User{}, fmt.Errorf("update user %q on SSH host %q: %w", u.Name, h.Name(), explain(err, u))
	}
	return updated, nil
}

func updateUser(ctx context.Context, h *sshclient.Host, uid int64, u NewUser) (User, error) {
	if err := checkLogin(u.Name); err != nil { // an imported user may have any name
		return User{}, err
	}
	named := u
	named.Name = "any"
	if err := named.check(); err != nil {
		return User{}, err
	}
	have, err := readUser(ctx, h, u.Name)
	if err != nil {
		return User{}, err
	}
	changes, differs := u.changes(have)
	if have.UID == uid && !differs {
		return have, nil
	}
	changes["name"] = u.Name
	changes["have_uid"] = fmt.Sprint(uid)
	answer, err := h.Run(ctx, sshclient.Command{Script: accountScript + userUpdateScript, Data: changes})
	if err != nil {
		return User{}, err
	}
	return parseUser(u.Name, answer)
}

// changes returns what user_update.sh must change, with "" for what stays unchanged, and whether
// there is any change.
func (u NewUser) changes(have User) (data map[string]string, differs bool) {
	data = map[string]string{"want_gecos": ""}
	set := func(key, value string, changed bool) {
		data[key] = ""
		if changed {
			data[key], differs = value, true
		}
	}
	set("want_group", u.Group, u.Group != "" && u.Group != have.Group)
	set("want_home", u.Home, u.Home != "" && u.Home != have.Home)
	set("want_shell", u.Shell, u.Shell != "" && u.Shell != have.Shell)
	comments := u.Comment != nil && *u.Comment != have.Comment
	set("set_gecos", "yes", comments)
	if comments {
		data["want_gecos"] = gecos(*u.Comment, have.Created)
	}
	r, _ := have.problems()
	set("repair_password", "yes", r.password)
	set("repair_expiry", "yes", r.expiry)
	set("repair_age", "yes", r.age)
	set("repair_home", "yes", r.home)
	set("repair_ssh", "yes", r.ssh)
	set("repair_keys", "yes", r.keys)
	return data, differs
}
