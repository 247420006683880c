package linux

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An optionRule says what sshd requires of an option.
type optionRule struct {
	negatable bool               // no-<name> exists as well
	value     func(string) error // nil: the option has no value
	once      bool               // sshd refuses a second one
}

// optionRules has the options that sshd knows (sshauthopt_parse), in lower case.
var optionRules = map[string]optionRule{
	"restrict":         {},
	"cert-authority":   {},
	"port-forwarding":  {negatable: true},
	"agent-forwarding": {negatable: true},
	"x11-forwarding":   {negatable: true},
	"pty":              {negatable: true},
	"user-rc":          {negatable: true},
	"touch-required":   {negatable: true},
	"verify-required":  {negatable: true},
	"command":          {value: anyText, once: true},
	"principals":       {value: checkPrincipals, once: true},
	"from":             {value: checkFrom, once: true},
	"expiry-time":      {value: checkExpiryTime, once: true},
	"environment":      {value: checkEnvironment},
	"permitopen":       {value: checkPermitOpen},
	"permitlisten":     {value: checkPermitListen},
	"tunnel":           {value: checkTunnel, once: true},
}

// restrictable has the options that restrict revokes.
var restrictable = []string{"port-forwarding", "agent-forwarding", "x11-forwarding", "pty", "user-rc"}

// CheckOptions refuses options of an authorized key that sshd would reject, because one bad option
// makes sshd ignore the whole line. It also refuses options that contradict each other. They are
// written as in authorized_keys: `restrict`, `permitopen="10.0.0.5:5432"`.
func CheckOptions(options []string) error {
	seen := map[string]bool{}
	for _, option := range options {
		name, value, hasValue, err := splitOption(option)
		if err == nil {
			err = checkOption(name, value, hasValue)
		}
		if err != nil {
			return fmt.Errorf("option %q: %w", option, err)
		}
		if seen[name] && (optionRules[name].once || !hasValue) {
			return fmt.Errorf("the option %s is given twice", name)
		}
		seen[name] = true
	}
	for name, rule := range optionRules {
		if rule.negatable && seen[name] && seen["no-"+name] {
			return fmt.Errorf("the options %s and no-%s contradict each other", name, name)
		}
	}
	if seen["principals"] && !seen["cert-authority"] {
		return errors.New("the option principals has an effect only together with cert-authority: without it, sshd ignores principals")
	}
	return nil
}

func checkOption(name, value string, hasValue bool) error {
	rule, known := optionRules[name]
	if positive, negated := strings.CutPrefix(name, "no-"); negated && optionRules[positive].negatable {
		known = true
	}
	switch {
	case !known:
		return fmt.Errorf("sshd does not know this option, and would ignore the key. It knows %s", strings.Join(optionNames(), ", "))
	case rule.value == nil && hasValue:
		return errors.New("it takes no value")
	case rule.value == nil:
		return nil
	case !hasValue:
		return fmt.Errorf(`it needs a value in double quotes: %s="..."`, name)
	}
	return rule.value(value)
}

func optionNames() (names []string) {
	for name, rule := range optionRules {
		if rule.negatable {
			name = "[no-]" + name
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// splitOption returns the name in lower case and the value without its quotes.
func splitOption(option string) (name, value string, hasValue bool, err error) {
	switch {
	case !utf8.ValidString(option), strings.ContainsFunc(option, unprintable):
		return "", "", false, errors.New("it holds a line break, another control character, or bytes that are not UTF-8 text")
	case option == "":
		return "", "", false, errors.New("it is empty")
	}
	name, quoted, hasValue := strings.Cut(option, "=")
	if hasValue {
		if value, err = dequote(quoted); err != nil {
			return "", "", false, err
		}
	}
	return strings.ToLower(name), value, hasValue, nil
}

// dequote reads a value as sshd does (opt_dequote): \" is a quote, and any other backslash stands
// for itself.
func dequote(quoted string) (string, error) {
	rest, ok := strings.CutPrefix(quoted, `"`)
	if !ok {
		return "", fmt.Errorf(`its value must be in double quotes: "%s"`, strings.ReplaceAll(quoted, `"`, `\"`))
	}
	var b strings.Builder
	for i := 0; i < len(rest); i++ {
		switch {
		case rest[i] == '\\' && i+1 < len(rest) && rest[i+1] == '"':
			i++
			b.WriteByte('"')
		case rest[i] == '"' && i+1 == len(rest):
			return b.String(), nil
		case rest[i] == '"':
			return "", fmt.Errorf(`text follows the closing quote: %q. Make each option an item of its own, and write a quote within a value as \"`, rest[i+1:])
		default:
			b.WriteByte(rest[i])
		}
	}
	return "", errors.New(`its closing quote is missing (\" stands for a quote within the value)`)
}

// anyText accepts everything that splitOption returns.
func anyText(string) error { return nil }

func checkPrincipals(value string) error {
	if strings.Trim(value, ", ") == "" {
		return errors.New("it names no principal")
	}
	return nil
}

var environmentName = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

func checkEnvironment(value string) error {
	name, _, ok := strings.Cut(value, "=")
	if !ok || !environmentName.MatchString(name) {
		return errors.New(`it is not of the form environment="NAME=value", with a name of letters, digits and _`)
	}
	return nil
}

// checkTunnel follows a2tun.
func checkTunnel(value string) error {
	if value == "any" {
		return nil
	}
	if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < 0 || n > 0x7ffffffd {
		return errors.New(`it is neither "any" nor the number of a tun device`)
	}
	return nil
}

// checkExpiryTime follows parse_absolute_time.
func checkExpiryTime(value string) error {
	digits := strings.TrimSuffix(value, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) != len(layout) {
			continue
		}
		if _, err := time.Parse(layout, digits); err == nil {
			return nil
		}
	}
	return errors.New("it is not of the form YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS. The time is in the time zone of the host or, with a Z at the end and OpenSSH 9.1 or later on the host, in UTC")
}

// checkPermitOpen refuses patterns as hosts: sshd compares the host literally with the one that the
// client asks for, so a pattern would match nothing.
func checkPermitOpen(value string) error {
	host, port, err := splitHostPort(value)
	switch {
	case err != nil:
		return fmt.Errorf(`it is not of the form permitopen="host:port": %w`, err)
	case strings.ContainsAny(host, "*?,"):
		return errors.New("sshd compares host names literally, and a pattern matches nothing: give each host a permitopen of its own")
	}
	return checkPort(port)
}

func checkPermitListen(value string) error {
	host, port := "*", value
	if strings.Contains(value, ":") {
		var err error
		if host, port, err = splitHostPort(value); err != nil {
			return fmt.Errorf(`it is not of the form permitlisten="[host:]port": %w`, err)
		}
	}
	if host != "*" && strings.ContainsAny(host, "*?,") {
		return errors.New("sshd compares host names literally: the host can be * or a name, but no other pattern")
	}
	return checkPort(port)
}

// splitHostPort follows hpdelim2. An IPv6 address is in brackets.
func splitHostPort(value string) (host, port string, err error) {
	if rest, bracketed := strings.CutPrefix(value, "["); bracketed {
		inside, port, ok := strings.Cut(rest, "]:")
		if _, err := netip.ParseAddr(inside); !ok || err != nil {
			return "", "", errors.New("the text in brackets is not an address, or no port follows it")
		}
		return inside, port, nil
	}
	host, port, _ = strings.Cut(value, ":")
	switch {
	case host == "":
		return "", "", errors.New("it names no host")
	case strings.Contains(port, ":"):
		return "", "", errors.New("an IPv6 address must be in brackets: [::1]:5432")
	case strings.ContainsAny(host, " /[]@"):
		return "", "", fmt.Errorf("%q is not a host", host)
	}
	return host, port, nil
}

func checkPort(port string) error {
	if port == "*" {
		return nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.HasPrefix(port, "0") {
		return fmt.Errorf("%q is not a port (1 to 65535, or * for any)", port)
	}
	return nil
}

// hostPattern is a pattern of host names or addresses.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9.:_*?-]+$`)

// checkFrom follows addr_match_list, which refuses every client if one network is not canonical.
func checkFrom(value string) error {
	positive := false
	for item := range strings.SplitSeq(value, ",") {
		pattern, negated := strings.CutPrefix(item, "!")
		positive = positive || !negated
		if strings.Contains(pattern, "/") {
			prefix, err := netip.ParsePrefix(pattern)
			if err != nil {
				return fmt.Errorf("%q is not a network such as 10.0.0.0/8", pattern)
			}
			if prefix.Masked() != prefix {
				return fmt.Errorf("the network %s has bits set beyond its prefix length, and sshd would refuse the key from every address: write %s", pattern, prefix.Masked())
			}
			continue
		}
		if !hostPattern.MatchString(pattern) {
			return fmt.Errorf("%q is neither an address, a network nor a pattern of host names. Separate items with commas, without spaces", item)
		}
	}
	if !positive {
		return errors.New("it only excludes addresses, and matches none")
	}
	return nil
}
