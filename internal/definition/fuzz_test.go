package definition

import (
	"strings"
	"testing"
)

// A derived name is allowed, and deriving a name from it changes nothing.
func FuzzSchemaNameOf(f *testing.F) {
	for _, seed := range []string{"Shop PostgreSQL", "2nd shop", "PG catalog", "İ", "ſ", strings.Repeat("K", 60)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, displayName string) {
		name, err := SchemaNameOf(displayName)
		if err != nil {
			return
		}
		if err := CheckSchemaName(name); err != nil {
			t.Errorf("%q gives %q: %v", displayName, name, err)
		}
		if again, err := SchemaNameOf(name); again != name || err != nil {
			t.Errorf("%q gives %q, which gives %q (%v)", displayName, name, again, err)
		}
	})
}
