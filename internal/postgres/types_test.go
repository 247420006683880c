package postgres

import "testing"

// Types that are made of themselves, as no server has them, are refused: whoever
// follows them would never come to an end.
func TestLinkTypes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		rows []typeRow
		ok   bool
	}{
		"nothing":                               {nil, true},
		"a domain over an array":                {[]typeRow{{oid: 1, base: 2}, {oid: 2, element: 3}, {oid: 3}}, true},
		"a base that is not there":              {[]typeRow{{oid: 1, base: 2}}, true},
		"a domain over itself":                  {[]typeRow{{oid: 1, base: 1}}, false},
		"an array of itself":                    {[]typeRow{{oid: 1, element: 1}}, false},
		"two domains over the other":            {[]typeRow{{oid: 1, base: 2}, {oid: 2, base: 1}}, false},
		"a domain over an array of that domain": {[]typeRow{{oid: 1, base: 2}, {oid: 2, element: 1}}, false},
		"a way into a circle":                   {[]typeRow{{oid: 1, base: 2}, {oid: 2, base: 3}, {oid: 3, element: 2}}, false},
		"a domain and an array at once":         {[]typeRow{{oid: 1, base: 2, element: 3}, {oid: 2}, {oid: 3, base: 1}}, false},
		"the oid that stands for none":          {[]typeRow{{oid: 0}}, false},
		"one oid twice":                         {[]typeRow{{oid: 1}, {oid: 1, base: 2}, {oid: 2, base: 1}}, false},
	} {
		types, err := linkTypes(tt.rows)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		for _, linked := range types { // or it would hang here
			for part := &linked; part != nil; {
				if part.Base != nil {
					part = part.Base
				} else {
					part = part.Element
				}
			}
		}
	}
}
