package linux

import (
	"slices"
	"strings"
)

// splitOptions splits the options of a line at the commas outside of quotes.
func splitOptions(text string) []string {
	if text == "" {
		return nil
	}
	var options []string
	quoted, start := false, 0
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '"':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == ',' && !quoted:
			options = append(options, text[start:i])
			start = i + 1
		}
	}
	return append(options, text[start:])
}

// joinOptions puts restrict first: it revokes what options before it allow, and a user who names
// some next to it wants them.
func joinOptions(options []string) string {
	ordered := slices.Clone(options)
	slices.SortStableFunc(ordered, func(a, b string) int {
		return rank(a) - rank(b)
	})
	return strings.Join(ordered, ",")
}

func rank(option string) int {
	if strings.EqualFold(option, "restrict") {
		return 0
	}
	return 1
}

// SameOptions reports whether both mean the same to sshd. The order, the case of names and the
// quoting of values do not matter, with one exception: restrict revokes what stands before it in
// have, the options of a line.
func SameOptions(want, have []string) bool {
	return slices.Equal(meaning(splitOptions(joinOptions(want))), meaning(have))
}

// meaning returns equal lists for options that mean the same to sshd.
func meaning(options []string) []string {
	var result []string
	for _, option := range options {
		name, quoted, hasValue := strings.Cut(option, "=")
		name = strings.ToLower(name)
		if name == "restrict" {
			result = slices.DeleteFunc(result, func(earlier string) bool { return slices.Contains(restrictable, earlier) })
		}
		if hasValue {
			if value, err := dequote(quoted); err == nil {
				quoted = value
			}
			name += "=" + quoted
		}
		result = append(result, name)
	}
	slices.Sort(result)
	return slices.Compact(result)
}
