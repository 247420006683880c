package replication

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

func TestDecideReaders(t *testing.T) {
	right := func(kind, name string) readerRight {
		return readerRight{Reader: "r", Kind: kind, Name: name, Grantable: true}
	}
	refused := right("SCHEMA", "shop")
	refused.Grantable = false
	everybodys := refused
	everybodys.Effective = true
	for name, tt := range map[string]struct {
		lacked  []readerRight
		want    []string // statements
		refusal string
	}{
		"nothing":        {nil, nil, ""},
		"all":            {[]readerRight{right("DEFAULT", "stitch"), right("SCHEMA", "shop"), right("TABLE", "a"), right("TABLE", `b"`)}, []string{`ALTER DEFAULT PRIVILEGES IN SCHEMA "shop" GRANT SELECT ON TABLES TO "r"`, `GRANT USAGE ON SCHEMA "shop" TO "r"`, `GRANT SELECT ON TABLE "shop"."a", "shop"."b""" TO "r"`}, ""},
		"not grantable":  {[]readerRight{refused}, nil, `GRANT USAGE ON SCHEMA "shop" TO "r";`},
		"nor needed":     {[]readerRight{everybodys}, nil, ""},
		"no such reader": {[]readerRight{{Reader: "r", Kind: "ROLE", Name: "r"}}, nil, `CREATE ROLE "r"`},
	} {
		p := decideReaders("shop", tt.lacked, nil)
		if got := p.statements(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		err := p.refusal()
		if (err != nil) != (tt.refusal != "") || err != nil && !strings.Contains(pgclient.Explain(err), tt.refusal) {
			t.Errorf("%s: refusal %v, want %q", name, err, tt.refusal)
		}
	}
}

func TestReaderStatementsOfMany(t *testing.T) {
	var rights []readerRight
	for _, reader := range []string{"r", "s"} {
		for i := range 2*tablesPerGrant + 1 {
			rights = append(rights, readerRight{Reader: reader, Kind: "TABLE", Name: fmt.Sprint("t", i)})
		}
	}
	statements := readerStatements("REVOKE", "shop", rights)
	if len(statements) != 6 || !strings.HasSuffix(statements[2], `"t1000" FROM "r"`) || strings.Count(strings.Join(statements, ""), `."t`) != len(rights) {
		t.Errorf("%d statements, the third is %q", len(statements), statements[2])
	}
}
