package tablesync

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/pgclient"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// The source may take keys for the same that the destination tells apart: keys with a
// nondeterministic collation, of type citext, or in a composite, which arrives as its text. A
// row whose key is written otherwise at the source would be another row in the destination.
// FULL_TABLE deletes the row that is gone. Otherwise the run asks the source, by its own
// equality, which rows of the destination have a key that it now writes otherwise.

// comparedKeys is how many keys one question to the source holds: the source plans for each.
const comparedKeys = 500

// dropSuperseded deletes the rows of the destination whose key the source now writes
// otherwise, if the row that the source has was loaded. It looks for them among the rows
// whose key, as it is written, the source does not have. It returns how many it deleted.
func (s *tableSync) dropSuperseded(ctx context.Context, tx pgx.Tx, r reading, p plan, report *catalog.Report) (dropped int64, err error) {
	var places []string
	if _, err := s.compareRows(ctx, tx, r, p, false, func(place string) { places = append(places, place) }); err != nil {
		return 0, fmt.Errorf("compare the keys of %s with those of the source: %w", s.target.Name, err)
	}
	if len(places) == 0 {
		return 0, nil
	}
	for _, side := range []pgx.Tx{r.snapshot.Tx, tx} { // keys must be written in full
		if err := writeDigits(ctx, side, allDigits); err != nil {
			return 0, err
		}
	}
	var key []source.KeyColumn
	for _, c := range p.layout.KeyOf() {
		key = append(key, source.KeyColumn{Column: c.Source, Value: c.Extract})
	}
	compare, err := r.snapshot.KeyComparison(ctx, key)
	if err != nil {
		return 0, &copywire.SourceError{Err: err}
	}
	for len(places) > 0 {
		n := min(len(places), comparedKeys)
		rows, err := p.layout.KeysAt(ctx, tx, places[:n])
		if err != nil {
			return 0, fmt.Errorf("read the keys of %s: %w", s.target.Name, err)
		}
		found, err := supersededRows(ctx, r.snapshot, compare, rows)
		if isIncomparable(err) {
			report.Notes = append(slices.Clip(report.Notes), fmt.Sprintf("if the source writes a key differently than before and considers both the same, the row with the earlier key stays in the destination as well: %s", err))
			return dropped, nil
		}
		if err != nil {
			return dropped, &copywire.SourceError{Err: err}
		}
		if len(found) > 0 {
			tag, err := tx.Exec(ctx, p.layout.DeleteSupersededSQL(found), session.Unprepared)
			if err != nil {
				return 0, fmt.Errorf("delete from %s the rows whose keys the source now writes differently: %w", s.target.Name, err)
			}
			dropped += tag.RowsAffected()
		}
		places = places[n:]
	}
	return dropped, nil
}

// supersededRows returns those of the rows of the destination whose key the source writes
// otherwise, followed by the rows with the source's keys.
func supersededRows(ctx context.Context, snap *source.Snapshot, compare source.KeyComparison, rows []destination.KeyedRow) (found []destination.KeyedRow, err error) {
	keys := make([][]string, len(rows))
	for i, row := range rows {
		keys[i] = row.Key
	}
	rewritten, err := snap.WrittenOtherwise(ctx, compare, keys)
	for _, k := range rewritten {
		found = append(found, destination.KeyedRow{Place: rows[k.N].Place, Key: k.Key})
	}
	return found, err
}

// isIncomparable reports whether the source can no longer read a key of the destination,
// because its type has changed, or its login may not use the type. A run continues then.
func isIncomparable(err error) bool {
	code := pgclient.Code(err)
	return code == pgclient.InsufficientPrivilege || strings.HasPrefix(code, "22") || strings.HasPrefix(code, "23")
}
