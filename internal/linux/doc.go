// Package linux manages one Linux host: its users and their authorized keys, and it checks what
// keeps a tunnel from being opened.
//
// It guarantees:
//
//   - An exported function that changes something is one script, which does all of
//     it or nothing, and which finishes on the host even if the connection breaks
//     first. On failure, the script undoes what it did (user_create.sh), or it has
//     checked before it began (user_delete.sh).
//   - Scripts are constant; what they work on reaches them as data (sshclient).
//     They need a POSIX shell and the tools of Debian, the shadow package or busybox,
//     and are tested with all of these.
//   - What already exists is an error: a user, a group, a home directory, a key
//     (user_create.go, authorized_keys.go). A user or a key is taken over only if it is what
//     would be made and is unused since (user_adopt.go, authorized_key_adopt.go).
//   - Only what CreateUser made is deleted. It is recognised by its name, its uid
//     and a mark that only root can set (user.go, user_delete.sh). Its home directory goes
//     if it is empty, or on request, and never through a link or a mount.
//   - "Not found" means that the host said so. If the host could not be asked, or could
//     not tell, the error is another one (account.sh, user_read.go).
//   - An answer that makes no sense is an error, and nothing of it is kept; a quotation
//     from an answer is bounded (answer.go).
//   - No password, and no hash of one, leaves the host (account.sh).
//   - A home directory is made only in a directory that root alone may write to
//     (account.sh). Below it, the scripts act as root for three purposes only: to give a
//     directory, once entered, to its user (user_update.sh), to read modes and owners, and to
//     list and remove what the user left when it is adopted or deleted (user_adopt.sh,
//     user_delete.sh). Keys are read and written as the user they belong to, through no
//     symbolic link (keys_read.sh).
//   - An edit of authorized_keys changes one line. All other bytes stay
//     (authorized_keys.go). The new file replaces the old one atomically, under a lock, and
//     only if the old one is still the one that was read (keys_write.sh); mode, owner and
//     attributes are kept.
//   - A key or an option that would make sshd ignore the line is refused before it is
//     written (public_key.go, authorized_key_options.go).
//   - The key that Terraform is logged in with is neither removed nor confined (authorized_key.go).
//   - A check changes nothing. Pure functions compute its findings from what was read
//     (findings.go, findings_key.go), and it names what it could not check.
package linux
