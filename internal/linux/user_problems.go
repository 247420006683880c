package linux

import "fmt"

// A repair makes sshd accept the user's keys again.
type repair struct {
	password bool // lock it in the way that sshd accepts
	expiry   bool
	age      bool
	home     bool
	ssh      bool
	keys     bool
}

// Problems says, one line for each, what about the user makes sshd refuse its keys: a locked
// password, an expiry in the past, owners and permissions that StrictModes refuses. UpdateUser
// repairs them, or says why it cannot. There are none after CreateUser.
func (u User) Problems() []string {
	_, problems := u.problems()
	return problems
}

func (u User) problems() (r repair, problems []string) {
	switch u.Password {
	case PasswordLocked:
		r.password = true
		problems = append(problems, "the password is locked with !, and sshd without PAM then refuses keys as well")
	case PasswordEmpty:
		r.password = true
		problems = append(problems, "the password is empty, and anyone may be able to log in without one")
	}
	if u.Expired {
		r.expiry = true
		problems = append(problems, "the account expired on "+u.Expires)
	}
	if u.aged && u.Password != PasswordSet { // a password that is in use is meant to age
		r.age = true
		problems = append(problems, "the unused password is too old, and sshd with PAM then asks for a new one")
	}
	if text := u.directoryProblem(u.Home, u.home); text != "" {
		r.home = true
		problems = append(problems, text)
	} else if u.home.known && !u.home.exists {
		r.home = true
		problems = append(problems, fmt.Sprintf("the home directory %s is missing", u.Home))
	}
	if text := u.directoryProblem(u.Home+"/.ssh", u.ssh); text != "" {
		r.ssh = true
		problems = append(problems, text)
	}
	if text := u.pathProblem(u.Home+"/"+defaultKeysFile, u.keys); text != "" && u.ssh.isDirectory() {
		r.keys = true
		problems = append(problems, text)
	}
	return r, problems
}

// directoryProblem is pathProblem for a directory. It leaves a symbolic link to its owner.
func (u User) directoryProblem(path string, f fileFacts) string {
	if !f.isDirectory() {
		return ""
	}
	return u.pathProblem(path, f)
}

// pathProblem says why sshd's StrictModes refuses a directory or a file, or why the user cannot
// read it; "" if neither is the case.
func (u User) pathProblem(path string, f fileFacts) string {
	mode := f.mode & 0o7777
	need := uint32(0o4)
	if f.isDirectory() {
		need = 0o1 // to enter it
	}
	switch {
	case !f.exists, f.mode&modeType == modeLink:
		return ""
	case f.uid != u.UID && f.uid != 0:
		return fmt.Sprintf("%s belongs to uid %d, not to the user", path, f.uid)
	case mode&0o022 != 0:
		return fmt.Sprintf("other users can write to %s (mode %04o)", path, mode)
	case f.uid == u.UID && u.UID != 0 && mode>>6&need != need, f.uid == 0 && u.UID != 0 && mode&need != need:
		return fmt.Sprintf("the user is not allowed to read %s (mode %04o, uid %d)", path, mode, f.uid)
	}
	return ""
}
