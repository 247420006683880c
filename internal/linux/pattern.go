package linux

import (
	"net/netip"
	"strings"
)

// matchPattern matches * with anything and ? with one character. Patterns come from hosts.
// Therefore it backtracks to the latest * only, which is enough, and takes no more time than the
// product of both lengths.
func matchPattern(pattern, text string) bool {
	star, from := -1, 0 // the latest *, and where the text begins that matches what follows it
	p := 0
	for i := 0; i < len(text); {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchUser reports whether AllowUsers and similar lists match a user who connects from an address:
// "name" or "name@address", with patterns. An unknown address matches.
func matchUser(pattern, user, peer string) bool {
	at := strings.LastIndexByte(pattern, '@')
	if at < 0 {
		return matchPattern(pattern, user)
	}
	return matchPattern(pattern[:at], user) && (peer == "" || matchAddresses(pattern[at+1:], peer))
}

// matchAddresses reports whether a list of networks and patterns matches an address. ! excludes
// some.
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

// hasHostNames reports whether a list holds patterns of names, which only a host that resolves
// addresses can compare.
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
