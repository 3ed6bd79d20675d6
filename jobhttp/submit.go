package jobhttp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// order is what POST /api/jobs asks for.
type order struct {
	action string
	inputs json.RawMessage
	reason string
	body   []byte    // all of it
	key    uuid.UUID // the Idempotency-Key; zero if there is none
}

// maxReason is as long as a reason in a record may be.
const maxReason = 1024

// readOrder reads a request for a job.
func (a *API) readOrder(q *request) (order, error) {
	var o order
	if kind, params, err := mime.ParseMediaType(strings.Join(q.r.Header.Values("Content-Type"), ",")); err != nil || kind != "application/json" ||
		params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return o, problem{code: badRequest, message: "the content is not application/json"}
	}
	if q.r.Header.Get("Content-Encoding") != "" {
		return o, problem{code: badRequest, message: "the content is encoded"}
	}
	switch keys := q.r.Header.Values("Idempotency-Key"); {
	case len(keys) == 0:
	case len(keys) == 1:
		var ok bool
		if o.key, ok = parseUUID(keys[0]); ok {
			break
		}
		fallthrough
	default:
		return o, problem{code: badRequest, message: "the Idempotency-Key is not one UUID"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(q.ResponseWriter, q.r.Body, a.opts.MaxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return o, problem{code: badRequest, message: "the body is too large"}
	}
	if err != nil && !isContext(err) {
		return o, problem{code: badRequest, message: "the body is not whole"}
	}
	if err != nil {
		return o, err
	}
	o.body = body
	return o, o.parse()
}

// parse reads the body.
func (o *order) parse() error {
	if jsonscan.Check(o.body) != nil || jsonscan.Unpaired(o.body) >= 0 {
		return problem{code: badRequest, message: "the body is not JSON, has a name twice, or is nested too deep"}
	}
	if text := bytes.TrimLeft(o.body, " \t\r\n"); text[0] != '{' {
		return problem{code: badRequest, message: "the body is not an object"}
	}
	o.inputs = json.RawMessage("null")
	for name, raw := range jsonscan.Object(o.body) {
		isText := raw[0] == '"'
		switch name {
		case "action":
			if o.action = jsonscan.Unquote(raw); !isText || len(o.action) > maxIdentifier {
				return invalid("action")
			}
		case "reason":
			if o.reason = jsonscan.Unquote(raw); !isText || len(o.reason) > maxReason {
				return invalid("reason")
			}
		case "inputs":
			o.inputs = raw
		}
	}
	if o.action == "" {
		return invalid("action")
	}
	return nil
}

// validate asks the application, and tells the field alone: what is wrong with it
// may quote it.
func (a *API) validate(o *order) error {
	err := a.opts.Validate(o.action, bytes.Clone(o.inputs))
	if err == nil {
		return nil
	}
	p := problem{code: validation, message: "the inputs are not valid for the action"}
	if field, ok := errors.AsType[*jobaudit.FieldError](err); ok && isPath(field.Field) {
		p.field = field.Field
	}
	return p
}

// isPath tells whether a text is a path of names as programs have them, and not
// what a client made up.
func isPath(s string) bool {
	for _, c := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]*", c) {
			return false
		}
	}
	return len(s) <= 128
}

// submit answers POST /api/jobs.
func (a *API) submit(q *request, c Caller) error {
	ctx, cancel := a.timeout(q)
	defer cancel()
	if a.opts.Dispatch == nil || a.opts.Validate == nil {
		return problem{code: forbidden, message: "jobs cannot be asked for here"}
	}
	o, err := a.readOrder(q)
	if err != nil {
		return err
	}
	wanted := jobaudit.Job{Metadata: jobaudit.JobMetadata{
		RequestID: q.id, UserID: c.ID, OrgID: c.OrgID, Action: o.action, Inputs: bytes.Clone(o.inputs),
	}}
	if err := a.authorize(ctx, c, Submit, wanted); err != nil {
		return err
	}
	if err := a.validate(&o); err != nil {
		return err
	}
	var t *jobaudit.Trail
	if o.key == uuid.Nil {
		t, err = a.submitNew(ctx, q, c, &o, uuid.Nil, jobaudit.Ref{})
	} else {
		t, err = a.submitOnce(ctx, q, c, &o)
	}
	if err != nil {
		return err
	}
	return a.accepted(ctx, q, c, t, o.inputs)
}

// accepted dispatches a job, unless it is past that, and answers with its status.
func (a *API) accepted(ctx context.Context, q *request, c Caller, t *jobaudit.Trail, inputs json.RawMessage) error {
	f, err := a.readBack(ctx, c, t.JobID())
	if err != nil {
		return err
	}
	if !f.isOwn(c) { // who knows a key of another's may not know of the job
		if err := a.mayRead(ctx, c, &f); err != nil {
			return err
		}
	}
	if f.State == jobaudit.Pending {
		if err := a.opts.Dispatch(ctx, t, bytes.Clone(inputs)); err != nil {
			return problem{code: unavailable, message: "the job is recorded and could not be dispatched", cause: err}
		}
	}
	return q.answerJob(http.StatusAccepted, &f.Job)
}

// readBack reads a job that was acknowledged, which a reader may show a moment
// later.
func (a *API) readBack(ctx context.Context, c Caller, id uuid.UUID) (found, error) {
	f, err := a.lookUp(ctx, c, id)
	if !errors.Is(err, jobaudit.ErrNotFound) {
		return f, err
	}
	for _, err := range a.log.Tail(ctx, jobaudit.Query{JobID: id, Limit: 1}) {
		if err != nil {
			return found{}, err
		}
	}
	return a.lookUp(ctx, c, id)
}

// submitNew records a job under an ID, or a new one.
func (a *API) submitNew(ctx context.Context, q *request, c Caller, o *order, id uuid.UUID, upstream jobaudit.Ref) (*jobaudit.Trail, error) {
	from, _ := netip.ParseAddrPort(q.r.RemoteAddr)
	s := jobaudit.Submission{
		ID: id, Action: o.action, Inputs: o.inputs, Principal: c.Principal, OrgID: c.OrgID, Upstream: upstream,
		RequestID: q.id, TraceParent: q.r.Header.Get("traceparent"), SourceIP: from.Addr().Unmap().WithZone(""),
		Trigger: jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: o.reason, Ref: q.foreign},
	}
	if c.Kind == jobaudit.User {
		s.Trigger.Kind = jobaudit.Manual
	}
	if s.Trigger.Reason == "" {
		s.Trigger.Reason = "asked for over HTTP"
	}
	t, err := a.rec.Submit(ctx, s)
	// What only describes the request is left out if it cannot be recorded.
	if field, ok := errors.AsType[*jobaudit.FieldError](err); ok && (field.Field == "why.ref" || field.Field == "traceparent") {
		s.Trigger.Ref, s.TraceParent = "", ""
		t, err = a.rec.Submit(ctx, s)
	}
	if err == nil {
		return t, nil
	}
	if t != nil && id == uuid.Nil { // nobody can ask for this job again
		a.background(func() { _ = t.Cancel(context.Background(), "the request was answered with an error") })
	}
	return nil, refused(err)
}

// refused is the answer to a submission that was not recorded.
func refused(err error) error {
	field, isField := errors.AsType[*jobaudit.FieldError](err)
	switch {
	case errors.Is(err, jobaudit.ErrNoPolicy), isField && field.Field == "what.action":
		return invalid("action")
	case isField && field.Field == "why.reason":
		return invalid("reason")
	case isField:
		return problem{code: internal, message: "something went wrong", cause: err}
	}
	return problem{code: unavailable, message: "no job can be recorded now, so none is started", cause: err}
}

// keyWindow is for how long an Idempotency-Key counts, from its first use.
const keyWindow = 24 * time.Hour

// idOf is the ID of the job that a key stands for if it was first used in the
// window of that number.
func (a *API) idOf(c Caller, key uuid.UUID, window int64) uuid.UUID {
	sum := a.mac("job", []byte(c.OrgID), key[:], binary.BigEndian.AppendUint64(nil, uint64(window)))
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // a UUIDv8, RFC 9562
	return id
}

// upstreamOf says which key and body a submission came from.
func (a *API) upstreamOf(c Caller, o *order) jobaudit.Ref {
	sum := a.mac("body", []byte(c.OrgID), o.key[:], o.body)
	return jobaudit.Ref{System: "idempotency-key", ID: o.key.String() + " " + base64.RawURLEncoding.EncodeToString(sum[:16])}
}

// submitOnce returns the job that the caller's key stands for, which it records if
// there is none yet.
func (a *API) submitOnce(ctx context.Context, q *request, c Caller, o *order) (*jobaudit.Trail, error) {
	done, err := a.turn(ctx, a.mac("turn", []byte(c.OrgID), o.key[:]))
	if err != nil {
		return nil, err
	}
	defer done()
	now := time.Now()
	window := now.UnixNano() / int64(keyWindow)
	before, own, after := a.idOf(c, o.key, window-1), a.idOf(c, o.key, window), a.idOf(c, o.key, window+1)
	for _, id := range []uuid.UUID{before, own} {
		r, err := a.submissionOf(ctx, id)
		if err == nil && r.Time().Add(keyWindow).After(now) {
			return a.resume(ctx, c, o, r)
		}
		if err != nil && !errors.Is(err, jobaudit.ErrNotFound) {
			return nil, err
		}
	}
	t, err := a.submitNew(ctx, q, c, o, own, a.upstreamOf(c, o))
	if err != nil {
		return nil, err
	}
	// Another replica may have been faster: what stands first in the log counts.
	first, err := a.settled(ctx, own)
	if err != nil {
		return nil, err
	}
	for _, id := range []uuid.UUID{before, after} {
		other, err := a.standsBefore(ctx, id, first, now)
		if errors.Is(err, jobaudit.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := t.Deduplicate(ctx, id); err != nil {
			return nil, err
		}
		return a.resume(ctx, c, o, other)
	}
	if a.isSame(c, o, first) {
		return t, nil
	}
	return nil, errOtherBody
}

var errOtherBody = problem{code: conflict, message: "the Idempotency-Key was used with another body"}

func (a *API) isSame(c Caller, o *order, r jobaudit.Record) bool {
	return r.Event().Who.Upstream == a.upstreamOf(c, o)
}

// resume opens a Trail of a job that a key stands for already.
func (a *API) resume(ctx context.Context, c Caller, o *order, r jobaudit.Record) (*jobaudit.Trail, error) {
	if !a.isSame(c, o, r) {
		return nil, errOtherBody
	}
	return a.rec.Resume(ctx, r.Carrier(), o.inputs)
}

// submissionOf returns the first submission of a job that can be read now. A job
// that turned out to be another one has none.
func (a *API) submissionOf(ctx context.Context, id uuid.UUID) (jobaudit.Record, error) {
	first, notFound := jobaudit.Record{}, jobaudit.ErrNotFound
	q := jobaudit.Query{JobID: id, Types: []jobaudit.EventType{jobaudit.JobSubmitted, jobaudit.JobDeduplicated}}
	for r, err := range a.log.Records(ctx, q) {
		switch _, damaged := errors.AsType[*jobaudit.UnreadableError](err); {
		case damaged:
		case err != nil:
			return r, err
		case r.Type() == jobaudit.JobDeduplicated:
			return r, jobaudit.ErrNotFound
		case notFound != nil:
			first, notFound = r, nil
		}
	}
	return first, notFound
}

// settled returns the first submission of a job that was acknowledged, once its
// place in the log is final.
func (a *API) settled(ctx context.Context, id uuid.UUID) (jobaudit.Record, error) {
	q := jobaudit.Query{JobID: id, Types: []jobaudit.EventType{jobaudit.JobSubmitted}, Limit: 1}
	for r, err := range a.log.Tail(ctx, q) {
		if _, damaged := errors.AsType[*jobaudit.UnreadableError](err); !damaged {
			return r, err
		}
	}
	return jobaudit.Record{}, jobaudit.ErrNotFound
}

// standsBefore returns the submission of a job of the same key in another window,
// if it stands before r in the log. That happens when one replica's clock is in the
// next window already. Otherwise the error is ErrNotFound.
func (a *API) standsBefore(ctx context.Context, id uuid.UUID, r jobaudit.Record, now time.Time) (jobaudit.Record, error) {
	other, err := a.submissionOf(ctx, id)
	if err != nil {
		return other, err
	}
	q := jobaudit.Query{JobID: id, Types: []jobaudit.EventType{jobaudit.JobSubmitted}, After: r.ID(), Limit: 1}
	for behind, err := range a.log.Records(ctx, q) {
		if err != nil {
			return other, err
		}
		if behind.ID() == other.ID() {
			return other, jobaudit.ErrNotFound
		}
	}
	if !other.Time().Add(keyWindow).After(now) {
		return other, jobaudit.ErrNotFound
	}
	return other, nil
}

// turn waits until nobody else in this process uses the key.
func (a *API) turn(ctx context.Context, key [32]byte) (done func(), err error) {
	for {
		a.mu.Lock()
		busy, taken := a.turns[key]
		if !taken {
			mine := make(chan bool)
			a.turns[key] = mine
			a.mu.Unlock()
			return func() {
				a.mu.Lock()
				delete(a.turns, key)
				a.mu.Unlock()
				close(mine)
			}, nil
		}
		a.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
