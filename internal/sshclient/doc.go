// Package sshclient reaches Linux hosts over SSH: it runs commands on them, and
// reaches PostgreSQL servers through them.
//
// What it guarantees, and where:
//
//   - A host's key is always verified, against keys that were pinned or a
//     known_hosts file, and the host is asked for a key of those kinds (hostkey.go).
//     Each jump host has keys of its own.
//   - Nothing waits without end: to connect, with all jump hosts, has one deadline
//     (dial.go); so have opening a session, starting a shell and running a command
//     (run.go, session.go); a host that falls silent is noticed within 15 seconds, which
//     ends all that waits for it, and one that answers nothing within minutes
//     (connection.go).
//   - A host may send anything. Before the login it may send 8 MiB (connection.go), of
//     a command's output 8 MiB are kept (session.go), and errors quote no more than
//     a screen of what it says (said.go). Neither a message that is malformed nor
//     one that is missing stops the provider.
//   - Only what has surely not begun is tried again: connecting, until the host has
//     proved who it is (dial.go). A login that was refused is not repeated, as hosts
//     count those. Nor is a command whose connection breaks: its error says that
//     the outcome is not known (run.go).
//   - What a command wrote counts only if it is whole, from mark to mark; what login
//     shells say is not part of it (program.go).
//   - A password is sent where it is asked for, once, and nowhere else: that of the login
//     to the host that is being logged in to (login.go), that of sudo to the sudo that
//     this package started (session.go). The host cannot be told from its sudo.
//   - Commands are constant programs. Data reaches them on standard input, quoted
//     in one place (program.go): it is in no command line, neither here nor there.
//   - Commands share one connection per host, and few sessions of it at a time
//     (run.go). Each tunnel has a connection of its own and listens nowhere
//     (tunnel.go); what goes through it honours deadlines, and arrives whole before
//     the tunnel ends (conn.go).
//   - Errors hold no secret, and say what to do.
//
// Nothing is read from ~/.ssh or ssh_config but what a Config names.
package sshclient
