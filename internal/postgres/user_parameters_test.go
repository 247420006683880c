package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestParameterItems(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		items       []string // nil: refused
	}{
		{"search_path", `App, "App" ,"$user"`, []string{"app", "App", "$user"}},
		{"Search_Path", `"a,b","c""d"`, []string{"a,b", `c"d`}},
		{"search_path", `$user,ÄB`, []string{"$user", "Äb"}},
		{"search_path", " ", []string{""}},
		{"search_path", `""`, []string{""}},
		{"search_path", "a,", nil},
		{"search_path", ",a", nil},
		{"search_path", "a b", nil},
		{"search_path", `"a`, nil},
		{"search_path", `"a" b`, nil},
		{"session_preload_libraries", `$libdir/Auto_explain, "a b"`, []string{"$libdir/Auto_explain", "a b"}},
		{"session_preload_libraries", "", nil},
		{"datestyle", "ISO, DMY", []string{"ISO, DMY"}},
		{"work_mem", " 1MB ", []string{" 1MB "}},
		{"application_name", `a,"`, []string{`a,"`}},
	} {
		if got, err := parameterItems(tt.name, tt.value); !slices.Equal(got, tt.items) || (err == nil) != (tt.items != nil) {
			t.Errorf("%s = %s: got %q (%v), want %q", tt.name, tt.value, got, err, tt.items)
		}
	}
}

func TestParameterChanges(t *testing.T) {
	for name, tt := range map[string]struct {
		want, have map[string]string
		clauses    []string
	}{
		"not managed": {have: map[string]string{"work_mem": "1MB"}},
		"none":        {want: map[string]string{}, have: map[string]string{"work_mem": "1MB"}, clauses: []string{`RESET "work_mem"`}},
		"the same": {
			want: map[string]string{"datestyle": "ISO, DMY", "search_path": `app,"$user"`},
			have: map[string]string{"DateStyle": "ISO, DMY", "search_path": `app, "$user"`},
		},
		"others": {
			want:    map[string]string{"my.Setting": `it's \`, "search_path": `a, "B"`, "statement_timeout": "30s"},
			have:    map[string]string{"statement_timeout": "30000", "x.y": "1"},
			clauses: []string{`RESET "x"."y"`, `SET "my"."Setting" TO  E'it''s \\'`, `SET "search_path" TO 'a', 'B'`, `SET "statement_timeout" TO '30s'`},
		},
	} {
		if got := parameterChanges(tt.want, tt.have); !slices.Equal(got, tt.clauses) {
			t.Errorf("%s: got %q, want %q", name, got, tt.clauses)
		}
	}
}

func TestParametersAsWritten(t *testing.T) {
	written := map[string]string{"datestyle": "ISO, DMY", "search_path": `app,"$user"`, "work_mem": "1MB", "gone": "x"}
	have := map[string]string{"DateStyle": "ISO, DMY", "search_path": `app, "$user"`, "work_mem": "2MB", "TimeZone": "UTC"}
	want := map[string]string{"datestyle": "ISO, DMY", "search_path": `app,"$user"`, "work_mem": "2MB", "TimeZone": "UTC"}
	if got := ParametersAsWritten(have, written); !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCheckParameters(t *testing.T) {
	if err := CheckParameters([]string{"work_mem", "DateStyle", "x", "datestyle"}); err == nil || !strings.Contains(err.Error(), "same parameter") {
		t.Errorf("got %v", err)
	}
	for name, ok := range map[string]bool{
		"work_mem": true, "DateStyle": true, "my.setting": true, "a$1": true,
		"": false, ".": false, "a.": false, "1a": false, "a b": false, `a"b`: false, "a;b": false, "a\x00": false, "a\n": false,
	} {
		if err := CheckParameterName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Every major stores the meant value, with which sessions then begin, and which is not set
// again.
func TestParameters(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		server, name := pgtest.Server(t, pgtest.Superuser(s)), s.RoleName(t)
		u := User{Name: name, Login: true, ConnectionLimit: -1, Parameters: map[string]string{
			"search_path": `App, "App", "a,b" , "c""d","$user", public`, "datestyle": "SQL, DMY", "statement_timeout": "30s",
			"application_name": `it's a "\ ½`, "my.Setting": "a\nb; c", "temp_tablespaces": "", "timezone": "Europe/Berlin",
			"log_statement": "none",
		}}
		if _, err := CreateUser(t.Context(), server, u, scram("secret")); err != nil {
			t.Fatal(err)
		}
		wantStored := func() {
			t.Helper()
			read, err := ReadUser(t.Context(), server, name)
			if err != nil {
				t.Fatal(err)
			}
			if got := ParametersAsWritten(read.Parameters, u.Parameters); !maps.Equal(got, u.Parameters) {
				t.Errorf("got %q\nwant %q", got, u.Parameters)
			}
			if changes := u.changes(read, ""); changes != nil {
				t.Errorf("a second apply would run %+v", changes)
			}
		}
		wantStored()

		// Not a session of this provider, which pins some settings.
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=%s password=secret dbname=postgres sslmode=disable", s.Host, s.Port, name))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		for parameter, want := range map[string]string{
			"search_path": `app, "App", "a,b", "c""d", "$user", public`, "DateStyle": "SQL, DMY", "statement_timeout": "30s", "my.setting": "a\nb; c",
		} {
			var got string
			if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", parameter).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, want %q (%v)", parameter, got, want, err)
			}
		}

		// Set by hand, in a form that PostgreSQL allows.
		s.Exec(t, "postgres", "ALTER ROLE "+name+" SET search_path = app, other; ALTER ROLE "+name+" SET work_mem = 1024; ALTER ROLE "+name+" RESET datestyle")
		if _, err := UpdateUser(t.Context(), server, u, nil); err != nil {
			t.Fatal(err)
		}
		wantStored()
		_, err = UpdateUser(t.Context(), server, User{Name: name, Login: true, ConnectionLimit: -1, Parameters: map[string]string{"work_mem": "much"}}, nil)
		if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "work_mem"`) {
			t.Errorf("got %v", err)
		}
		wantStored()
	})
}
