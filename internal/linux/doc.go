// Package linux speaks to one Linux host: users, their authorized keys, and what
// keeps a tunnel from being opened.
//
// It guarantees:
//
//   - An exported function that changes something is one script, which does all of
//     it or nothing, and ends on the host even if the connection does not last that
//     long. What it cannot do is undone (user_create.sh), or was not begun
//     (user_delete.sh).
//   - Scripts are constant; what they work on reaches them as data (sshclient).
//     They need a POSIX shell and what Debian, the shadow tools or busybox bring
//     along, and are tested against all of these.
//   - What exists already is an error: a user, a group, a home directory, a key
//     (user_create.go, authorized_keys.go). A user or a key is taken over only if it is what
//     would be made and nothing has become of it (user_adopt.go, authorized_key_adopt.go).
//   - Only what CreateUser made is deleted. It is recognised by its name, its uid
//     and a mark that only root can set (user.go, user_delete.sh). Its home directory goes
//     if it is empty, or on request, and never through a link or a mount.
//   - "Not found" means that the host said so; that it could not be asked, or could
//     not tell, is another error (account.sh, user_read.go).
//   - An answer that makes no sense is an error, and nothing of it is kept; what is
//     quoted of one is bounded (answer.go).
//   - No password, and no hash of one, leaves the host (account.sh).
//   - A home directory is made only in a directory that nobody but root may write to
//     (account.sh). Below it nothing is done as root but to give a directory, once entered,
//     to its user (user_update.sh), to look at modes and owners, and to list and remove what
//     the user left when it is adopted or deleted (user_adopt.sh, user_delete.sh). Keys are read and written as the user they belong
//     to, through no symbolic link (keys_read.sh).
//   - An edit of authorized_keys changes one line. All other bytes stay
//     (authorized_keys.go). The new file takes the place of the old one at once, only if that is
//     still the one that was read, and under a lock (keys_write.sh); mode, owner and
//     attributes are kept.
//   - What sshd would ignore a key for is refused before it is written (public_key.go,
//     authorized_key_options.go).
//   - The key that Terraform is logged in with is not removed, nor confined (authorized_key.go).
//   - A check changes nothing. What it finds is worked out by pure functions from what
//     was read (findings.go, findings_key.go), and it says what it could not look at.
package linux
