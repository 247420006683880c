package provider

import (
	"strings"
	"testing"
)

func TestCompareIdentities(t *testing.T) {
	stored := &identity{System: "1", Object: "16384"}
	live := func(system, started, object string) *identity {
		return &identity{System: system, Started: started, Object: object}
	}
	for name, tt := range map[string]struct {
		stored, before, after *identity
		want                  verdict
		says                  string
	}{
		"both answer":                    {stored, live("1", "noon", "16384"), live("1", "noon", "16384"), isSame, ""},
		"both answer, nothing is stored": {nil, live("1", "noon", "16384"), live("1", "noon", "16384"), isSame, ""},
		"neither may read the system":    {stored, live("", "noon", "16384"), live("", "noon", "16384"), isSame, ""},
		"the old one is gone":            {stored, nil, live("1", "noon", "16384"), isSame, ""},
		"a copy":                         {stored, live("1", "noon", "16384"), live("1", "one", "16384"), isOther, "one is a copy"},
		"another server":                 {stored, live("1", "noon", "16384"), live("2", "one", "16384"), isOther, "system identifier 2, not 1"},
		"another server, old one gone":   {stored, nil, live("2", "one", "16384"), isOther, "system identifier 2, not 1"},
		"no start is known":              {stored, live("1", "", "16384"), live("1", "", "16384"), isSame, ""},
		"no start, another server":       {stored, live("1", "", "16384"), live("2", "", "16384"), isOther, "system identifier 2, not 1"},
		"started again":                  {&identity{System: "1", Started: "noon", Object: "16384"}, nil, live("1", "one", "16384"), isSame, ""},
		"another key of one start":       {&identity{System: "1", Started: "noon", Object: "16384"}, nil, live("2", "noon", "16384"), isSame, ""},
		"another object":                 {stored, nil, live("1", "noon", "16999"), isOther, "oid 16999, not 16384"},
		"another object, both answer":    {stored, live("1", "noon", "16384"), live("1", "noon", "16999"), isOther, "oid 16999, not 16384"},
		"no object":                      {stored, nil, live("1", "noon", ""), isOther, "the role does not exist there"},
		"the new one does not answer":    {stored, live("1", "noon", "16384"), nil, isUnsettled, "could not be reached"},
		"nothing is known":               {nil, nil, live("1", "noon", "16384"), isUnsettled, "does not record what this resource stands for"},
		"only the new one is unreadable": {stored, nil, live("", "noon", "16384"), isUnsettled, "could not be read"},
		"only the stored is unreadable":  {&identity{Object: "16384"}, nil, live("1", "noon", "16384"), isUnsettled, "could not be read"},
		"no database":                    {stored, live("1", "noon", "16384"), &identity{}, isOther, "the database does not exist there"},
		"another database": {
			&identity{System: "1", Started: "noon", Database: "5", Object: "1/1"}, nil, &identity{System: "1", Started: "noon", Database: "6", Object: "1/1"}, isOther, "oid 6, not 5",
		},
		"another database of a server that may not be known": {
			&identity{Started: "noon", Database: "5", Object: "1/1"}, nil, &identity{Started: "one", Database: "6", Object: "1/1"}, isUnsettled, "could not be read",
		},
		"another database and server": {
			&identity{System: "1", Database: "5", Object: "1/1"}, nil, &identity{System: "2", Database: "6", Object: "1/1"}, isOther, "system identifier 2, not 1",
		},
		"another row": {
			&identity{System: "1", Database: "5", Object: "1/1"}, nil, &identity{System: "1", Database: "5", Object: "1/2"}, isOther, "oid 1/2, not 1/1",
		},
	} {
		got, why := compareIdentities(tt.stored, tt.before, tt.after, placeWords{system: "system identifier", object: "role", number: "oid"})
		if got != tt.want || !strings.Contains(why, tt.says) || (tt.says == "") != (why == "") {
			t.Errorf("%s: %v %q, want %v %q", name, got, why, tt.want, tt.says)
		}
	}
}
