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

// The defaults of a Config's fields.
const (
	DefaultPort           = 22
	DefaultConnectTimeout = 10 * time.Second
)

// A Config says how to reach a host, how to verify it, and how to log in. Zero values stand for the
// defaults above.
type Config struct {
	Host                 string
	Port                 int
	Username             string
	PrivateKey           string   // OpenSSH or PEM text, or the path of a file
	PrivateKeyPassphrase string   // if PrivateKey is encrypted
	Certificate          string   // of PrivateKey or of a key of the agent: a line of text, or the path of a file
	Agent                bool     // whether to ask the agent of SSH_AUTH_SOCK
	Password             string   // of Username
	HostKeys             []string // "ssh-ed25519 AAAA...": the host has one of them
	KnownHosts           string   // the path of a known_hosts file; this or HostKeys is needed
	JumpHost             string   // the name of the host that this one is reached through, or ""
	Sudo                 bool     // whether Username becomes root by sudo
	SudoPassword         string   // the password that sudo asks for, or ""
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

// limits bound how long a host may take once it is reached.
type limits struct {
	interval time.Duration // between two keepalive requests
	answer   time.Duration // for the answer to a keepalive; the host may send the data of a tunnel first
	settle   time.Duration // for the reason of a connection's end, after that end
	shell    time.Duration // for a session, and for a shell: sudo may have to ask a directory service for its rules
	command  time.Duration // for a command that sets no limit of its own
}

func defaultLimits() limits {
	return limits{interval: 5 * time.Second, answer: 5 * time.Minute, settle: 2 * time.Second, shell: 30 * time.Second, command: 10 * time.Minute}
}

// A JumpError says that a host is reached through itself.
type JumpError struct {
	Name string   // of the host
	Way  []string // from the host back to itself
}

func (e *JumpError) Error() string {
	return fmt.Sprintf("SSH host %q would be reached through itself: %s", e.Name, strings.Join(e.Way, " -> "))
}

// CheckJumps returns a *JumpError if a host is reached through itself. It ignores jump hosts that
// are not in configs.
func CheckJumps(configs map[string]Config) error {
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		way := []string{name}
		for next := configs[name].JumpHost; next != ""; next = configs[next].JumpHost {
			way = append(way, next)
			if next == name {
				return &JumpError{Name: name, Way: way}
			}
			if len(way) > len(configs)+1 {
				break // this host leads to a circle, but is not part of it
			}
		}
	}
	return nil
}

// Hosts are the SSH hosts of one provider block.
type Hosts struct{ byName map[string]*Host }

// NewHosts prepares hosts without connecting to them. The jump host of each must be among them, and
// no host may be reached through itself (see CheckJumps).
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

// Close closes the connections that commands share. The users of tunnels close those.
func (all *Hosts) Close() { all.closeThose(func(Config) bool { return true }) }

// CloseOf closes the connections that commands share and that are logged in as a user who is about
// to be removed.
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

// A Host is one SSH host with one login. It is safe for concurrent use and connects only when
// needed.
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
	open       atomic.Int32  // the number of open sessions
	violations atomic.Int32  // how many connections ended because the host broke the protocol
	connects   chan struct{} // held by the goroutine that connects for commands

	mu         sync.Mutex
	connection *connection   // for commands; nil if there is none yet
	failure    error         // the error of connecting for planning
	login      ssh.PublicKey // the key of the latest login; nil if it was a password
	hostKey    ssh.PublicKey // with which the host proved its identity in the latest connection
}

// Name returns the host's key in the provider block.
func (h *Host) Name() string { return h.name }

// Username returns the user that commands and tunnels log in as.
func (h *Host) Username() string { return h.config.Username }

// Planning returns a view of h for Plan and Read, which shares its connection. It does not repeat a
// failed connect: later callers get the same error.
func (h *Host) Planning() *Host { return &Host{shared: h.shared, planning: true} }
