package sshclient

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"
)

// Defaults of a Config's fields.
const (
	DefaultPort           = 22
	DefaultConnectTimeout = 10 * time.Second
)

// A Config says how to reach a host, how to know it, and how to log in. Zero
// values stand for the defaults above.
type Config struct {
	Host                 string
	Port                 int
	Username             string
	PrivateKey           string   // OpenSSH or PEM text, or the path of a file
	PrivateKeyPassphrase string   // if it is encrypted
	Certificate          string   // of PrivateKey or of a key of the agent: a line of text, or the path of a file
	Agent                bool     // whether the agent of SSH_AUTH_SOCK may be asked
	Password             string   // of Username
	HostKeys             []string // "ssh-ed25519 AAAA...": the host has one of them
	KnownHosts           string   // the path of a known_hosts file; this or HostKeys is needed
	JumpHost             string   // the name of the host that this one is reached through, or ""
	Sudo                 bool     // whether Username becomes root by sudo
	SudoPassword         string   // that sudo asks for, or ""
	ConnectTimeout       time.Duration
}

func (c Config) withDefaults() Config {
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = DefaultConnectTimeout
	}
	return c
}

func (c Config) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// limits bound how long a host that was reached may take.
type limits struct {
	interval time.Duration // between two questions whether it is there
	answer   time.Duration // for an answer to that: the data of a tunnel may be sent before
	settle   time.Duration // for the reason of a connection's end, after that end
	shell    time.Duration // for a session, and for a shell: sudo may have to ask a directory who may what
	command  time.Duration // for a command that names no limit of its own
}

func defaultLimits() limits {
	return limits{interval: 5 * time.Second, answer: 5 * time.Minute, settle: 2 * time.Second, shell: 30 * time.Second, command: 10 * time.Minute}
}

// A JumpError says that a host is reached through itself.
type JumpError struct {
	Name string   // of the host
	Way  []string // from it back to it
}

func (e *JumpError) Error() string {
	return fmt.Sprintf("SSH host %q would be reached through itself: %s", e.Name, strings.Join(e.Way, " -> "))
}

// CheckJumps returns a *JumpError if a host is reached through itself. Of jump
// hosts that configs does not hold nothing is said.
func CheckJumps(configs map[string]Config) error {
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		way := []string{name}
		for next := configs[name].JumpHost; next != ""; next = configs[next].JumpHost {
			way = append(way, next)
			if next == name {
				return &JumpError{Name: name, Way: way}
			}
			if len(way) > len(configs)+1 {
				break // a circle that this host leads to, but is no part of
			}
		}
	}
	return nil
}

// Hosts are the SSH hosts of one provider block.
type Hosts struct{ byName map[string]*Host }

// NewHosts prepares hosts without connecting to them. The jump host of each is
// to be among them, and none is to be reached through itself (see CheckJumps).
func NewHosts(configs map[string]Config) *Hosts {
	all := &Hosts{byName: map[string]*Host{}}
	for name, config := range configs {
		all.byName[name] = &Host{shared: &shared{
			name:     name,
			config:   config.withDefaults(),
			limits:   defaultLimits(),
			siblings: all,
			sessions: semaphore.NewWeighted(maxSessions),
			connects: make(chan struct{}, 1),
		}}
	}
	return all
}

// Host returns the host called name.
func (all *Hosts) Host(name string) (*Host, bool) {
	h, ok := all.byName[name]
	return h, ok
}

// Close closes the connections that commands share. Tunnels are closed by those who use them.
func (all *Hosts) Close() { all.closeThose(func(Config) bool { return true }) }

// CloseOf closes the connections that commands share and that log in as a user,
// who is about to be removed.
func (all *Hosts) CloseOf(username string) {
	all.closeThose(func(c Config) bool { return c.Username == username })
}

func (all *Hosts) closeThose(match func(Config) bool) {
	for _, h := range all.byName {
		if !match(h.config) {
			continue
		}
		h.mu.Lock()
		c := h.connection
		h.connection = nil
		h.mu.Unlock()
		if c != nil {
			c.close()
		}
	}
}

// A Host is one SSH host as one login sees it. It is safe for concurrent use and
// opens no connection before it needs one.
type Host struct {
	*shared
	planning bool
}

type shared struct {
	name       string
	config     Config
	limits     limits
	siblings   *Hosts
	sessions   *semaphore.Weighted
	open       atomic.Int32  // how many sessions are
	violations atomic.Int32  // how many connections ended because the host broke the protocol
	connects   chan struct{} // held by the one who connects for commands

	mu         sync.Mutex
	connection *connection   // of commands; nil if there is none yet
	failure    error         // what connecting for planning met
	login      ssh.PublicKey // that the latest connection logged in with; nil if by password
	hostKey    ssh.PublicKey // by which the host proved who it is, when it was connected to last
}

// Name is the host's key in the provider block.
func (h *Host) Name() string { return h.name }

// Username is who commands and tunnels log in as.
func (h *Host) Username() string { return h.config.Username }

// Planning returns a view of h for Plan and Read, which shares its connection. A
// connect that failed is not repeated: whoever asks later is told the same.
func (h *Host) Planning() *Host { return &Host{shared: h.shared, planning: true} }
