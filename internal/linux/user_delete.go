package linux

import (
	"context"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// DeleteOptions say what goes with a user.
type DeleteOptions struct {
	RemoveHome bool // the home directory, if CreateUser made it and the user owns it
	Force      bool // end the processes of the user
}

// A Deletion says what was done.
type Deletion struct {
	Deleted  bool   // false: it was gone already, or Kept says why it is still there
	Kept     string // why the user was left, for a warning: nobody but its creator removes it; "" otherwise
	KeptHome string // the home directory, if it was left; "" otherwise
}

// A Process is one that runs as a user.
type Process struct {
	PID     int
	Command string // its name, as /proc has it
}

// A BusyError says that a user has processes.
type BusyError struct {
	Username  string
	Processes []Process // the first hundred
	More      int       // how many there are beyond those
}

func (e *BusyError) Error() string { return "" }

// DeleteUser removes the user called name if its uid is uid and it carries the
// mark of CreateUser. Any other is left alone: an error if the uid differs, as
// that is somebody else; Deletion.Kept if it has no mark. One that is gone is done.
func DeleteUser(ctx context.Context, h *sshclient.Host, name string, uid int64, options DeleteOptions) (Deletion, error) {
	return Deletion{}, nil
}
