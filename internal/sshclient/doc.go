// Package sshclient reaches Linux hosts over SSH: it runs commands on them, and reaches PostgreSQL
// servers through them.
//
// What it guarantees, and where:
//
//   - A host's key is always verified, against pinned keys or a known_hosts file,
//     and the host is asked for a key of those types (hostkey.go). Each jump host
//     has its own keys.
//   - No wait is unbounded. One deadline covers connecting, with all jump hosts
//     (dial.go); opening a session, starting a shell and running a command have theirs
//     (run.go, session.go). A host that falls silent is noticed within 15 seconds, which
//     ends everything that waits for it; a host that sends data but does not answer is
//     noticed within minutes (connection.go).
//   - A host may send anything. It may send 8 MiB before the login (connection.go), 8 MiB
//     of a command's output are kept (session.go), and errors quote at most a screen of
//     what it sends (said.go). Neither a malformed message nor a missing one stops the
//     provider.
//   - Only an operation that has certainly not begun is retried: connecting, until the host
//     has proved its identity (dial.go). A refused login is not repeated, because hosts
//     count those. A command whose connection breaks is not repeated either: its error says
//     that the outcome is unknown (run.go).
//   - The output of a command counts only if it is complete, from mark to mark; the output
//     of login shells is not part of it (program.go).
//   - A password is sent once, to the program that asks for it, and nowhere else: the
//     password of the login to the host of that login (login.go), the password of sudo to
//     the sudo that this package started (session.go). This package cannot distinguish the
//     host from its sudo.
//   - Commands are constant programs. Data reaches them on standard input, quoted in one
//     place (program.go): it is in no command line, neither on this machine nor on the host.
//   - Commands share one connection per host, and use few of its sessions at a time
//     (run.go). Each tunnel has its own connection and listens nowhere (tunnel.go); its
//     traffic honours deadlines, and arrives whole before the tunnel ends (conn.go).
//   - Errors hold no secret, and say what to do.
//
// Nothing is read from ~/.ssh or ssh_config except what a Config names.
package sshclient
