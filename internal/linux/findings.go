package linux

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// A Finding is one result of a check.
type Finding struct {
	Summary string
	Detail  string
	Remedy  string // what to do
	Blocks  bool   // no tunnel can be opened until the remedy is done
}

// findings says what prevents a tunnel, and what was not checked.
func findings(c Check, f checkFacts) []Finding {
	if f.user == nil {
		return []Finding{{
			Summary: fmt.Sprintf("The user %q does not exist", f.username),
			Detail:  "Nothing else was checked on the host.",
			Remedy:  "Create it with stitch_ssh_user, or correct the name.",
			Blocks:  true,
		}}
	}
	all := unknownFindings(f)
	all = append(all, userFindings(f)...)
	all = append(all, pathFindings(f)...)
	all = append(all, loginFindings(f)...)
	all = append(all, forwardingFindings(c, f.sshd)...)
	if c.PublicKey != nil {
		all = append(all, keyFindings(c, f)...)
	}
	return all
}

func unknownFindings(f checkFacts) (all []Finding) {
	if !f.sshd.Known {
		all = append(all, Finding{
			Summary: "The settings of sshd were not checked",
			Detail: "They determine what a user can do (AllowTcpForwarding, DisableForwarding, PermitOpen, MaxSessions), who can log in and how (AllowUsers, AuthenticationMethods and others), and where sshd looks for keys. " +
				"They could not be read (sshd -T): " + f.sshd.Unknown + ".",
			Remedy: "Allow the login of this host's entry to become root, and set sudo = true.",
		})
	}
	if command := f.sshd.all["authorizedkeyscommand"]; f.sshd.Known && len(command) > 0 && !f.sshd.is("authorizedkeyscommand", "none") {
		all = append(all, Finding{
			Summary: "sshd asks a program for keys",
			Detail:  "Keys that AuthorizedKeysCommand prints (" + f.sshd.text("authorizedkeyscommand") + ") are accepted as well. The check did not run this program.",
			Remedy:  "Nothing needs to be done if the key is in the file as well.",
		})
	}
	return all
}

// userFindings are about the user's entries in /etc/passwd and /etc/shadow.
func userFindings(f checkFacts) (all []Finding) {
	u := f.user
	if u.Password == PasswordLocked && !f.sshd.UsePAM {
		all = append(all, Finding{
			Summary: fmt.Sprintf("The password of %q is locked with !", u.Name),
			Detail:  "Without PAM (UsePAM no), sshd refuses such a user even with a key.",
			Remedy:  fmt.Sprintf("Run usermod -p '*' %s, not passwd -u: no password matches * either.", u.Name),
			Blocks:  f.sshd.Known,
		})
	}
	if u.Expired {
		all = append(all, Finding{
			Summary: fmt.Sprintf("The account of %q expired on %s", u.Name, u.Expires),
			Detail:  "sshd refuses it.",
			Remedy:  fmt.Sprintf("Run usermod -e '' %s", u.Name),
			Blocks:  true,
		})
	}
	if u.aged && f.sshd.UsePAM {
		all = append(all, Finding{
			Summary: fmt.Sprintf("The password of %q is too old", u.Name),
			Detail:  "With PAM, sshd demands a new password at login, even from a user who logs in with a key.",
			Remedy:  fmt.Sprintf("Run chage -M -1 -d today %s, or set another password.", u.Name),
			Blocks:  true,
		})
	}
	if !u.executable {
		all = append(all, Finding{
			Summary: fmt.Sprintf("The shell of %q cannot be run", u.Name),
			Detail:  fmt.Sprintf("%q does not exist or is not a program, and sshd refuses users with such a shell.", u.Shell),
			Remedy:  "Set shell to a program that exists on the host: /bin/sh, or /usr/sbin/nologin, which permits tunnels only.",
			Blocks:  true,
		})
	}
	if f.nologin && u.UID != 0 {
		all = append(all, Finding{
			Summary: "Only root can log in",
			Detail:  "The file /etc/nologin or /run/nologin exists: the host is shutting down, starting, or under maintenance. With PAM, sshd then refuses tunnels as well.",
			Remedy:  "Wait, or remove the file.",
			Blocks:  f.sshd.UsePAM,
		})
	}
	return all
}

// pathFindings are about what StrictModes requires: the file and all directories from it up to the
// home directory belong to the user or root, and no other user may write to them.
func pathFindings(f checkFacts) (all []Finding) {
	if f.sshd.is("strictmodes", "no") {
		return nil
	}
	u := f.user
	if u.home.known && !u.home.exists {
		all = append(all, Finding{
			Summary: "The home directory is missing",
			Detail:  u.Home + " does not exist, and neither do the keys in it.",
			Remedy:  "stitch_ssh_user creates it.",
			Blocks:  true,
		})
	}
	paths := []struct {
		path  string
		facts fileFacts
	}{{u.Home, u.home}, {u.Home + "/.ssh", u.ssh}, {u.Home + "/" + defaultKeysFile, u.keys}}
	for _, p := range paths {
		if text := u.pathProblem(p.path, p.facts); text != "" {
			all = append(all, Finding{
				Summary: "sshd does not trust the keys of " + u.Name,
				Detail:  text + ", which StrictModes refuses.",
				Remedy:  fmt.Sprintf("Run chown %s %s; chmod go-w %s, or let stitch_ssh_user repair it.", u.Name, p.path, p.path),
				Blocks:  true,
			})
		}
	}
	return all
}

// loginFindings are about who may log in, and how.
func loginFindings(f checkFacts) (all []Finding) {
	s := f.sshd
	block := func(summary, detail, remedy string) {
		all = append(all, Finding{Summary: summary, Detail: detail, Remedy: remedy + " Then restart sshd.", Blocks: true})
	}
	if s.is("pubkeyauthentication", "no") {
		block("sshd accepts no keys", "PubkeyAuthentication is no.", "Set PubkeyAuthentication yes in sshd_config.")
	}
	if f.user.UID == 0 && s.is("permitrootlogin", "no") {
		block("root is not allowed to log in", "PermitRootLogin is no.", "Use another user, or set PermitRootLogin prohibit-password in sshd_config.")
	}
	if why := refusedBy(f); why != "" {
		block(fmt.Sprintf("sshd does not let %q log in", f.username), why, "Change that in sshd_config.")
	}
	if methods := s.words("authenticationmethods"); len(methods) > 0 && !slices.Contains(methods, "any") && !slices.Contains(methods, "publickey") {
		block("A key is not enough to log in", "AuthenticationMethods is "+s.text("authenticationmethods")+".",
			fmt.Sprintf("Make a key enough for this user in sshd_config: write Match User %s, and below it AuthenticationMethods publickey.", f.username))
	}
	if command := s.all["forcecommand"]; s.Known && len(command) > 0 && !s.is("forcecommand", "none") {
		all = append(all, Finding{
			Summary: "The user cannot run commands of its choice",
			Detail:  "ForceCommand is " + s.text("forcecommand") + ". Tunnels are not affected, but Terraform cannot manage keys while it is logged in as this user.",
			Remedy:  "Nothing needs to be done for a user that only opens tunnels.",
		})
	}
	if s.is("maxsessions", "0") {
		all = append(all, Finding{
			Summary: "The user cannot run commands",
			Detail:  "MaxSessions is 0. Tunnels are not affected, but Terraform cannot manage keys while it is logged in as this user.",
			Remedy:  "Nothing needs to be done for a user that only opens tunnels.",
		})
	}
	return all
}

// refusedBy says which of sshd's lists keeps a user out, in the order in which sshd reads them.
func refusedBy(f checkFacts) string {
	s := f.sshd
	matches := func(pattern string) bool { return matchUser(pattern, f.username, f.peer) }
	inGroup := func(pattern string) bool {
		return slices.ContainsFunc(f.groups, func(group string) bool { return matchPattern(pattern, group) })
	}
	groups := sshclient.Shorten(strings.Join(f.groups, " "))
	deny, allow := s.words("denyusers"), s.words("allowusers")
	denyGroups, allowGroups := s.words("denygroups"), s.words("allowgroups")
	switch {
	case slices.ContainsFunc(deny, matches):
		return "DenyUsers lists it: " + s.text("denyusers") + "."
	case len(allow) > 0 && !slices.ContainsFunc(allow, matches):
		return "AllowUsers does not list it: " + s.text("allowusers") + "."
	case slices.ContainsFunc(denyGroups, inGroup):
		return "DenyGroups lists one of its groups (" + groups + "): " + s.text("denygroups") + "."
	case len(allowGroups) > 0 && !slices.ContainsFunc(allowGroups, inGroup):
		return "AllowGroups lists none of its groups (" + groups + "): " + s.text("allowgroups") + "."
	}
	return ""
}

func forwardingFindings(c Check, s SSHD) (all []Finding) {
	block := func(detail, remedy string) {
		all = append(all, Finding{Summary: "sshd forwards no connections for the user", Detail: detail, Remedy: remedy + " in sshd_config, at least for this user (Match User), and restart sshd.", Blocks: true})
	}
	if s.DisableForwarding {
		block("DisableForwarding is yes.", "Set DisableForwarding no")
	}
	if s.AllowTCPForwarding == "no" || s.AllowTCPForwarding == "remote" {
		block("AllowTcpForwarding is "+s.AllowTCPForwarding+".", "Set AllowTcpForwarding local")
	}
	if target := net.JoinHostPort(c.Host, strconv.Itoa(c.Port)); len(s.PermitOpen) > 0 {
		if c.Host != "" && !permits(s.PermitOpen, c.Host, c.Port) {
			all = append(all, Finding{
				Summary: "sshd does not forward to " + target,
				Detail:  "PermitOpen is " + s.text("permitopen") + ". sshd compares hosts literally: localhost is not 127.0.0.1.",
				Remedy:  "Add " + target + " to PermitOpen in sshd_config, at least for this user (Match User), and restart sshd.",
				Blocks:  true,
			})
		}
		if c.Host == "" && s.PermitOpen[0] == "none" {
			block("PermitOpen is none.", "Set PermitOpen to the servers that tunnels should reach")
		}
	}
	return all
}

// permits reports whether a list of host:port permits a forward.
func permits(list []string, host string, port int) bool {
	return slices.ContainsFunc(list, func(item string) bool {
		if item == "any" {
			return true
		}
		h, p, err := splitHostPort(item)
		return err == nil && (h == host || h == "*") && (p == "*" || p == strconv.Itoa(port))
	})
}
