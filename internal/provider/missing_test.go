package provider

import (
	"fmt"
	"testing"
)

// Of very many items of drift, the list names the first and counts the others.
func TestStringList(t *testing.T) {
	for n, want := range map[int]string{0: "[]", 2: `["0","1"]`, listed: "", listed + 7: ""} {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprint(i)
		}
		list := stringList(items)
		if want != "" && list.String() != want {
			t.Errorf("%d items: %s, want %s", n, list, want)
		}
		if got, most := len(list.Elements()), listed+1; got > most || n <= listed && got != n {
			t.Errorf("%d items became %d", n, got)
		}
		if n > listed && list.Elements()[listed].String() != `"and 7 more"` {
			t.Errorf("%d items end with %s", n, list.Elements()[listed])
		}
	}
}
