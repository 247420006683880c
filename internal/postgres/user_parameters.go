package postgres

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// listParameters are those whose values are lists of names. The server quotes each name when the
// parameter is set; pg_dump knows these parameters as GUC_LIST_QUOTE. As one text, 'a, b' would
// become one name. The value says whether an unquoted name means the name in lower case.
var listParameters = map[string]bool{
	"local_preload_libraries":   false,
	"search_path":               true,
	"session_preload_libraries": false,
	"temp_tablespaces":          true,
}

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// CheckParameterName refuses text that cannot be the name of a parameter.
func CheckParameterName(name string) error {
	if !parameterName.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a parameter: valid names are statement_timeout and myapp.setting, for example", name)
	}
	return nil
}

// CheckParameterValue refuses text that no parameter of that name can have as its value. The
// server itself refuses other invalid values.
func CheckParameterValue(name, value string) error {
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("the value of %s contains a zero byte", name)
	}
	_, err := parameterItems(name, value)
	return err
}

// CheckParameters refuses names that are the same to PostgreSQL.
func CheckParameters(names []string) error {
	sorted := slices.SortedFunc(slices.Values(names), func(a, b string) int {
		return strings.Compare(strings.ToLower(a), strings.ToLower(b))
	})
	for i := 1; i < len(sorted); i++ {
		if strings.EqualFold(sorted[i-1], sorted[i]) {
			return fmt.Errorf("%s and %s are the same parameter", sorted[i-1], sorted[i])
		}
	}
	return nil
}

// parameterChanges returns the clauses of ALTER ROLE that turn have into want; none if want is
// nil.
func parameterChanges(want, have map[string]string) []string {
	if want == nil {
		return nil
	}
	var clauses []string
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, _, found := findParameter(want, name); !found {
			clauses = append(clauses, "RESET "+parameterIdent(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		_, value, found := findParameter(have, name)
		if !found || !sameParameter(name, want[name], value) {
			clauses = append(clauses, "SET "+parameterIdent(name)+" TO "+parameterLiteral(name, want[name]))
		}
	}
	return clauses
}

// ParametersAsWritten returns what the server has, in the spelling of the configuration where
// that means the same.
func ParametersAsWritten(have, written map[string]string) map[string]string {
	result := make(map[string]string, len(have))
	for name, value := range have {
		if as, text, found := findParameter(written, name); found {
			name = as
			if sameParameter(name, text, value) {
				value = text
			}
		}
		result[name] = value
	}
	return result
}

// findParameter finds a parameter by its name, in upper or lower case.
func findParameter(in map[string]string, name string) (as, value string, found bool) {
	if value, found = in[name]; found {
		return name, value, true
	}
	for as, value := range in {
		if strings.EqualFold(as, name) {
			return as, value, true
		}
	}
	return "", "", false
}

// sameParameter compares lists item by item, and everything else as text.
func sameParameter(name, a, b string) bool {
	itemsA, errA := parameterItems(name, a)
	itemsB, errB := parameterItems(name, b)
	if errA != nil || errB != nil {
		return a == b
	}
	return slices.Equal(itemsA, itemsB)
}

func parameterIdent(name string) string {
	parts := strings.Split(name, ".")
	for i, part := range parts {
		parts[i] = pgclient.Ident(part)
	}
	return strings.Join(parts, ".")
}

func parameterLiteral(name, value string) string {
	items, err := parameterItems(name, value)
	if err != nil {
		items = []string{value} // the server refuses it
	}
	for i, item := range items {
		items[i] = pgclient.Literal(item)
	}
	return strings.Join(items, ", ")
}

// parameterItems splits the value of a list as PostgreSQL does; any other value is one item. An
// empty list is one empty name, as PostgreSQL stores it: no schema or tablespace has that name,
// but PostgreSQL does look for a library of that name.
func parameterItems(name, value string) ([]string, error) {
	lowers, isList := listParameters[strings.ToLower(name)]
	switch {
	case !isList:
		return []string{value}, nil
	case strings.Trim(value, listBlanks) != "":
	case lowers:
		return []string{""}, nil
	default:
		return nil, fmt.Errorf("%s is empty. PostgreSQL would look for a library without a name and refuse every login: leave the parameter out", name)
	}
	var items []string
	for rest := value; ; {
		item, after, err := listItem(rest, lowers)
		if err != nil {
			return nil, fmt.Errorf("%s = %q is not a list of names: %w", name, value, err)
		}
		items = append(items, item)
		if after == "" {
			return items, nil
		}
		rest = after[1:] // the comma of the item
	}
}

// listItem splits off the first name of a list, which may be in double quotes. The rest is empty
// or begins with a comma.
func listItem(text string, lowers bool) (item, rest string, err error) {
	text = strings.TrimLeft(text, listBlanks)
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text, ',')
		if end < 0 {
			end = len(text)
		}
		item, rest = strings.TrimRight(text[:end], listBlanks), text[end:]
		switch {
		case item == "":
			return "", "", fmt.Errorf("a name is empty")
		case lowers && strings.ContainsAny(item, listBlanks):
			return "", "", fmt.Errorf("the name %s needs double quotes", item)
		case lowers:
			item = lowerASCII(item)
		}
		return item, rest, nil
	}
	item, rest, err = pgclient.CutName(text)
	rest = strings.TrimLeft(rest, listBlanks)
	if err == nil && rest != "" && rest[0] != ',' {
		err = fmt.Errorf("a comma is missing after %q", item)
	}
	return item, rest, err
}

// listBlanks are the characters that PostgreSQL skips between names.
const listBlanks = " \t\n\r\f\v"

// lowerASCII leaves characters outside ASCII unchanged, as PostgreSQL does in UTF8.
func lowerASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, text)
}
