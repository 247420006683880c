package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/terraform-stitch/terraform-provider-stitch/internal/catalog"
	"github.com/terraform-stitch/terraform-provider-stitch/internal/relation"
)

// A reading holds what keeps facts true: the snapshot of the source, and the lock on the
// table of the destination.
type reading struct {
	snapshot *snapshot
	lock     *targetLock
	facts    facts
}

// close releases those of the two that the reading holds.
func (r reading) close(ctx context.Context) {
	if r.snapshot != nil {
		r.snapshot.close(ctx)
	}
	r.lock.leave(ctx)
}

// prepare decides what to do, and makes the destination table ready for it. It locks the
// target before it takes the snapshot, which holds back VACUUM at the source. So no wait for
// a lock on the target, except that of the merge of verified ranges, holds the snapshot for
// longer than one turn. Where the target must be changed first, prepare releases both for the
// change, reads both sides again and decides again.
func (s *tableSync) prepare(ctx context.Context, unit catalog.Unit, limit limitFunc) (reading, plan, error) {
	name, err := s.job.definition.sourceTable(s.table)
	if err != nil {
		return reading{}, plan{}, err
	}
	if unit.Kind == "" {
		return reading{}, plan{}, errors.New(s.job.definition.noTable(name))
	}
	request := snapshotRequest{table: name, kind: relation.RelationKind(unit.Kind), limit: limit}
	for {
		lock, err := s.sessions.destination.lock(ctx, s.target, lockPatience)
		if err != nil {
			return reading{}, plan{}, err
		}
		snapshot, facts, p, err := s.openSnapshot(ctx, lock, request)
		if err != nil {
			lock.leave(ctx)
			return reading{}, p, err
		}
		sql := p.layout.alterSQL()
		if !p.layout.exists || sql == "" {
			return reading{snapshot, lock, facts}, p, nil
		}
		s.endSnapshot(ctx, snapshot)
		lock.leave(ctx)
		if err := s.alter(ctx, p, sql); err != nil {
			return reading{}, p, err
		}
	}
}

// alter makes the destination table ready for the plan. That takes a lock that readers
// conflict with, and commits alone. alter records columns whose type cannot be changed, and
// leaves them as they are.
func (s *tableSync) alter(ctx context.Context, p plan, sql string) error {
	err := s.sessions.destination.alter(ctx, s.target, sql)
	if err != nil && cannotAlter(err) && len(p.layout.widen) > 0 {
		for _, column := range p.layout.widen {
			s.learned.fixed = append(s.learned.fixed, column.name)
		}
		return nil
	}
	if err != nil {
		return err
	}
	for _, column := range p.layout.add {
		s.learned.added = append(s.learned.added, column.name)
	}
	s.noteChanges(p.changes)
	return nil
}

// openSnapshot opens the snapshot and decides. It asks for the open transactions before the
// snapshot, if the decision turns out to need them.
func (s *tableSync) openSnapshot(ctx context.Context, lock *targetLock, r snapshotRequest) (*snapshot, facts, plan, error) {
	var meaning map[string]string
	if lock.state.loaded != nil {
		meaning = lock.state.loaded.Meaning
	}
	r.meaning = questionOf(s.selection.Method == Incremental, meaning)
	if b := lock.state.bookmark; b != nil && len(b.Horizon.Open) > 0 {
		var err error
		if r.open, err = readOpenTransactions(ctx, s.sessions.source.session); err != nil {
			return nil, facts{}, plan{}, &sourceError{err}
		}
	}
	for {
		snapshot, err := openSnapshot(ctx, s.sessions.source.session, r)
		if err != nil {
			return nil, facts{}, plan{}, &sourceError{err}
		}
		facts, p, err := s.plan(ctx, snapshot, lock)
		if err == nil && (!p.needsOpenTransactions(facts) || r.open != nil && r.open.oid == facts.source.table.OID) {
			return snapshot, facts, p, nil
		}
		s.endSnapshot(ctx, snapshot)
		if err != nil {
			return nil, facts, p, err
		}
		if r.open, err = s.openTransactionsInTime(ctx, facts.source.table, p.rows.key, r.limit); err != nil {
			return nil, facts, p, err
		}
	}
}

// plan decides, and asks the snapshot what the decision leaves open.
func (s *tableSync) plan(ctx context.Context, snap *snapshot, lock *targetLock) (facts, plan, error) {
	f, err := s.facts(ctx, snap, lock)
	if err != nil {
		return f, plan{}, err
	}
	p, err := decide(s.selection, s.target.name, f, s.job.definition.late())
	if err != nil {
		return f, p, err
	}
	if from := p.rows.from(); from != "" && f.source.table.Kind == relation.PartitionedTable {
		constant, err := snap.constant(ctx, from, p.rows.key.sql)
		if err != nil {
			return f, p, &sourceError{err}
		}
		p.rows = p.rows.startingAt(constant)
	}
	if len(p.unverified) > 0 && p.rows.after != nil {
		var conditions []string
		for _, c := range p.unverified {
			conditions = append(conditions, otherThanDefault(c.source, c.extract))
		}
		holds, err := snap.holdsBefore(ctx, p.rows.before(len(p.layout.key) == 0), conditions)
		if err != nil {
			return f, p, &sourceError{err}
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
func (s *tableSync) withAttached(ctx context.Context, snap *snapshot, p plan, f facts) (plan, error) {
	attached := p.attached(f)
	if len(attached) == 0 {
		return p, nil
	}
	if !f.source.storage.readable {
		return p.readingAll("partitions were added, and the login may not read which rows are theirs"), nil
	}
	condition, err := snap.rowsOf(ctx, attached)
	if err != nil {
		return p, &sourceError{err}
	}
	holds, err := snap.holdsAttached(ctx, p.rows.withAttached(condition))
	if err != nil {
		return p, &sourceError{err}
	}
	if holds {
		p = p.readingAttached(condition)
	}
	return p, nil
}

// facts adds to what both sides say what follows from comparing them.
func (s *tableSync) facts(ctx context.Context, snap *snapshot, lock *targetLock) (facts, error) {
	f := facts{source: snap.facts, identity: snap.session.identity.String(), target: lock.state, learned: s.learned}
	if problems := s.selection.check(s.table, f.source.table); len(problems) > 0 {
		return f, problems[0]
	}
	var err error
	if f.money, err = fractionsOf(ctx, s.selection.selected(f.source.table), snap.tx, lock.tx); err != nil {
		return f, err
	}
	f.history, err = s.judgeHistory(ctx, snap, lock.state.loaded)
	return f, err
}

// judgeHistory judges what has become of the history of the source since the table was
// loaded.
func (s *tableSync) judgeHistory(ctx context.Context, snap *snapshot, loaded *catalog.LoadedTable) (judgement, error) {
	if loaded == nil || s.selection.Method != Incremental || loaded.Rows != nil && *loaded.Rows == 0 {
		return judgement{}, nil
	}
	before, now, kept, older := loaded.Position, snap.facts.position, false, false
	if needsRows(before, now) && snap.facts.info.snapshot != "" {
		rows, err := snap.rowsAt(ctx, before.Rows)
		if err != nil {
			return judgement{}, &sourceError{err}
		}
		kept, older = compareRows(before.Rows, rows)
	}
	return judge(before, now, kept, older), nil
}

// completePlan asks for what only the rows can tell: their greatest key, before they are
// read, and whether an index orders them.
func (s *tableSync) completePlan(ctx context.Context, snap *snapshot, p plan) (plan, error) {
	if !p.full {
		greatest, newest, err := snap.greatestKey(ctx, p.rows)
		if err == nil && greatest == nil && p.rows.after != nil && p.rows.after.uncommitted != nil {
			greatest, newest, err = snap.greatest(ctx, p.rows.key, "true")
			if err == nil && greatest != nil {
				s.note(fmt.Sprintf("no row has the key of the bookmark, %s, or a later one: rows with any key were looked through", p.rows.after.bookmark))
				p = p.goingBack()
			}
		}
		if err != nil {
			return p, &sourceError{err}
		}
		p = p.endingAt(greatest, newest)
	}
	if !p.rows.isBounded() && !s.dividesFirstLoad(p) { // rows with any key are scanned
		return p, nil
	}
	ordered, err := snap.preferIndex(ctx, p.rows.key)
	if err != nil {
		return p, &sourceError{err}
	}
	return p.inOrder(ordered), nil
}

// fractionsOf asks both sides how they write money, if a column holds money.
func fractionsOf(ctx context.Context, columns []relation.Column, source, destination querier) (of fractions, err error) {
	within, err := moneyWithin(ctx, columns, source)
	if err != nil {
		return of, &sourceError{err}
	}
	if within == "" && !slices.ContainsFunc(columns, holdsMoney) {
		return of, nil
	}
	if of.source, err = moneyFraction(ctx, source); err != nil {
		return of, &sourceError{err}
	}
	if within != "" && of.source != pinnedFraction {
		return of, fmt.Errorf("column %q holds money within a composite or range type, which arrives as text with %d decimal places, and the source writes money with %d: exclude it, or replicate it through a view that casts the amount to numeric",
			within, pinnedFraction, of.source)
	}
	if of.destination, err = moneyFraction(ctx, destination); err != nil {
		return of, err
	}
	for _, c := range columns {
		if of.source != of.destination && holdsMoney(c) && base(c.Type).Element != nil {
			return of, fmt.Errorf("column %q is an array of money, which has %d decimal places at the source and %d in the destination: exclude it, replicate it through a view as numeric, or set lc_monetary of the destination's database to a locale with as many",
				c.Name, of.source, of.destination)
		}
	}
	return of, nil
}
