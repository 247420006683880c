package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/sshclient"
)

// A Check says what to check.
type Check struct {
	Username  string     // who will open the tunnel; "": the login of the host's entry
	PublicKey *PublicKey // the key for opening it; nil: keys are not checked
	Host      string     // where the tunnel will end, as its client will write it; "": anywhere
	Port      int
}

// A Checked is the result of a check.
type Checked struct {
	Username string
	User     *User // nil if there is none
	SSHD     SSHD
	Peer     string // the address of this machine as the host sees it; "" if the host does not report it
	Findings []Finding
}

// Blocked reports whether a finding prevents a tunnel.
func (c Checked) Blocked() bool {
	for _, f := range c.Findings {
		if f.Blocks {
			return true
		}
	}
	return false
}

// SSHD holds settings of sshd as they apply to one user and this machine, in the words of sshd -T.
// sshd -T reads them from the file: a daemon that has not restarted since may use others.
type SSHD struct {
	Known              bool     // false: sshd was not asked, and all other fields are empty
	Unknown            string   // why
	AllowTCPForwarding string   // yes, no, local, remote
	DisableForwarding  bool     //
	PermitOpen         []string // "any", "none", or host:port
	MaxSessions        int
	AuthorizedKeysFile []string
	UsePAM             bool

	all map[string][]string // every value of every setting
}

// is reports whether a setting has a value; an unknown setting has none.
func (s SSHD) is(setting, value string) bool {
	return strings.EqualFold(strings.Join(s.all[setting], " "), value)
}

// text returns the values of a setting, for people.
func (s SSHD) text(setting string) string {
	return sshclient.Shorten(strings.Join(s.words(setting), " "))
}

// words returns the values of a setting, split at blanks.
func (s SSHD) words(setting string) []string {
	return strings.Fields(strings.Join(s.all[setting], " "))
}

// checkFacts is everything from which findings are made.
type checkFacts struct {
	username string
	user     *User
	groups   []string
	nologin  bool
	sshd     SSHD
	peer     string
	keysFile string   // its path, if keys are checked
	key      *keyLine // the line of the key in question, if it is there
	keyError error    // why the file could not be read
	login    bool     // the check is connected as this user, so logging in works
}

// CheckUser checks what decides whether a user can open a tunnel. It changes nothing. Only a tunnel
// that was opened proves that one can be.
func CheckUser(ctx context.Context, h *sshclient.Host, c Check) (Checked, error) {
	c.Username = cmp.Or(c.Username, h.Username())
	f, err := checkFactsOf(ctx, h, c)
	if err != nil {
		return Checked{}, fmt.Errorf("check user %q on SSH host %q: %w", c.Username, h.Name(), err)
	}
	return Checked{Username: c.Username, User: f.user, SSHD: f.sshd, Peer: f.peer, Findings: findings(c, f)}, nil
}

func checkFactsOf(ctx context.Context, h *sshclient.Host, c Check) (checkFacts, error) {
	if err := checkLogin(c.Username); err != nil {
		return checkFacts{}, err
	}
	ends, err := connectionEnds(ctx, h)
	if err != nil {
		return checkFacts{}, err
	}
	command := sshclient.Command{Script: accountScript + keysLocateScript + checkScript, Data: ends.data(c.Username)}
	answer, err := h.Run(ctx, command)
	if isNotRoot(ctx, err) {
		command.User = h.Username()
		answer, err = h.Run(ctx, command)
	}
	if err != nil {
		return checkFacts{}, err
	}
	f, err := parseCheck(c.Username, answer)
	if err != nil {
		return checkFacts{}, err
	}
	f.peer = ends.peer
	f.login = c.Username == h.Username()
	if c.PublicKey != nil && f.user != nil {
		f.addKey(ctx, h, *c.PublicKey)
	}
	return f, ctx.Err()
}

// addKey looks for the key. A failure to read the file is a finding, too.
func (f *checkFacts) addKey(ctx context.Context, h *sshclient.Host, key PublicKey) {
	patterns := f.sshd.AuthorizedKeysFile
	if len(patterns) == 0 {
		patterns = []string{defaultKeysFile}
	}
	file, err := chooseKeysFile(f.username, f.user.UID, f.user.Home, patterns)
	var content keysContent
	if err == nil {
		f.keysFile = file.path()
		content, err = file.read(ctx, h)
	}
	if err == nil {
		f.key, err = findKey(content.text, f.keysFile, key)
	}
	f.keyError = err
}

func parseCheck(username string, answer []byte) (checkFacts, error) {
	f := checkFacts{username: username, sshd: SSHD{all: map[string][]string{}}}
	u, err := parseUser(username, answer)
	switch {
	case errors.Is(err, ErrNotFound):
		f.sshd.Unknown = "the user does not exist"
		return f, nil
	case err != nil:
		return checkFacts{}, err
	}
	f.user = &u
	for line := range strings.Lines(string(answer)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "groups":
			f.groups = strings.Fields(value)
		case "nologin":
			f.nologin = true
		case "unknown":
			f.sshd.Unknown = cmp.Or(sshclient.Shorten(strings.TrimSpace(value)), "it printed nothing")
		case "sshd":
			setting, value, _ := strings.Cut(value, " ")
			f.sshd.all[setting] = append(f.sshd.all[setting], value)
		}
	}
	s := &f.sshd
	s.Known = s.Unknown == ""
	s.AllowTCPForwarding = s.text("allowtcpforwarding")
	s.DisableForwarding = s.is("disableforwarding", "yes")
	s.PermitOpen = s.words("permitopen")
	s.MaxSessions, _ = strconv.Atoi(strings.Join(s.all["maxsessions"], ""))
	s.AuthorizedKeysFile = s.words("authorizedkeysfile")
	s.UsePAM = s.is("usepam", "yes")
	return f, nil
}
