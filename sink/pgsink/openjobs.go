package pgsink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/jobcheck"
)

// OpenJobs iterates over the records of all jobs that have no outcome in the log,
// and of all executions without an end: submissions, starts, ends of attempts
// and the newest heartbeat of each, in the order of the log and behind it what
// waits for its place. A watchdog uses it (the interface OpenJobs of package
// watchdog). The first call reads the log once, a later one what has come since:
// in between the sink keeps which jobs are open. A line that is no record is a
// [*jobaudit.UnreadableError], behind which reading goes on; any other error ends
// the iteration.
func (s *Sink) OpenJobs(ctx context.Context) iter.Seq2[jobaudit.Record, error] {
	return func(yield func(jobaudit.Record, error) bool) {
		if s.isClosed() {
			yield(jobaudit.Record{}, ErrClosed)
			return
		}
		begun := false
		once := func(r jobaudit.Record, err error) bool {
			begun = true
			return yield(r, err)
		}
		err := s.openJobs(ctx, once)
		if err == errOtherLog && !begun {
			err = s.openJobs(ctx, once)
		}
		if err != nil && err != errStop {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			yield(jobaudit.Record{}, fmt.Errorf("pgsink: open jobs: %w", err))
		}
	}
}

// openJobs yields what is open. If what was known of the log is not what it holds, it
// forgets that and returns errOtherLog.
func (s *Sink) openJobs(ctx context.Context, yield func(jobaudit.Record, error) bool) error {
	lives, waiting, err := s.open.lives(ctx, s.pool)
	if err != nil {
		return err
	}
	err = s.readLives(ctx, lives, waiting, yield)
	if err == errOtherLog {
		s.open.forget()
	}
	return err
}

const (
	// livesPage is how many events one statement of OpenJobs reads.
	livesPage = 4096
	// inboxPart stands before a row's number where it has the place of an index.
	inboxPart = 1 << 62
)

// openJobs knows the jobs that are open at the end of what has been read.
type openJobs struct {
	turn chan struct{} // of one element: to put it in is to hold the lock
	fold *jobcheck.Lives
	idx  int64 // of the last event that was read
	line []byte
}

// waitingLife is where a line that has no place waits.
type waitingLife struct {
	part int64
	off  uint32
}

// lives reads what is new and returns what tells of open jobs, in order, with the
// lines of what waits.
func (o *openJobs) lives(ctx context.Context, db queryer) ([]jobcheck.PlacedLife, map[waitingLife][]byte, error) {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	for {
		if o.fold == nil {
			o.fold, o.idx, o.line = jobcheck.NewLives(false), -1, nil
		}
		placed, fold, lines, err := o.page(ctx, db)
		if err != nil {
			return nil, nil, err
		}
		if placed == livesPage {
			continue
		}
		if placed < 0 { // another log, as after a restore: begin again
			o.fold = nil
			continue
		}
		return fold.Open(), lines, nil
	}
}

// forget has the next call read the whole log again.
func (o *openJobs) forget() {
	o.turn <- struct{}{}
	o.fold = nil
	<-o.turn
}

// openSQL reads events behind one, and in the same statement what waits if there
// are no more: by two, an event could leave the inbox between them.
var openSQL = fmt.Sprintf(`
	WITH placed AS MATERIALIZED (
		SELECT idx, line FROM jobaudit.events WHERE idx >= $1 AND type = ANY ($2) ORDER BY idx LIMIT %[1]d
	) SELECT idx, NULL::bigint AS n, ARRAY[line] AS lines FROM placed
	UNION ALL SELECT NULL, n, lines FROM jobaudit.inbox WHERE (SELECT count(*) FROM placed) < %[1]d
	ORDER BY 1 NULLS LAST, 2`, livesPage)

// page reads the next page, which begins with the last event that was read
// before. It returns how many events that were, -1 if that event is not there any
// more, and behind the last page what is known with all that waits, and the lines of
// it that tell something: the inbox may be far larger.
func (o *openJobs) page(ctx context.Context, db queryer) (placed int, fold *jobcheck.Lives, waiting map[waitingLife][]byte, err error) {
	var types []string
	for _, t := range jobcheck.TellingTypes() {
		types = append(types, string(t))
	}
	// Planned for these arguments, as pages of Records are.
	rows, err := db.Query(ctx, openSQL, pgx.QueryExecModeCacheDescribe, max(o.idx, 0), types)
	if err != nil {
		return 0, nil, nil, err
	}
	first := o.line
	fold, waiting = o.fold, make(map[waitingLife][]byte)
	var idx, n *int64
	var lines [][]byte
	_, err = pgx.ForEachRow(rows, []any{&idx, &n, &lines}, func() error {
		if idx == nil {
			for i, line := range lines {
				l := jobcheck.LifeOf(line)
				if l.Kind == jobcheck.NotTelling {
					continue
				}
				if len(waiting) == 0 {
					fold = fold.Clone()
				}
				at := waitingLife{inboxPart + *n, uint32(i)}
				waiting[at] = bytes.Clone(line)
				fold.Add(jobcheck.PlacedLife{Life: l, Part: at.part, Off: at.off})
			}
			return nil
		}
		if placed++; placed == 1 && first != nil {
			if *idx != o.idx || !bytes.Equal(lines[0], first) {
				return errOtherLog
			}
			return nil
		}
		o.idx, o.line = *idx, lines[0]
		o.fold.Add(jobcheck.PlacedLife{Life: jobcheck.LifeOf(o.line), Part: *idx})
		return nil
	})
	if err == errOtherLog || err == nil && placed == 0 && first != nil {
		return -1, nil, nil, nil
	}
	return placed, fold, waiting, err
}

// errOtherLog ends a page that does not begin where the one before ended, and a read
// of what is not there, or not as it was.
var errOtherLog = errors.New("the log was put back to an earlier state while it was read: read again")

// readLives yields the records that lives are of. After a failover other events may have
// the places of those.
func (s *Sink) readLives(ctx context.Context, lives []jobcheck.PlacedLife, waiting map[waitingLife][]byte, yield func(jobaudit.Record, error) bool) error {
	for len(lives) > 0 && lives[0].Part < inboxPart {
		var page []int64
		for len(page) < min(pageRecords, len(lives)) && lives[len(page)].Part < inboxPart {
			page = append(page, lives[len(page)].Part)
		}
		known := lives[:len(page)]
		lives = lives[len(page):]
		rows, err := s.pool.Query(ctx, `SELECT idx, line FROM jobaudit.events WHERE idx = ANY ($1) ORDER BY idx`, page)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l storedLine, err error) {
			var idx int64
			err = row.Scan(&idx, &l.bytes)
			l.place = fmt.Sprintf("event %d", idx)
			return l, err
		})
		if err != nil {
			return err
		}
		if len(found) != len(known) {
			return errOtherLog
		}
		for i, l := range found {
			if jobcheck.LifeOf(l.bytes) != known[i].Life {
				return errOtherLog
			}
		}
		for _, l := range found {
			if !yieldLine(l, yield) {
				return errStop
			}
		}
	}
	for _, l := range lives {
		line := storedLine{waiting[waitingLife{l.Part, l.Off}], fmt.Sprintf("event %d of row %d of the inbox", l.Off, l.Part-inboxPart)}
		if !yieldLine(line, yield) {
			return errStop
		}
	}
	return ctx.Err()
}

func yieldLine(l storedLine, yield func(jobaudit.Record, error) bool) bool {
	r, err := jobaudit.ParseRecord(l.bytes)
	if err != nil {
		return yield(jobaudit.Record{}, &jobaudit.UnreadableError{Place: l.place, Err: err})
	}
	return yield(r, nil)
}
