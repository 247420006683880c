package postgres

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestCheckValidUntil(t *testing.T) {
	for text, ok := range map[string]bool{
		"infinity": true, "2030-01-31T12:00:00Z": true, "2030-01-31T12:00:00.123456+05:30": true, "9999-12-31T23:59:59Z": true,
		"": false, "Infinity": false, "-infinity": false, "tomorrow": false, "2030-01-31": false, "2030-01-31 12:00:00Z": false,
		"2030-02-30T00:00:00Z": false, "0000-01-01T00:00:00Z": false, "9999-12-31T23:59:59-01:00": false,
		"2030-01-31T12:00:00Z'; DROP ROLE x": false, "2030-01-31T12:00:00Z\x00": false,
	} {
		if err := CheckValidUntil(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSameValidUntil(t *testing.T) {
	for _, pair := range [][2]string{
		{"", "infinity"},
		{"2030-01-31T12:00:00Z", "2030-01-31T13:00:00+01:00"},
		{"2030-01-31T12:00:00Z", "2030-01-31T12:00:00.0000001Z"},
		{"-infinity", "-infinity"},
	} {
		if !SameValidUntil(pair[0], pair[1]) {
			t.Errorf("%q differ", pair)
		}
	}
	for _, pair := range [][2]string{
		{"", "2030-01-31T12:00:00Z"}, {"-infinity", "infinity"}, {"2030-01-31T12:00:00Z", "2030-01-31T12:00:00+01:00"},
		{"2030-01-31T12:00:00Z", "2030-01-31T12:00:00.000001Z"},
	} {
		if SameValidUntil(pair[0], pair[1]) {
			t.Errorf("%q are the same", pair)
		}
	}
}

// What is written is read back unchanged, whatever the server's time zone and DateStyle.
func TestValidUntil(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		config := pgtest.Administrator(t, s)
		s.Exec(t, "postgres", "ALTER ROLE "+config.Username+" SET DateStyle = 'SQL, DMY'; ALTER ROLE "+config.Username+" SET TimeZone = 'Asia/Kolkata'")
		server, name := pgtest.Server(t, config), s.RoleName(t)
		u := User{Name: name, ConnectionLimit: -1}
		if _, err := CreateUser(t.Context(), server, u, nil); err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]string{
			"2030-01-02T03:04:05.123456+05:30": "2030-01-01T21:34:05.123456Z",
			"0001-01-01T00:00:00Z":             "0001-01-01T00:00:00Z",
			"9999-12-31T23:59:59Z":             "9999-12-31T23:59:59Z",
			"infinity":                         "",
			"":                                 "",
		} {
			u.ValidUntil = text
			if _, err := UpdateUser(t.Context(), server, u, nil); err != nil {
				t.Fatal(err)
			}
			if got, err := ReadUser(t.Context(), server, name); err != nil || got.ValidUntil != want || !SameValidUntil(text, got.ValidUntil) {
				t.Errorf("%q is read as %q, want %q (%v)", text, got.ValidUntil, want, err)
			}
		}
		s.Exec(t, "postgres", "ALTER ROLE "+name+" VALID UNTIL '-infinity'")
		if got, err := ReadUser(t.Context(), server, name); err != nil || got.ValidUntil != "-infinity" {
			t.Errorf("got %q (%v)", got.ValidUntil, err)
		}
	})
}
