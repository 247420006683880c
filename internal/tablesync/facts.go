package tablesync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/copywire"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/definition"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/destination"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/session"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/source"
)

// A reading holds what keeps facts true: the snapshot of the source, and the lock on the
// table of the destination.
type reading struct {
	snapshot *source.Snapshot
	lock     *destination.TargetLock
	facts    facts
}

// close releases those of the two that the reading holds.
func (r reading) close(ctx context.Context) {
	if r.snapshot != nil {
		r.snapshot.Close(ctx)
	}
	r.lock.Rollback(ctx)
}

// prepare decides what to do, and makes the destination table ready for it. It locks the
// target before it takes the snapshot, which holds back VACUUM at the source. So no wait for
// a lock on the target, except that of the merge of verified ranges, holds the snapshot for
// longer than one turn. Where the target must be changed first, prepare releases both for the
// change, reads both sides again and decides again.
func (s *tableSync) prepare(ctx context.Context, unit catalog.Unit, limit limitFunc) (reading, plan, error) {
	name, err := s.job.Definition.SourceTable(s.table)
	if err != nil {
		return reading{}, plan{}, err
	}
	if unit.Kind == "" {
		return reading{}, plan{}, errors.New(s.job.Definition.NoTable(name))
	}
	request := source.SnapshotRequest{Table: name, Kind: relation.RelationKind(unit.Kind), Limit: limit}
	for {
		lock, err := s.sessions.Destination.Lock(ctx, s.target, session.MaxLockWait)
		if err != nil {
			return reading{}, plan{}, err
		}
		snapshot, facts, p, err := s.openSnapshot(ctx, lock, request)
		if err != nil {
			lock.Rollback(ctx)
			return reading{}, p, err
		}
		sql := p.layout.AlterSQL()
		if !p.layout.Exists || sql == "" {
			return reading{snapshot, lock, facts}, p, nil
		}
		s.endSnapshot(ctx, snapshot)
		lock.Rollback(ctx)
		if err := s.alter(ctx, p, sql); err != nil {
			return reading{}, p, err
		}
	}
}

// alter makes the destination table ready for the plan. That takes a lock that readers
// conflict with, and commits alone. alter records columns whose type cannot be changed, and
// leaves them as they are.
func (s *tableSync) alter(ctx context.Context, p plan, sql string) error {
	err := s.sessions.Destination.Alter(ctx, s.target, sql)
	if err != nil && destination.CannotAlter(err) && len(p.layout.Widen) > 0 {
		for _, column := range p.layout.Widen {
			s.learned.unalterable = append(s.learned.unalterable, column.Name)
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, column := range p.layout.Add {
		s.learned.added = append(s.learned.added, column.Name)
	}
	s.noteChanges(p.changes)
	return nil
}

// openSnapshot opens the snapshot and decides. It asks for the open transactions before the
// snapshot, if the decision turns out to need them.
func (s *tableSync) openSnapshot(ctx context.Context, lock *destination.TargetLock, r source.SnapshotRequest) (*source.Snapshot, facts, plan, error) {
	var meaning map[string]string
	if lock.State.Loaded != nil {
		meaning = lock.State.Loaded.Meaning
	}
	r.Meaning = source.QuestionOf(s.selection.Method == definition.Incremental, meaning)
	if b := lock.State.Bookmark; b != nil && len(b.Horizon.Open) > 0 {
		var err error
		if r.Open, err = source.ReadOpenTransactions(ctx, s.sessions.Source.Session); err != nil {
			return nil, facts{}, plan{}, &copywire.SourceError{Err: err}
		}
	}
	for {
		snapshot, err := source.OpenSnapshot(ctx, s.sessions.Source.Session, r)
		if err != nil {
			return nil, facts{}, plan{}, &copywire.SourceError{Err: err}
		}
		facts, p, err := s.plan(ctx, snapshot, lock)
		if err == nil && (!p.needsOpenTransactions(facts) || r.Open != nil && r.Open.OID == facts.source.Table.OID) {
			return snapshot, facts, p, nil
		}
		s.endSnapshot(ctx, snapshot)
		if err != nil {
			return nil, facts, p, err
		}
		if r.Open, err = s.openTransactionsInTime(ctx, facts.source.Table, p.rows.Key, r.Limit); err != nil {
			return nil, facts, p, err
		}
	}
}

// plan decides, and asks the snapshot what the decision leaves open.
func (s *tableSync) plan(ctx context.Context, snap *source.Snapshot, lock *destination.TargetLock) (facts, plan, error) {
	f, err := s.facts(ctx, snap, lock)
	if err != nil {
		return f, plan{}, err
	}
	p, err := decide(s.selection, s.target.Name, f, s.job.Definition.Late())
	if err != nil {
		return f, p, err
	}
	if from := p.rows.From(); from != "" && f.source.Table.Kind == relation.PartitionedTable {
		constant, err := snap.Evaluate(ctx, from, p.rows.Key.SQL)
		if err != nil {
			return f, p, &copywire.SourceError{Err: err}
		}
		p.rows = p.rows.StartingAt(constant)
	}
	if len(p.unverified) > 0 && p.rows.After != nil {
		var conditions []string
		for _, c := range p.unverified {
			conditions = append(conditions, source.OtherThanDefault(c.Source, c.Extract))
		}
		holds, err := snap.HasRowsBefore(ctx, p.rows.Before(len(p.layout.Key) == 0), conditions)
		if err != nil {
			return f, p, &copywire.SourceError{Err: err}
		}
		if holds {
			p = p.readingAll("rows before the bookmark hold values in columns that were added")
		}
	}
	p, err = s.withAttached(ctx, snap, p, f)
	return f, p, err
}

// withAttached adds to the plan the rows of partitions that were attached, or attached again,
// since the bookmark was set.
func (s *tableSync) withAttached(ctx context.Context, snap *source.Snapshot, p plan, f facts) (plan, error) {
	attached := p.attached(f)
	if len(attached) == 0 {
		return p, nil
	}
	if !f.source.Storage.Readable {
		return p.readingAll("partitions were added, and the login is not allowed to read which rows are in them"), nil
	}
	condition, err := snap.PartitionCondition(ctx, attached)
	if err != nil {
		return p, &copywire.SourceError{Err: err}
	}
	holds, err := snap.HasAttachedRows(ctx, p.rows.WithAttached(condition))
	if err != nil {
		return p, &copywire.SourceError{Err: err}
	}
	if holds {
		p = p.readingAttached(condition)
	}
	return p, nil
}

// facts adds to what both sides say what follows from comparing them.
func (s *tableSync) facts(ctx context.Context, snap *source.Snapshot, lock *destination.TargetLock) (facts, error) {
	f := facts{source: snap.Facts, identity: snap.Session.Identity.String(), target: lock.State, learned: s.learned}
	if problems := s.selection.Check(s.table, f.source.Table); len(problems) > 0 {
		return f, problems[0]
	}
	var err error
	if f.money, err = fractionsOf(ctx, s.selection.Selected(f.source.Table), snap.Tx, lock.Tx); err != nil {
		return f, err
	}
	f.history, err = s.judgeHistory(ctx, snap, lock.State.Loaded)
	return f, err
}

// judgeHistory judges what has become of the history of the source since the table was
// loaded.
func (s *tableSync) judgeHistory(ctx context.Context, snap *source.Snapshot, loaded *catalog.LoadedTable) (source.Judgement, error) {
	if loaded == nil || s.selection.Method != definition.Incremental || loaded.Rows != nil && *loaded.Rows == 0 {
		return source.Judgement{}, nil
	}
	before, now, kept, older := loaded.Position, snap.Facts.Position, false, false
	if source.NeedsRows(before, now) && snap.Facts.Info.Snapshot != "" {
		rows, err := snap.RowsAt(ctx, before.Rows)
		if err != nil {
			return source.Judgement{}, &copywire.SourceError{Err: err}
		}
		kept, older = source.CompareRows(before.Rows, rows)
	}
	return source.Judge(before, now, kept, older), nil
}

// completePlan asks for what only the rows can tell: their greatest key, before they are
// read, and whether an index orders them.
func (s *tableSync) completePlan(ctx context.Context, snap *source.Snapshot, p plan) (plan, error) {
	if !p.full {
		greatest, newest, err := snap.GreatestKey(ctx, p.rows)
		if err == nil && greatest == nil && p.rows.After != nil && p.rows.After.Uncommitted != nil {
			greatest, newest, err = snap.Greatest(ctx, p.rows.Key, "true")
			if err == nil && greatest != nil {
				s.note(fmt.Sprintf("no row has the key of the bookmark, %s, or a later one: rows with any key were scanned", p.rows.After.Bookmark))
				p = p.goingBack()
			}
		}
		if err != nil {
			return p, &copywire.SourceError{Err: err}
		}
		p = p.endingAt(greatest, newest)
	}
	if !p.rows.IsBounded() && !s.dividesFirstLoad(p) { // rows with any key are scanned
		return p, nil
	}
	ordered, err := snap.PreferIndex(ctx, p.rows.Key)
	if err != nil {
		return p, &copywire.SourceError{Err: err}
	}
	return p.inOrder(ordered), nil
}

// fractionsOf asks both sides how they write money, if a column holds money.
func fractionsOf(ctx context.Context, columns []relation.Column, from, to session.Querier) (of destination.Fractions, err error) {
	within, err := moneyWithin(ctx, columns, from)
	if err != nil {
		return of, &copywire.SourceError{Err: err}
	}
	if within == "" && !slices.ContainsFunc(columns, destination.HoldsMoney) {
		return of, nil
	}
	if of.Source, err = moneyFraction(ctx, from); err != nil {
		return of, &copywire.SourceError{Err: err}
	}
	if within != "" && of.Source != pinnedFraction {
		return of, fmt.Errorf("column %q holds money within a composite or range type. Its values are loaded as text with %d decimal places, but the source writes money with %d: exclude the column, or replicate it through a view that casts the amount to numeric",
			within, pinnedFraction, of.Source)
	}
	if of.Destination, err = moneyFraction(ctx, to); err != nil {
		return of, err
	}
	for _, c := range columns {
		if of.Source != of.Destination && destination.HoldsMoney(c) && relation.Base(c.Type).Element != nil {
			return of, fmt.Errorf("column %q is an array of money, which has %d decimal places at the source and %d in the destination: exclude it, replicate it through a view as numeric, or set lc_monetary of the destination's database to a locale with as many decimal places as the source",
				c.Name, of.Source, of.Destination)
		}
	}
	return of, nil
}
