package linux

import (
	"net/netip"
	"strings"
)

// matchPattern: * stands for anything, ? for one character.
func matchPattern(pattern, text string) bool {
	for {
		switch {
		case pattern == "":
			return text == ""
		case pattern[0] == '*':
			pattern = strings.TrimLeft(pattern, "*")
			if pattern == "" {
				return true
			}
			for i := range len(text) {
				if matchPattern(pattern, text[i:]) {
					return true
				}
			}
			return false
		case text == "", pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
}

// matchUser reports whether AllowUsers and the like match who comes from an
// address: "name" or "name@address", with patterns. What is not known matches.
func matchUser(pattern, user, peer string) bool {
	at := strings.LastIndexByte(pattern, '@')
	if at < 0 {
		return matchPattern(pattern, user)
	}
	return matchPattern(pattern[:at], user) && (peer == "" || matchAddresses(pattern[at+1:], peer))
}

// matchAddresses reports whether a list of networks and patterns, of which ! takes
// some out, matches an address.
func matchAddresses(list, address string) bool {
	addr, err := netip.ParseAddr(address)
	found := false
	for item := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(item, "!")
		matches := matchPattern(strings.ToLower(pattern), strings.ToLower(address))
		if prefix, failure := netip.ParsePrefix(pattern); failure == nil && err == nil {
			matches = prefix.Contains(addr.Unmap())
		}
		if matches && negated {
			return false
		}
		found = found || matches
	}
	return found
}

// hasHostNames reports whether a list holds patterns of names, which only a host
// that resolves addresses can compare.
func hasHostNames(list string) bool {
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimPrefix(item, "!")
		if _, err := netip.ParsePrefix(item); err == nil {
			continue
		}
		if strings.Trim(item, "0123456789abcdefABCDEF.:*?") != "" {
			return true
		}
	}
	return false
}
