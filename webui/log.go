package webui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/story"
)

// check is the verification of one log: the newest, and one that is under way.
type check struct {
	log *Log

	mu          sync.Mutex
	cancel      context.CancelFunc // nil if none is under way
	ended       chan struct{}
	begun, done time.Time
	read, total int64
	result      *Verification
	err         error
}

// begin begins a verification, unless one is under way. It goes on when the request
// that asked for it has ended.
func (c *check) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil || c.log.Verify == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	begun := time.Now()
	c.cancel, c.read, c.total = cancel, 0, 0
	ended := make(chan struct{})
	c.ended = ended
	go func() {
		defer close(ended)
		var result Verification
		err := errors.New("the function that verifies has ended its goroutine")
		defer func() { // whatever the application's function does
			if p := recover(); p != nil {
				err = fmt.Errorf("the function that verifies panicked with a %T", p)
			}
			stopped := ctx.Err() != nil // by stop
			cancel()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.cancel = nil
			if stopped && errors.Is(err, context.Canceled) {
				return // nothing was found out: what was known before holds
			}
			c.begun, c.done, c.err, c.result = begun, time.Now(), err, &result
			if err != nil {
				c.result = nil
			}
		}()
		result, err = c.log.Verify(ctx, func(done, total int64) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.read, c.total = done, total
		})
	}()
}

func (c *check) stop() {
	c.mu.Lock()
	cancel, ended := c.cancel, c.ended
	c.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
}

// checked is what is known of a log, as a page shows it.
type checked struct {
	Name     string
	Possible bool // there is a way to verify it
	Busy     bool
	Percent  int64
	Done     time.Time // when the newest verification ended; zero: there is none
	Good     bool
	Result   Verification
	Failed   string // why the newest ended without a result
	Before   bool   // on a job's page: the job has an event that is newer than the verification
	begun    time.Time
}

func (u *UI) checked() (list []checked) {
	for _, c := range u.checks {
		c.mu.Lock()
		k := checked{Name: c.log.Name, Possible: c.log.Verify != nil, Busy: c.cancel != nil, begun: c.begun, Done: c.done.UTC().Truncate(time.Second)}
		if c.total > 0 {
			k.Percent = 100 * c.read / c.total
		}
		if c.done.IsZero() {
			k.Done = time.Time{}
		}
		if c.err != nil {
			k.Failed = story.Plain(c.err.Error())
		}
		if c.result != nil {
			k.Result = *c.result
			k.Good = len(c.result.Findings) == 0
		}
		c.mu.Unlock()
		list = append(list, k)
	}
	return list
}

func (u *UI) beginCheck(r *request) error {
	r.Body = http.MaxBytesReader(r.w, r.Body, 4<<10)
	n, err := strconv.Atoi(r.FormValue("log"))
	if err != nil || n < 0 || n >= len(u.checks) {
		return problem{http.StatusBadRequest, "There is no such log."}
	}
	u.checks[n].begin()
	redirect(r.w, "../log")
	return nil
}

// Bounds of the page of the logs.
const (
	hours       = 24
	mostCounted = 100_000 // events that are gone through, the newest
	mostLosses  = 50
)

// logPage is the page of the logs.
type logPage struct {
	Logs   []checked
	Busy   bool
	Hours  []hour
	Most   int
	Ends   int
	Fails  int
	Cut    bool // the day has more events than were gone through
	Ghosts []ghost
	Losses []loss // losses, degradations, unreadable records; the newest first
	Before bool   // there are events before those that were gone through for them
}

// hour is one bar of the chart.
type hour struct {
	Begin          time.Time
	Good, Bad      int
	X, GoodH, BadH int // in the chart, of 100
}

// ghost is a job that started and has no end, and whose sign of life did not come.
type ghost struct {
	ID     uuid.UUID
	Action string
	Since  time.Time
	Due    time.Time
}

// loss is something that the log itself says it lacks.
type loss struct {
	Log  string
	Time time.Time
	Type string
	Says string
	Job  uuid.UUID // of which it is
}

func (u *UI) showLogs(r *request) error {
	if err := u.note(r.Context(), r.viewer, jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditOpened}}); err != nil {
		return err
	}
	p := &logPage{Logs: u.checked()}
	for i := range p.Logs {
		p.Busy = p.Busy || p.Logs[i].Busy
	}
	err := inTurn(r.Context(), u.looking, func() error {
		if err := u.day(r.Context(), p); err != nil {
			return err
		}
		return u.losses(r.Context(), p)
	})
	if err != nil {
		return err
	}
	u.write(r, 200, "log", "The log", p)
	return nil
}

// day counts the ends of the last day by the hour, and finds the starts without one.
func (u *UI) day(ctx context.Context, p *logPage) error {
	now := time.Now().UTC()
	begin := now.Truncate(time.Hour).Add(-(hours - 1) * time.Hour)
	for i := range hours {
		p.Hours = append(p.Hours, hour{Begin: begin.Add(time.Duration(i) * time.Hour), X: i * 40})
	}
	open := map[execution]ghost{}
	ended := map[execution]bool{}
	types := []jobaudit.EventType{
		jobaudit.JobStarted, jobaudit.AttemptStarted, jobaudit.JobHeartbeat, jobaudit.JobSucceeded, jobaudit.JobFailed, jobaudit.JobCancelled,
		jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate}
	for i := range u.logs {
		cut, err := newestOf(ctx, u.logs[i].Reader, jobaudit.Query{Since: begin}, u.mostCounted, types, func(rec jobaudit.Record, err error) {
			if err == nil {
				p.count(rec, open, ended)
			}
		})
		if err != nil {
			return err
		}
		p.Cut = p.Cut || cut
	}
	last := map[uuid.UUID]ghost{} // of several executions, as for a job's page
	for x, g := range open {
		if !ended[x] && !ended[execution{job: x.job}] && g.Due.After(last[x.job].Due) {
			last[x.job] = g
		}
	}
	for _, g := range last {
		if g.Due.Before(now) {
			p.Ghosts = append(p.Ghosts, g)
		}
	}
	slices.SortFunc(p.Ghosts, func(a, b ghost) int { return a.Due.Compare(b.Due) })
	for i := range p.Hours {
		p.Most = max(p.Most, p.Hours[i].Good+p.Hours[i].Bad)
	}
	for i := range p.Hours {
		h := &p.Hours[i]
		h.GoodH, h.BadH = 100*h.Good/max(p.Most, 1), 100*h.Bad/max(p.Most, 1)
		if h.Bad > 0 {
			h.BadH = max(h.BadH, 2) // a single failure is to be seen
		}
	}
	return nil
}

// execution is one time that a job ran; the zero ID stands for all of them.
type execution struct{ job, id uuid.UUID }

// count takes a record of the day into the page, the newest first.
func (p *logPage) count(rec jobaudit.Record, open map[execution]ghost, ended map[execution]bool) {
	id := rec.JobID()
	switch rec.Type() {
	case jobaudit.JobStarted, jobaudit.AttemptStarted, jobaudit.JobHeartbeat:
		e := rec.Event()
		x := execution{id, e.Job.ExecutionID}
		if ended[x] || ended[execution{job: id}] {
			return
		}
		g := open[x]
		if g.Due.IsZero() {
			g.Due = e.Data.Heartbeat.Deadline
		}
		g.ID, g.Action, g.Since = id, e.What.Action, e.Time
		open[x] = g
		return
	case jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost, jobaudit.AttemptSuperseded, jobaudit.AttemptLate:
		if e := rec.Event(); e.Job.ExecutionID != uuid.Nil { // or it would end all
			ended[execution{id, e.Job.ExecutionID}] = true
		}
		return
	}
	ended[execution{job: id}] = true
	at := int(rec.Time().Sub(p.Hours[0].Begin) / time.Hour)
	if at < 0 || at >= len(p.Hours) {
		return // by a clock that is ahead
	}
	p.Ends++
	if rec.Type() == jobaudit.JobSucceeded {
		p.Hours[at].Good++
		return
	}
	p.Fails++
	p.Hours[at].Bad++
}

// losses finds what the logs say that they lack.
func (u *UI) losses(ctx context.Context, p *logPage) error {
	types := []jobaudit.EventType{jobaudit.AuditLost, jobaudit.AuditDegraded, jobaudit.AttemptLost}
	for i := range u.logs {
		n := 0
		cut, err := newestOf(ctx, u.logs[i].Reader, jobaudit.Query{}, u.mostCounted, types, func(rec jobaudit.Record, err error) {
			if n++; n > mostLosses {
				return
			}
			l := loss{Log: u.logs[i].Name, Type: "unreadable"}
			if err != nil {
				l.Says = story.Plain(err.Error())
			} else {
				l.tell(rec.Event())
			}
			p.Losses = append(p.Losses, l)
		})
		if err != nil {
			return err
		}
		p.Before = p.Before || cut
	}
	slices.SortStableFunc(p.Losses, func(a, b loss) int { return b.Time.Compare(a.Time) })
	p.Losses = p.Losses[:min(len(p.Losses), mostLosses)]
	return nil
}

func (l *loss) tell(e jobaudit.Event) {
	says := e.Why.Reason
	if e.Data.Lost.Count > 0 {
		says = strconv.FormatInt(e.Data.Lost.Count, 10) + " events were lost"
	}
	if e.Data.Degraded.Reason != "" {
		says = e.Data.Degraded.Reason
	}
	l.Time, l.Type, l.Says, l.Job = e.Time, string(e.Type), story.Plain(says), e.Job.ID
}
