package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/privilege"
)

// A Database is a database of a server.
type Database struct {
	Name            string
	Owner           string // "" when creating: the login; when updating: the present owner
	Encoding        string // "" for this and the next five, when creating: the template's value
	LCCollate       string
	LCCtype         string
	LocaleProvider  string // libc; since PostgreSQL 15 also icu, since 17 builtin
	ICULocale       string // "" unless the provider is icu
	BuiltinLocale   string // "" unless the provider is builtin
	ConnectionLimit int    // -1: no limit
	Comment         string // "": no comment
}

// LocaleProviders are the values of Database.LocaleProvider.
var LocaleProviders = []string{"libc", "icu", "builtin"}

// Encodings are those that a database can have.
var Encodings = []string{
	"UTF8", "SQL_ASCII",
	"EUC_CN", "EUC_JIS_2004", "EUC_JP", "EUC_KR", "EUC_TW",
	"ISO_8859_5", "ISO_8859_6", "ISO_8859_7", "ISO_8859_8", "KOI8R", "KOI8U",
	"LATIN1", "LATIN2", "LATIN3", "LATIN4", "LATIN5", "LATIN6", "LATIN7", "LATIN8", "LATIN9", "LATIN10", "MULE_INTERNAL",
	"WIN866", "WIN874", "WIN1250", "WIN1251", "WIN1252", "WIN1253", "WIN1254", "WIN1255", "WIN1256", "WIN1257", "WIN1258",
}

// IsInvalid reports whether a DROP DATABASE of it was interrupted, so that the database can only
// be dropped.
func (d Database) IsInvalid() bool { return d.ConnectionLimit == -2 }

// PostgreSQL 15 and 17 added columns, and one of them had another name at first. The query
// therefore looks up these columns by name in what the server has.
const databasesSQL = `
	SELECT d.datname,
	       pg_catalog.pg_get_userbyid(d.datdba),
	       pg_catalog.pg_encoding_to_char(d.encoding),
	       coalesce(d.datcollate::pg_catalog.text, ''),
	       coalesce(d.datctype::pg_catalog.text, ''),
	       CASE l.provider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
	       CASE l.provider WHEN 'i' THEN coalesce(l.locale, '') ELSE '' END,
	       CASE l.provider WHEN 'b' THEN coalesce(l.locale, '') ELSE '' END,
	       d.datconnlimit,
	       coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), '')
	FROM pg_catalog.pg_database AS d
	CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(d)) AS j(columns)
	CROSS JOIN LATERAL (
		SELECT j.columns ->> 'datlocprovider', coalesce(j.columns ->> 'datlocale', j.columns ->> 'daticulocale')
	) AS l(provider, locale)`

const databaseSQL = databasesSQL + `
	WHERE d.datname = $1`

// ReadDatabase returns the database called name, or ErrNotFound. In a plan, all callers share
// one reading of all databases.
func ReadDatabase(ctx context.Context, s *pgclient.Server, name string) (Database, error) {
	d, err := findDatabase(ctx, s, name)
	if pgclient.Code(err) == pgclient.InvalidCatalogName && name == s.DefaultDatabase() {
		err = pgclient.ErrNotFound // it is the database to connect to
	}
	if err != nil {
		return Database{}, fmt.Errorf("read database %q: %w", name, err)
	}
	return d, nil
}

func findDatabase(ctx context.Context, s *pgclient.Server, name string) (d Database, err error) {
	if !s.IsPlanning() {
		err = s.InTx(ctx, "", func(tx pgx.Tx) (err error) {
			d, err = database(ctx, tx, name)
			return err
		})
		return d, err
	}
	all, err := pgclient.ReadShared(ctx, s, "", func(ctx context.Context) (all map[string]Database, err error) {
		err = s.InTx(ctx, "", func(tx pgx.Tx) (err error) {
			all, err = databasesByName(ctx, tx)
			return err
		})
		return all, err
	})
	if err != nil {
		return Database{}, err
	}
	d, ok := all[name]
	if !ok {
		return Database{}, pgclient.ErrNotFound
	}
	return d, nil
}

func databasesByName(ctx context.Context, tx pgx.Tx) (map[string]Database, error) {
	rows, _ := tx.Query(ctx, databasesSQL)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Database])
	all := make(map[string]Database, len(list))
	for _, d := range list {
		all[d.Name] = d
	}
	return all, err
}

func database(ctx context.Context, tx pgx.Tx, name string) (Database, error) {
	rows, _ := tx.Query(ctx, databaseSQL, name)
	d, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Database])
	if errors.Is(err, pgx.ErrNoRows) {
		err = pgclient.ErrNotFound
	}
	return d, err
}

// UpdateDatabase changes what differs, as far as a database can be changed.
func UpdateDatabase(ctx context.Context, s *pgclient.Server, d Database) error {
	err := privilege.ChangeRights(ctx, s, maintenanceDatabase(s, d.Name), func(tx pgx.Tx) error {
		_, err := alterDatabase(ctx, tx, d)
		return err
	})
	if err != nil {
		return fmt.Errorf("update database %q: %w", d.Name, err)
	}
	return nil
}

// alterDatabase changes what differs, and returns the database as it is afterwards.
func alterDatabase(ctx context.Context, tx pgx.Tx, want Database) (Database, error) {
	have, err := database(ctx, tx, want.Name)
	if err != nil {
		return Database{}, err
	}
	if err := want.requireFixed(have); err != nil {
		return Database{}, err
	}
	sql := want.changes(have)
	if len(sql) == 0 {
		return have, nil
	}
	needed := privilege.Needs{RightsOf: []string{have.Owner}}
	if want.Owner != "" && want.Owner != have.Owner {
		needed.NewOwner, needed.CreateDB = want.Owner, true
	}
	if err := needed.Run(ctx, tx, sql...); err != nil {
		return Database{}, err
	}
	return database(ctx, tx, want.Name)
}

// changes returns the SQL that turns have into d. The owner comes last: after that change, the
// login may no longer own the database.
func (d Database) changes(have Database) []string {
	var sql []string
	if d.Comment != have.Comment {
		sql = append(sql, "COMMENT ON DATABASE "+pgclient.Ident(d.Name)+" IS "+commentLiteral(d.Comment))
	}
	if d.ConnectionLimit != have.ConnectionLimit {
		sql = append(sql, fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT %d", pgclient.Ident(d.Name), d.ConnectionLimit))
	}
	if d.Owner != "" && d.Owner != have.Owner {
		sql = append(sql, "ALTER DATABASE "+pgclient.Ident(d.Name)+" OWNER TO "+pgclient.Ident(d.Owner))
	}
	return sql
}

// commentLiteral returns the literal that a comment is set to; an empty comment becomes NULL.
func commentLiteral(comment string) string {
	if comment == "" {
		return "NULL"
	}
	return pgclient.Literal(comment)
}

// requireFixed refuses a change of what cannot be changed, and a value that the server stores in
// another form, which would show as a difference in every plan.
func (d Database) requireFixed(have Database) error {
	var lines []string
	for _, fixed := range []struct{ attribute, want, have string }{
		{"encoding", d.Encoding, have.Encoding},
		{"lc_collate", d.LCCollate, have.LCCollate},
		{"lc_ctype", d.LCCtype, have.LCCtype},
		{"locale_provider", d.LocaleProvider, have.LocaleProvider},
		{"icu_locale", d.ICULocale, have.ICULocale},
		{"builtin_locale", d.BuiltinLocale, have.BuiltinLocale},
	} {
		if fixed.want != "" && fixed.want != fixed.have {
			lines = append(lines, fmt.Sprintf("\n  %s is %q, not %q", fixed.attribute, fixed.have, fixed.want))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("the server's values differ from the configuration, and PostgreSQL cannot change them on an existing database:%s\n"+
		"If the server only spells a value differently, use its spelling in the configuration", strings.Join(lines, ""))
}

// maintenanceDatabase returns a database to connect to while the database called name ("" for the default
// one) is created, changed or dropped.
func maintenanceDatabase(s *pgclient.Server, name string) string {
	switch {
	case name != s.DefaultDatabase():
		return ""
	case name != pgclient.DefaultDatabase:
		return pgclient.DefaultDatabase
	}
	return "template1"
}
