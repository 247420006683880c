package source

import (
	"testing"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A range has one meaning for reading, comparing and continuing.
func TestKeyRange(t *testing.T) {
	t.Parallel()
	bookmark, end := "10", "20"
	all := KeyRange{Table: relation.TableName{Schema: "public", Name: "t"}, Key: Key{relation.Column{Name: "n"}, `"n"`, "integer"}}
	after := all.AfterBookmark(&bookmark, false)
	late := after.withUncommitted(uncommitted{from: "'5'::integer", condition: "unseen"})
	chunk := func(r KeyRange) KeyRange { r.UpTo = &end; return r }
	for name, tt := range map[string]struct {
		rows                    KeyRange
		where, promised, before string
		bounded                 bool
	}{
		"all":     {all, `true`, `true`, "", false},
		"nothing": {all.AfterBookmark(nil, false), `true`, `true`, "", false},
		"the first chunk": {
			chunk(all), `("n" OPERATOR(pg_catalog.<=) '20'::integer OR "n" IS NULL)`, `true`, "", false,
		},
		"after": {
			after, `"n" OPERATOR(pg_catalog.>=) '10'::integer`, `"n" OPERATOR(pg_catalog.>=) '10'::integer`,
			`("n" OPERATOR(pg_catalog.>=) '10'::integer) IS NOT TRUE`, true,
		},
		"after and uncommitted": {
			late, `("n" OPERATOR(pg_catalog.>=) '5'::integer AND ("n" OPERATOR(pg_catalog.>) '10'::integer OR unseen)) OR ("n" IS NULL AND unseen)`,
			`"n" OPERATOR(pg_catalog.>=) '5'::integer`,
			`(("n" OPERATOR(pg_catalog.>=) '5'::integer AND ("n" OPERATOR(pg_catalog.>) '10'::integer OR unseen)) OR ("n" IS NULL AND unseen)) IS NOT TRUE`, true,
		},
		"with any key": {
			late.StartingAt(""), `(true AND ("n" OPERATOR(pg_catalog.>) '10'::integer OR unseen)) OR ("n" IS NULL AND unseen)`, `true`,
			`((true AND ("n" OPERATOR(pg_catalog.>) '10'::integer OR unseen)) OR ("n" IS NULL AND unseen)) IS NOT TRUE`, false,
		},
		"the next chunk": {
			chunk(late).Next(), `("n" OPERATOR(pg_catalog.>=) '20'::integer AND ("n" OPERATOR(pg_catalog.>) '20'::integer OR false)) OR ("n" IS NULL AND false)`,
			`"n" OPERATOR(pg_catalog.>=) '20'::integer`,
			`(("n" OPERATOR(pg_catalog.>=) '20'::integer AND ("n" OPERATOR(pg_catalog.>) '20'::integer OR false)) OR ("n" IS NULL AND false)) IS NOT TRUE`, true,
		},
	} {
		if where, promised, bounded := tt.rows.where(), tt.rows.Promised(), tt.rows.IsBounded(); where != tt.where || promised != tt.promised || bounded != tt.bounded {
			t.Errorf("%s: where %s, promised %s, bounded %t", name, where, promised, bounded)
		}
		if tt.before != "" && tt.rows.Before(false) != tt.before {
			t.Errorf("%s: before %s", name, tt.rows.Before(false))
		}
	}
}
