package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// jobFilters select jobs.
type jobFilters struct {
	filters

	longer, shorter   time.Duration
	failures          int
	overdue, modified bool
}

func (f *jobFilters) add(cmd *cobra.Command) {
	f.filters.add(cmd)
	flags := cmd.Flags()
	flags.Lookup("state").Usage = "that are pending, running, success, failed or cancelled"
	flags.Lookup("error-code").Usage = "that ended with an error of this code, as in TIMEOUT"
	flags.DurationVar(&f.longer, "longer", 0, "that ran at least so long, or have been running so long: 90s, 2h30m")
	flags.DurationVar(&f.shorter, "shorter", 0, "that ran, or have been running, less than this")
	flags.IntVar(&f.failures, "failures", 0, "with at least so many attempts that failed or were lost")
	for _, name := range []string{"longer", "shorter", "failures"} {
		onceOnly(cmd, name)
	}
	flags.BoolVar(&f.overdue, "overdue", false, "that started, have no end, and whose announced sign of life did not come: ghosts")
	flags.BoolVar(&f.modified, "modified", false, "that ran in a program built from modified source, as its recorder said when it was opened")
}

func (a *app) jobsCommand() *cobra.Command {
	var f jobFilters
	var asJSON bool
	var keys []string
	var limit int
	cmd := &cobra.Command{
		Use:   "jobs SOURCE...",
		Short: "List the jobs, one a line",
		Long: `List the jobs, the one that was submitted last first: state, when it was submitted,
how long it ran, what it does, who asked for it, its ID, how often it was tried, and
its error. Several logs are read as one.

--since and --until select by the submission. In a terminal that is too narrow the error stands
below its job. With --json each line is the Job that the events add up to:
  jobaudit jobs DIR --since 30d --state failed --json | jq -r .metadata.action | sort | uniq -c`,
		Args:              wrongly(cobra.MinimumNArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			q, _, err := f.query()
			if err != nil {
				return err
			}
			if err := a.give(keys); err != nil {
				return err
			}
			logs, err := a.openAll(cmd.Context(), args)
			if err != nil {
				return err
			}
			l := jobList{filters: &f, query: q, now: time.Now(), open: map[uuid.UUID]*jobRow{}, modified: map[string]bool{}, streams: len(logs) == 1, whole: asJSON}
			if err := l.read(cmd.Context(), logs); err != nil {
				return err
			}
			rows := l.selected()
			if limit > 0 {
				rows = rows[:min(limit, len(rows))]
			}
			if err := a.jobRows(rows, &f, asJSON); err != nil {
				return err
			}
			a.unreadable(l.unread)
			if l.elsewhere > 0 {
				fmt.Fprintf(a.err, "jobaudit: %s of this period left out that was submitted earlier, or in another log\n", count(l.elsewhere, "job"))
			}
			if len(rows) == 0 {
				return a.nothing(cmd.Context(), logs, &f.filters, "job")
			}
			a.unverified(logs)
			return nil
		},
	}
	f.add(cmd)
	keyFlag(cmd, &keys)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the Jobs")
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "at most this many")
	return cmd
}

// A jobRow is a job in the list.
type jobRow struct {
	id      uuid.UUID
	records []jobaudit.Record // until the job is folded
	folded  int               // records when it was folded last
	job     jobaudit.Job
	err     error // the records contradict each other

	who      string
	behalf   []string // whom the principal acts for
	resource string
	due      time.Time // the next sign of life, zero if none is due
	modified bool
	again    bool // something came behind the end: it is not in what was folded
}

// jobList reads the jobs of logs. Where it reads one log it folds a job as soon
// as it has ended, and forgets its records.
type jobList struct {
	filters *jobFilters
	query   jobaudit.Query
	now     time.Time
	streams bool // one log, whose order is that of the causes
	whole   bool // the Jobs are wanted, not lines

	open      map[uuid.UUID]*jobRow
	rows      []*jobRow
	modified  map[string]bool // whether an instance was built from modified source when it was opened last
	unread    int
	elsewhere int // jobs without their submission in a period
}

// read reads the logs and folds the jobs.
func (l *jobList) read(ctx context.Context, logs sources) error {
	// What happened to a job later belongs to it, so the end of the period is
	// that of the submissions alone.
	q := jobaudit.Query{Since: l.query.Since, CorrelationID: l.query.CorrelationID, RootID: l.query.RootID}
	contains := ""
	for _, id := range []uuid.UUID{q.CorrelationID, q.RootID} {
		if id != uuid.Nil {
			contains = id.String()
		}
	}
	read := q
	if l.filters.modified { // in which build a job ran, an opening tells that may stand anywhere before
		read, contains = jobaudit.Query{}, ""
	}
	for r, err := range logs.folded(ctx, read, contains, &l.unread) {
		if err != nil {
			return err
		}
		if r.JobID() != uuid.Nil && q.Match(r) {
			l.add(r)
		} else if r.Type() == jobaudit.AuditOpened && l.filters.modified {
			e := r.Event()
			l.modified[e.Where.Instance] = e.Data.Environment.VCS.Modified
		}
	}
	var again []uuid.UUID
	for _, row := range l.rows {
		switch {
		case row.again:
			again = append(again, row.id)
		case row.records != nil:
			l.fold(row)
		}
	}
	return l.foldAgain(ctx, logs, again)
}

// lookups is up to how many jobs are looked up one by one.
const lookups = 16

// foldAgain folds jobs for which something came behind their ends: it may decide which of
// several submissions counts, and is in the Job.
func (l *jobList) foldAgain(ctx context.Context, logs sources, ids []uuid.UUID) error {
	queries := []jobaudit.Query{{Since: l.query.Since}}
	if len(ids) <= lookups {
		queries = nil
		for _, id := range ids {
			queries = append(queries, jobaudit.Query{JobID: id})
		}
	}
	for _, id := range ids {
		l.open[id].records = nil
	}
	for _, q := range queries {
		contains := ""
		if q.JobID != uuid.Nil {
			contains = q.JobID.String()
		}
		unread := 0 // they were counted before
		for r, err := range logs.folded(ctx, q, contains, &unread) {
			if err != nil {
				return err
			}
			if row := l.open[r.JobID()]; row != nil && row.again {
				row.records = append(row.records, r)
			}
		}
	}
	for _, id := range ids {
		l.fold(l.open[id])
	}
	return nil
}

// ends are the types of events that a job can end by.
var ends = []jobaudit.EventType{jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled, jobaudit.JobDenied, jobaudit.JobDeduplicated}

// add takes a record of a job.
func (l *jobList) add(r jobaudit.Record) {
	row := l.open[r.JobID()]
	if row == nil {
		row = &jobRow{id: r.JobID()}
		l.open[row.id] = row
		l.rows = append(l.rows, row)
	}
	if l.filters.modified && (r.Type() == jobaudit.JobStarted || r.Type() == jobaudit.AttemptStarted) {
		row.modified = row.modified || l.modified[r.Event().Where.Instance]
	}
	if len(row.records) == 0 && row.folded > 0 {
		row.again = true
		return
	}
	row.records = append(row.records, r)
	if l.streams && slices.Contains(ends, r.Type()) && len(row.records) >= 2*row.folded {
		l.fold(row)
	}
}

// fold makes a row of its records. It forgets them if the job has ended.
func (l *jobList) fold(row *jobRow) {
	row.job, row.err = jobaudit.Replay(each(row.records))
	row.folded = len(row.records)
	l.describe(row)
	if row.err != nil || !row.job.State.Terminal() {
		return
	}
	row.records = nil
	if !l.whole {
		row.job.Logs, row.job.Output, row.job.Metadata.Inputs = nil, nil, nil
	}
}

// describe takes from a row's records what its Job does not say.
func (l *jobList) describe(row *jobRow) {
	row.who, row.behalf = "", nil
	due := story.Deadlines{}
	for i, r := range row.records {
		switch r.Type() {
		case jobaudit.JobStarted, jobaudit.AttemptStarted, jobaudit.JobHeartbeat:
			e := r.Event()
			due.Add(&e)
		}
		if i > 0 && r.Type() != jobaudit.JobSubmitted {
			continue
		}
		e := r.Event()
		if p := e.Who.Principal; row.who == "" || r.Type() == jobaudit.JobSubmitted && p.ID == row.job.Metadata.UserID {
			row.who, row.resource, row.behalf = p.ID, e.What.Resource, nil
			for _, b := range e.Who.OnBehalfOf {
				row.behalf = append(row.behalf, b.ID)
			}
		}
	}
	row.due = due.Due(&row.job)
}

// selected returns the rows that the filters select, the newest first.
func (l *jobList) selected() (rows []*jobRow) {
	period := !l.query.Since.IsZero() || !l.query.Until.IsZero()
	for _, row := range l.rows {
		if period && row.job.Incomplete && row.err == nil {
			l.elsewhere++
			continue
		}
		if row.err != nil || l.selects(row) {
			rows = append(rows, row)
		}
	}
	slices.SortStableFunc(rows, func(a, b *jobRow) int {
		return cmp.Or(b.job.CreatedAt.Compare(a.job.CreatedAt), strings.Compare(b.id.String(), a.id.String()))
	})
	return rows
}

func (l *jobList) selects(row *jobRow) bool {
	job, q, f := &row.job, &l.query, l.filters
	code := jobaudit.ErrorCode("")
	if job.Error != nil {
		code = job.Error.Code
	}
	length, ran := row.length(l.now)
	switch {
	case q.State != "" && q.State != job.State,
		q.ErrorCode != "" && q.ErrorCode != code,
		q.Action != "" && q.Action != job.Metadata.Action,
		q.OrgID != "" && q.OrgID != job.Metadata.OrgID,
		q.Resource != "" && q.Resource != row.resource,
		q.PrincipalID != "" && q.PrincipalID != row.who,
		q.ActingFor != "" && q.ActingFor != row.who && !slices.Contains(row.behalf, q.ActingFor),
		!q.Since.IsZero() && job.CreatedAt.Before(q.Since),
		!q.Until.IsZero() && !job.CreatedAt.Before(q.Until),
		f.longer > 0 && (!ran || length < f.longer),
		f.shorter > 0 && (!ran || length >= f.shorter),
		row.failed() < f.failures,
		f.overdue && !row.overdue(l.now),
		f.modified && !row.modified:
		return false
	}
	return true
}

// length is how long a job ran, or has been running.
func (row *jobRow) length(now time.Time) (time.Duration, bool) {
	switch {
	case row.job.StartedAt.IsZero():
		return 0, false
	case row.job.CompletedAt.IsZero():
		return now.Sub(row.job.StartedAt), true
	}
	return row.job.CompletedAt.Sub(row.job.StartedAt), true
}

// overdue reports whether a job that runs has missed its sign of life.
func (row *jobRow) overdue(now time.Time) bool { return !row.due.IsZero() && now.After(row.due) }

// failed counts the executions that failed or were lost. One that was lost and ended the
// job so has two events.
func (row *jobRow) failed() (n int) {
	for _, x := range row.job.Executions {
		if x.End == jobaudit.AttemptFailed || x.End == jobaudit.AttemptLost || x.End == jobaudit.JobFailed {
			n++
		}
	}
	return n
}

// jobRows prints the jobs.
func (a *app) jobRows(rows []*jobRow, f *jobFilters, asJSON bool) error {
	width, now := a.width(), time.Now()
	if isTerminal(a.out) && !asJSON && len(rows) > 0 {
		fmt.Fprintln(a.out, a.faint(strings.TrimRight(jobHeading(width), " ")))
	}
	for _, row := range rows {
		if asJSON {
			line, err := json.Marshal(row.job)
			if err == nil {
				err = a.printJSON(line)
			}
			if err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprint(a.out, a.jobLine(row, f, width, now)); err != nil {
			return err
		}
	}
	return nil
}

func jobHeading(width int) string {
	c := columnsOf(width)
	switch {
	case 0 < width && width < slim:
		return strings.Join([]string{" ", fit("submitted", len(c.when)), fit("took", 6), fit("action", c.action), fit("who", c.who)}, " ")
	case 0 < width && width < wide:
		return strings.Join([]string{" ", fit("submitted", len(c.when)), fit("took", 6), fit("action", c.action), fit("who", c.who), "job"}, " ")
	}
	return strings.Join([]string{fit("state", 9), fit("submitted", len(c.when)), fit("took", 7), fit("action", c.action), fit("who", c.who), fit("job", 36), cut("tries, error", max(c.rest, 0))}, "  ")
}

// columns are those of a job's line.
type columns struct {
	when              string // how a time is written
	action, who, rest int
}

// columnsOf shares a line out.
func columnsOf(width int) columns {
	c := columns{when: "2006-01-02 15:04", action: 14, who: 10}
	switch {
	case width == 0:
		c.when = "2006-01-02 15:04:05"
	case width < slim:
		c.when = "01-02 15:04"
		left := max(width-22, 12)
		c.action, c.who = left-left/3, left/3
	case width < wide:
		if width < 90 {
			c.when = "01-02 15:04"
		}
		left := width - 48 - len(c.when)
		c.action, c.who = left-left/3, left/3
	default:
		more := width - wide
		c.action, c.who = 14+more/4, 10+more/4
		c.rest = width - 80 - c.action - c.who
	}
	return c
}

// jobLine prints a job. Where there is room for it on one line it is one line.
func (a *app) jobLine(row *jobRow, f *jobFilters, width int, now time.Time) string {
	state, long := string(row.job.State), ""
	if length, ran := row.length(now); ran {
		long = took(length)
	}
	if row.overdue(now) {
		state, long = "overdue", "" // nobody knows how long it ran
	}
	if row.err != nil {
		state = "unknown"
	}
	c, forNames := columnsOf(width), width
	if width >= wide {
		forNames = 3 * c.rest
	}
	action, who, rest := plain(row.job.Metadata.Action), plain(row.who), jobRest(row, forNames)
	submitted, behalf := row.job.CreatedAt.In(f.zone()).Format(c.when), plain(strings.Join(row.behalf, " for "))
	if 0 < width && width < wide {
		if behalf != "" {
			rest = append([]string{"for " + behalf}, rest...)
		}
		line := strings.Join([]string{a.coloured(row.job.State, sign(state)), submitted, fit(long, 6), fit(action, c.action), fit(who, c.who)}, " ")
		if width < slim {
			line = strings.TrimRight(line, " ") + "\n "
		}
		return line + " " + row.id.String() + "\n" + below(beside(rest, ", ", width-4), width)
	}
	if behalf != "" {
		who += " for " + behalf
		if width > 0 {
			who = strings.Join(share([]string{plain(row.who), "for " + behalf}, 1, c.who), " ")
		}
	}
	line := strings.Join([]string{
		a.coloured(row.job.State, fit(state, 9)), submitted, fit(long, 7), pad(action, c.action, width), pad(who, c.who, width), row.id.String(), beside(rest, ", ", c.rest),
	}, "  ")
	return strings.TrimRight(line, " ") + "\n"
}

// pad fills a column. A longer text is cut only where the width is bounded.
func pad(text string, column, width int) string {
	if width > 0 {
		return fit(text, column)
	}
	return text + strings.Repeat(" ", max(0, column-lipgloss.Width(text)))
}

// jobRest says what is unusual about a job.
func jobRest(row *jobRow, width int) []string {
	var parts []string
	if n := len(row.job.Executions); n > 1 {
		parts = append(parts, fmt.Sprintf("%d tries", n))
	}
	if row.job.Incomplete {
		parts = append(parts, "submitted in another log")
	}
	if e := row.job.Error; e != nil {
		parts = append(parts, name(plain(string(e.Code)), width)+": "+plain(e.Message))
	}
	if row.err != nil {
		parts = append(parts, plain(row.err.Error()))
	}
	return parts
}

// sign is a state in one column.
func sign(state string) string {
	switch state {
	case "success":
		return "✓"
	case "failed":
		return "✗"
	case "cancelled":
		return "⊘"
	case "running":
		return "▸"
	case "overdue":
		return "?"
	}
	return "·"
}
