// Package sshclient reaches Linux hosts over SSH: it runs commands on them, and
// reaches PostgreSQL servers through them.
//
// What it guarantees, and where:
//
//   - A host's key is always verified, against keys that were pinned or a
//     known_hosts file, and the host is asked for a key of those kinds (hostkey.go).
//     Each jump host has keys of its own.
//   - Nothing waits without end: to connect, with all jump hosts, has one deadline
//     (dial.go), and a host that falls silent is noticed within 15 seconds, which
//     ends all that waits for it (connection.go).
//   - Only what has surely not begun is tried again: connecting, until the host has
//     proved who it is (dial.go). A login that was refused is not repeated, as hosts
//     count those. Nor is a command whose connection breaks: its error says that
//     the outcome is not known (run.go).
//   - What a command wrote counts only if it is whole, from mark to mark; what login
//     shells say is not part of it (program.go).
//   - A password is sent where it is asked for, and nowhere else (login.go, session.go).
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
