package postgres

import (
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

func TestPasswordOfAnOldServer(t *testing.T) {
	password := scram("secret")
	if _, err := password.verifier("stitch", 10); err != nil {
		t.Error(err)
	}
	if _, err := password.verifier("stitch", 9); err == nil || !strings.Contains(err.Error(), "PostgreSQL 9") {
		t.Errorf("got %v", err)
	}
	password.Encryption = MD5
	if got, err := password.verifier("stitch", 9); err != nil || got != "md5ead2ad2d4ba01a03695000bfec4d8c3c" {
		t.Errorf("got %s, %v", got, err)
	}
	password = nil
	if got, err := password.verifier("stitch", 9); err != nil || got != "" {
		t.Errorf("no password is %q, %v", got, err)
	}
}

// The server receives the verifier that it would itself compute from the password; the sandbox
// lets no user log in with it.
func TestMD5(t *testing.T) {
	sandbox.Each(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		server, name := pgtest.Server(t, pgtest.Superuser(s)), s.RoleName(t)
		seal, err := CreateUser(t.Context(), server, User{Name: name, Login: true, ConnectionLimit: -1}, &Password{Text: `½'"\`, Encryption: MD5})
		if err != nil || seal != nil {
			t.Fatal(seal, err)
		}
		verifier := s.Query(t, "postgres", rolePasswordSQL, name)[0]
		s.Exec(t, "postgres", "SET password_encryption = 'md5'; ALTER ROLE "+name+` PASSWORD E'½''"\\'`)
		if own := s.Query(t, "postgres", rolePasswordSQL, name)[0]; verifier != own {
			t.Errorf("the server computes %q, not %q", own, verifier)
		}
	})
}

func TestPasswordChanged(t *testing.T) {
	t.Parallel()
	s := sandbox.Shared(t, 0)
	server, name := pgtest.Server(t, pgtest.Superuser(s)), s.RoleName(t)
	u := User{Name: name, Login: true, ConnectionLimit: -1}
	seal, err := CreateUser(t.Context(), server, u, scram("secret"))
	if err != nil {
		t.Fatal(err)
	}
	wantChanged := func(want bool) {
		t.Helper()
		read, err := ReadUser(t.Context(), server, name)
		if err != nil || read.PasswordChanged(seal) != want {
			t.Errorf("the password changed: %t, want %t (%v)", read.PasswordChanged(seal), want, err)
		}
	}
	wantChanged(false)
	if unknown, err := UpdateUser(t.Context(), server, u, nil); unknown != nil || err != nil {
		t.Errorf("no password was sealed: %v, %v", unknown, err)
	}
	wantChanged(false)
	for _, change := range []string{"PASSWORD 'secret'", "PASSWORD NULL"} { // the same password has another salt
		s.Exec(t, "postgres", "ALTER ROLE "+name+" "+change)
		wantChanged(true)
	}
	if seal, err = UpdateUser(t.Context(), server, u, scram("secret")); err != nil {
		t.Fatal(err)
	}
	wantChanged(false)
	seal = nil
	wantChanged(false)
}
