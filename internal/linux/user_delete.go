package linux

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// DeleteOptions say what goes together with a user.
type DeleteOptions struct {
	RemoveHome bool // the home directory with everything in it, if it belongs to the user
	Force      bool // end the processes of the user: TERM, and KILL after 5 seconds
}

// A Deletion says what was done.
type Deletion struct {
	Deleted  bool   // false: it was gone already, or Kept says why it is still there
	Kept     string // why the user was not deleted, for a warning; "" otherwise
	KeptHome string // why its home directory was not deleted, for a warning; "" otherwise
}

// A Process is a process that runs as a user.
type Process struct {
	PID     int
	Command string // its name, as /proc has it
}

// A BusyError says that a user has processes. Nothing was changed.
type BusyError struct {
	Username  string
	Processes []Process
}

// shown is how many processes an error lists.
const shown = 20

// removeHomeLimit bounds the time for deleting a user with all its files.
const removeHomeLimit = 6 * time.Hour

func (e *BusyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "processes run as %q:", e.Username)
	for _, p := range e.Processes[:min(len(e.Processes), shown)] {
		fmt.Fprintf(&b, " %d (%s)", p.PID, p.Command)
	}
	if more := len(e.Processes) - shown; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	b.WriteString(". End them, for instance by closing the connections through the user's tunnels. Or set terminate_processes = true and apply that: the provider then ends them")
	return b.String()
}

// DeleteUser removes the user called name if its uid is uid and it carries the mark of CreateUser.
// It does not touch any other user: a different uid is an error, because it belongs to a different
// user; if the mark is absent, Kept of the Deletion says so. It succeeds if the user is already
// gone. The home directory stays, unless it is empty or RemoveHome is set. During the deletion,
// logins as the user are refused; if the user is not deleted, they work again.
func DeleteUser(ctx context.Context, h *sshclient.Host, name string, uid int64, options DeleteOptions) (Deletion, error) {
	d, err := deleteUser(ctx, h, name, uid, options)
	if err != nil {
		return Deletion{}, fmt.Errorf("delete user %q on SSH host %q: %w", name, h.Name(), explain(err, NewUser{Name: name}))
	}
	return d, nil
}

func deleteUser(ctx context.Context, h *sshclient.Host, name string, uid int64, options DeleteOptions) (Deletion, error) {
	if err := checkLogin(name); err != nil {
		return Deletion{}, err
	}
	if name == h.Username() {
		return Deletion{}, fmt.Errorf("ssh_hosts.%s logs in as this user: log in as another user to delete it", h.Name())
	}
	data := map[string]string{"name": name, "have_uid": strconv.FormatInt(uid, 10), "mark": mark, "force": "", "remove_home": ""}
	if options.Force {
		data["force"] = "yes"
	}
	command := sshclient.Command{Script: accountScript + userDeleteScript, Data: data}
	if options.RemoveHome {
		data["remove_home"] = "yes"
		command.Limit = removeHomeLimit
	}
	answer, err := h.Run(ctx, command)
	if err != nil {
		return Deletion{}, err
	}
	return parseDeletion(name, string(answer))
}

func parseDeletion(name, answer string) (Deletion, error) {
	first, rest, _ := strings.Cut(answer, "\n")
	switch first {
	case "absent":
		return Deletion{}, nil
	case "kept":
		return Deletion{Kept: fmt.Sprintf("The user %q was imported, not created by this provider. It stays on the host: Terraform has only forgotten it. Delete it by hand if it is no longer needed", name)}, nil
	case "deleted":
		d := Deletion{Deleted: true}
		if why, kept := strings.CutPrefix(strings.TrimSuffix(rest, "\n"), "home "); kept {
			d.KeptHome = "The home directory of the deleted user " + sshclient.Shorten(why)
		}
		return d, nil
	case "busy":
		return Deletion{}, parseBusy(name, rest)
	}
	return Deletion{}, notUnderstood([]byte(answer))
}

// longestCommand is the longest name of a process that is accepted: the names in /proc are shorter.
const longestCommand = 64

func parseBusy(name, lines string) *BusyError {
	busy := &BusyError{Username: name}
	for line := range strings.Lines(lines) {
		text, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "process ")
		if !ok {
			continue
		}
		pid, command, _ := strings.Cut(text, " ")
		if n, err := strconv.Atoi(pid); err == nil {
			busy.Processes = append(busy.Processes, Process{PID: n, Command: strings.ToValidUTF8(command[:min(len(command), longestCommand)], "\uFFFD")})
		}
	}
	return busy
}
