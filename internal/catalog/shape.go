package catalog

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
)

// shapes holds what the schema holds after each migration: the file with a migration's number
// holds one fact a line. With STITCH_SHAPES=write, TestShapes writes the latest file.
//
//go:embed migrations/*.shape
var shapes embed.FS

// A shape is all that matters of what a schema holds, in a form that is the same on every
// major version of PostgreSQL. It leaves out names of indexes and constraints, comments,
// storage, statistics targets, publications and privileges to read.
type shape []fact

// A fact is one thing about a schema.
type fact struct {
	About string // the relation that it is about, or "" if it is about the schema
	Text  string
	Undo  string // SQL that undoes it, if that cannot lose anything
}

func (f fact) String() string { return strings.TrimPrefix(f.About+": ", ": ") + f.Text }

func compareFacts(a, b fact) int { return strings.Compare(a.String(), b.String()) }

// shapeAfter returns what the schema holds after the migration of that number.
func shapeAfter(version int) (shape, error) {
	text, err := shapes.ReadFile(fmt.Sprintf("migrations/%03d.shape", version))
	if err != nil {
		return nil, err
	}
	var s shape
	for line := range bytes.Lines(text) {
		about, text, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), ": ")
		s = append(s, fact{About: about, Text: text})
	}
	return s, nil
}

// isEmpty reports whether the schema holds nothing. Privileges on it may be granted.
func (s shape) isEmpty() bool {
	return !slices.ContainsFunc(s, func(f fact) bool { return f.Undo == "" })
}

// hasVersion reports whether reading the version runs no code. Its table is the same in every
// version.
func (s shape) hasVersion() (bool, error) {
	first, err := shapeAfter(1)
	if err != nil {
		return false, err
	}
	return s.about("version").refusal(first.about("version")) == nil, nil
}

// about returns the facts about one relation.
func (s shape) about(relation string) shape {
	return slices.DeleteFunc(slices.Clone(s), func(f fact) bool { return f.About != relation })
}

// without returns the facts that are not among others. For a relation that others do not
// have, it returns only the fact of its kind.
func (s shape) without(others shape) shape {
	return slices.DeleteFunc(slices.Clone(s), func(f fact) bool {
		isKnown := slices.ContainsFunc(others, func(o fact) bool { return o.About == f.About })
		return slices.ContainsFunc(others, func(o fact) bool { return o.About == f.About && o.Text == f.Text }) ||
			!isKnown && f.About != "" && !strings.HasPrefix(f.Text, "kind ")
	})
}

// refusal returns how a schema differs from the shape want that it must have, or nil.
func (s shape) refusal(want shape) error {
	e := &ShapeError{added: s.without(want), missing: want.without(s)}
	if len(e.added)+len(e.missing) == 0 {
		return nil
	}
	return e
}

// A ShapeError says that the schema of the catalog does not hold exactly what this provider
// makes.
type ShapeError struct{ added, missing shape }

// maxFacts is how many differences of a kind an error lists.
const maxFacts = 8

func (e *ShapeError) Error() string {
	text := "open the catalog: schema " + Schema + " differs from what this provider creates. Nothing in it was used: code that other roles put there would run with the rights of the login."
	if len(e.added) > 0 {
		text += "\nNot created by this provider:" + e.added.list()
	}
	if len(e.missing) > 0 {
		text += "\nMissing or changed:" + e.missing.list()
	}
	text += "\nUndo these changes"
	var undo []string
	for _, f := range e.added {
		if f.Undo != "" {
			undo = append(undo, f.Undo+";")
		}
	}
	if len(undo) > 0 {
		text += " (" + strings.Join(undo, " ") + ")"
	}
	return text + ". If this provider did not create the schema, rename it: ALTER SCHEMA " + Schema + " RENAME TO " + Schema + "_old"
}

func (s shape) list() string {
	var text strings.Builder
	for _, f := range s[:min(len(s), maxFacts)] {
		text.WriteString("\n  - " + f.String())
	}
	if more := len(s) - maxFacts; more > 0 {
		fmt.Fprintf(&text, "\n  - and %d more", more)
	}
	return text.String()
}

// queueShape reads, by a batch, the shape of the schema. It touches nothing in the schema: it
// reads only PostgreSQL's catalogs, and writes what they hold as text without evaluating it.
func queueShape(batch *pgx.Batch, into *shape) {
	batch.Queue(shapeSQL, Schema).Query(func(rows pgx.Rows) error {
		facts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[fact])
		if err != nil {
			return fmt.Errorf("read the contents of schema %s: %w", Schema, err)
		}
		slices.SortFunc(facts, compareFacts)
		*into = slices.Compact(facts)
		return nil
	})
}

// lockAndRead locks the catalog until the transaction ends, and then reads what the schema
// holds. Without a table of the owner to lock, it only reads. It returns ErrNoCatalog if the
// catalog was dropped in the meantime, and an error if another role's catalog has taken its
// place.
func lockAndRead(ctx context.Context, tx pgx.Tx, mode lockMode, o ownership) (s shape, err error) {
	err = retryLocked(ctx, tx, mode, func() error {
		batch := &pgx.Batch{}
		batch.Queue("SAVEPOINT stitch_catalog")
		batch.Queue(limitWaitsSQL, lockTimeout.String())
		if o.lockable {
			batch.Queue("LOCK TABLE ONLY _stitch.version IN " + string(mode) + " MODE")
		}
		batch.Queue("SELECT pg_catalog.pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace AS n WHERE n.nspname = $1", Schema).QueryRow(func(row pgx.Row) error {
			var owner string
			err := row.Scan(&owner)
			switch {
			case errors.Is(err, pgx.ErrNoRows): // without a schema, its shape is empty
				return nil
			case err == nil && owner != o.owner:
				return fmt.Errorf("schema %s belonged to %q and now belongs to %q: it was replaced in the meantime", Schema, o.owner, owner)
			}
			return err
		})
		queueShape(batch, &s)
		batch.Queue(limitWaitsSQL, waitLimit.String())
		batch.Queue("RELEASE SAVEPOINT stitch_catalog")
		err := tx.SendBatch(ctx, batch).Close()
		if err == nil {
			return nil
		}
		if _, undoErr := tx.Exec(ctx, "ROLLBACK TO SAVEPOINT stitch_catalog"); undoErr != nil {
			return errors.Join(err, undoErr)
		}
		return err
	})
	switch pgclient.Code(err) {
	case "":
		return s, err
	case pgclient.UndefinedTable, pgclient.InvalidSchemaName:
		return nil, ErrNoCatalog
	}
	return nil, fmt.Errorf("lock the catalog: %w", err)
}
