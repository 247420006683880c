package postgres

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgtest"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/sandbox"
)

// oddPasswords are those that are prepared, quoted or refused in a special way.
var oddPasswords = []string{
	"simple",
	` leading and trailing blanks `,
	`pa\ss'w"ord; DROP ROLE x; --$1 %s`,
	"tab\tand\nnewline", // control characters, but ASCII: used unchanged
	"påsswörd",
	"пароль",
	"密码",
	"½ﬁ",                     // compatibility characters, which SASLprep decomposes
	"Ⅸ\u00a0\u3000x",         // blanks that are not ASCII
	"soft\u00adhyphen",       // mapped to nothing
	"zero\u200bwidth",        // mapped to nothing by RFC 4013, to a blank by PostgreSQL
	"\u00ad",                 // nothing is left: used unchanged
	"½\u0085",                // a control character: refused, used unchanged
	"½😀",                     // not in Unicode 3.2: likewise
	"½\u05d0a",               // right to left and left to right: likewise
	"\u05d0½\u05d0",          // right to left: prepared
	unlikelyPassword,         // refused before it is normalised to something allowed
	strings.Repeat("é", 300), // longer than any padding
}

// unlikelyPassword is refused before it would be normalised to an allowed password, and so is
// used unchanged; pgx normalises it all the same, and cannot log in. Terraform's own
// normalisation (NFC) turns it into another password before the provider receives it.
const unlikelyPassword = "a\u0340"

// The verifier that we compute is the one that the server would compute, for the same salt.
func TestScramVerifierEqualsServers(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		for i, server := range verifiersOfServer(t, s, oddPasswords, scramIterations) {
			if got := verifierLike(t, server, oddPasswords[i]); got != server {
				t.Errorf("verifier of %+q\n got %s\nwant %s", oddPasswords[i], got, server)
			}
		}
	})
}

// Many characters, alone and between others. One iteration, which 16 and later allow, makes that
// quick. (All of Unicode was compared once, with 18.)
func TestScramVerifierOfAnyCharacter(t *testing.T) {
	t.Parallel()
	s := sandbox.SharedFrom(t, 16)
	var passwords []string
	for r := rune(0x80); r < 0x110000; r += 1 + r/0x800*8 {
		if r < 0xd800 || r > 0xdfff {
			passwords = append(passwords, "½"+string(r)+"x", string(r))
		}
	}
	for some := range slices.Chunk(passwords, 500) {
		for i, server := range verifiersOfServer(t, s, some, 1) {
			if got := verifierLike(t, server, some[i]); got != server {
				t.Errorf("verifier of %+q differs from the server's", some[i])
			}
		}
	}
}

// verifiersOfServer lets the server compute the verifiers.
func verifiersOfServer(t *testing.T, s *sandbox.Server, passwords []string, iterations int) []string {
	t.Helper()
	role, set := s.RoleName(t), ""
	if iterations != scramIterations {
		set = fmt.Sprintf("SET LOCAL scram_iterations = %d;", iterations)
	}
	quoted := make([]string, len(passwords))
	for i, password := range passwords {
		quoted[i] = pgclient.Literal(password)
	}
	table := "public." + role
	s.Exec(t, "postgres", fmt.Sprintf(`
		SET LOCAL password_encryption = 'scram-sha-256'; %s
		CREATE ROLE %s;
		CREATE TABLE %s (n serial, verifier text);
		DO $do$
		DECLARE password text;
		BEGIN
			FOREACH password IN ARRAY ARRAY[%s] LOOP
				EXECUTE format('ALTER ROLE %s PASSWORD %%L', password);
				INSERT INTO %s (verifier) SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = '%s';
			END LOOP;
		END $do$`, set, role, table, strings.Join(quoted, ","), role, table, role))
	t.Cleanup(func() { s.Exec(t, "postgres", "DROP TABLE "+table) })
	return s.Query(t, "postgres", "SELECT verifier FROM "+table+" ORDER BY n")
}

// verifierLike computes the verifier of a password with the salt and iterations of another
// verifier.
func verifierLike(t *testing.T, verifier, password string) string {
	t.Helper()
	var iterations int
	var rest string
	if _, err := fmt.Sscanf(verifier, "SCRAM-SHA-256$%d:%s", &iterations, &rest); err != nil {
		t.Fatalf("%q: %v", verifier, err)
	}
	salt, err := base64.StdEncoding.DecodeString(rest[:strings.IndexByte(rest, '$')])
	if err != nil {
		t.Fatal(err)
	}
	got, err := scramVerifierWith(password, salt, iterations)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A user logs in with the password that it was created with: through libpq, and through this
// package although pgx prepares passwords by newer rules (see connect).
func TestLoginWithOddPasswords(t *testing.T) {
	sandbox.EachMajor(t, func(t *testing.T, s *sandbox.Server) {
		t.Parallel()
		admin := pgtest.Server(t, pgtest.Superuser(s))
		names := map[string]string{}
		for _, password := range oddPasswords {
			name := s.RoleName(t)
			names[password] = name
			if _, err := CreateUser(t.Context(), admin, User{Name: name, Login: true, ConnectionLimit: -1}, scram(password)); err != nil {
				t.Fatal(err)
			}
			conn, err := pgtest.Server(t, pgclient.Config{Host: s.Host, Port: s.Port, Username: name, Password: password}).Acquire(t.Context(), "")
			switch {
			case err == nil:
				conn.Discard()
			case password != unlikelyPassword:
				t.Errorf("log in with %+q: %v", password, err)
			}
		}
		t.Run("psql", func(t *testing.T) {
			psql := sandbox.NeedProgram(t, "psql", "postgresql-client")
			for password, name := range names {
				cmd := exec.Command(psql, "-X", "-w", "-h", s.Host, "-p", fmt.Sprint(s.Port), "-U", name, "-d", "postgres", "-c", "SELECT 1")
				cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
				if output, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("psql with %+q: %v: %s", password, err, output)
				}
			}
		})
	})
}
