package provider

import "testing"

// The applied source is remembered until another one is applied. A restart of a source does not
// make it another one.
func TestSourceIsFound(t *testing.T) {
	is := func(system, started, database string) identity {
		return identity{System: system, Started: started, Database: database, Object: database}
	}
	applied := is("1", "noon", "5")
	for name, tt := range map[string]struct {
		before source
		now    identity
		want   identity // the remembered one
		other  bool
	}{
		"the first time":         {source{}, applied, applied, false},
		"the same":               {source{identity: applied}, applied, applied, false},
		"started again":          {source{identity: applied}, is("1", "one", "5"), is("1", "one", "5"), false},
		"another cluster":        {source{identity: applied}, is("2", "one", "5"), applied, true},
		"another database":       {source{identity: applied}, is("1", "noon", "6"), applied, true},
		"not readable any more":  {source{identity: applied}, is("", "one", "5"), is("1", "one", "5"), false},
		"back again":             {source{identity: applied, Now: &identity{System: "2"}}, applied, applied, false},
		"elsewhere, once more":   {source{identity: applied, Now: &identity{System: "2"}}, is("3", "one", "5"), applied, true},
		"readable for the first": {source{identity: is("", "noon", "5")}, is("1", "one", "5"), is("1", "one", "5"), false},
	} {
		s := tt.before
		if got := s.isFound(tt.now); got != tt.other || s.identity != tt.want || (s.Now != nil) != tt.other || tt.other && *s.Now != tt.now {
			t.Errorf("%s: %v, and %+v is remembered", name, got, s)
		}
	}
}
