package linux

// CheckOptions refuses options of an authorized key that some sshd would
// reject, for one bad option makes it ignore the whole line. They are written as
// in authorized_keys: `restrict`, `permitopen="10.0.0.5:5432"`.
func CheckOptions(options []string) error { return nil }

// SameOptions reports whether sshd takes both to mean the same: upper and lower
// case of names, and the order of those that do not depend on it, do not matter.
func SameOptions(a, b []string) bool { return false }
