package jobaudit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/delivery"
	"github.com/jobaudit/jobaudit/internal/environ"
	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/taint"
)

// Act is what a principal did with records, rather than with a job: who read
// them, who reviewed them. And it is what a principal has asked of a job whose end
// others record: that it be cancelled. [Recorder.Act] records it.
type Act struct {
	// Type is AuditRead, AuditReviewed, AuditRequested or AuditErased. The other types
	// of acts are reserved until something gives them effect.
	Type EventType
	// Principal is who did it, and Reason why: free text, at most 1,024 bytes.
	// Both are required.
	Principal Principal
	Reason    string
	OrgID     string // whose records are concerned
	// Scope selects the records that are concerned; the zero Query means all of
	// the log. After, Limit and NewestFirst say in which pages they were read, and
	// are not stored.
	Scope Query
	// Data is what came of it, as the findings of a review. What the Redactor of
	// the action that is called as the type keeps of it, on the side of outputs,
	// is stored; without such a Redactor all of it is, if it passes the scan.
	Data any
}

// check says what is wrong with an act. g, which may be nil, has the scan.
func (a *Act) check(g *Registry) error {
	switch {
	case !isAct(a.Type):
		return &FieldError{Field: "type", Problem: "is no type of act"}
	case a.Type != AuditRead && a.Type != AuditReviewed && a.Type != AuditRequested && a.Type != AuditErased:
		return &FieldError{Field: "type", Problem: "is reserved: nothing gives it effect yet"}
	}
	if err := checkPrincipal(principalFields, a.Principal); err != nil {
		return err
	}
	if a.OrgID != "" {
		if err := checkStrings(given{"who.orgId", a.OrgID}); err != nil {
			return err
		}
	}
	if err := checkStrings(given{"why.reason", a.Reason}); err != nil {
		return err
	}
	if err := cmp.Or(g.checkPrincipal(principalFields, &a.Principal), g.checkIdentifiers(given{"who.orgId", a.OrgID})); err != nil {
		return err
	}
	return a.Scope.checkScope(g)
}

// checkScope says which part of a scope cannot be stored unchanged. A scope is
// not cut: it would select other records.
func (q *Query) checkScope(g *Registry) error {
	const at = scopePath
	for name, id := range map[string]uuid.UUID{"jobId": q.JobID, "correlationId": q.CorrelationID, "rootId": q.RootID} {
		if err := checkID(at+name, id); err != nil {
			return err
		}
	}
	for name, t := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if problem := environ.TimeProblem(t); !t.IsZero() && problem != "" {
			return &FieldError{Field: at + name, Problem: "is not between 1970 and 9999"}
		}
	}
	if len(q.Types) > fields.MaxList {
		return &FieldError{Field: at + "types", Problem: fmt.Sprintf("has more than %d elements", fields.MaxList)}
	}
	values := q.texts()
	return cmp.Or(checkStrings(values...), g.checkIdentifiers(values...))
}

const scopePath = "data.act.scope."

// texts are the texts of a scope.
func (q *Query) texts() []given {
	const at = scopePath
	values := []given{
		{at + "principalId", q.PrincipalID}, {at + "actingFor", q.ActingFor}, {at + "orgId", q.OrgID}, {at + "action", q.Action},
		{at + "resource", q.Resource}, {at + "state", string(q.State)}, {at + "errorCode", string(q.ErrorCode)},
	}
	for _, typ := range q.Types {
		values = append(values, given{at + "types", string(typ)})
	}
	return values
}

// Act records what a principal did with records, in the recorder's own stream,
// and returns once that is durable, or after the recorder's OutcomeTimeout. It
// retries until then and does not end with ctx; the event is sent on in the
// background then. While the sink takes nothing, a bounded number is kept: what
// finds no room fails at once, and is not recorded.
//
// Where the log has another writer, or the actor none of its keys, open a
// Recorder on a log of its own, with a key of its own, that names the other in
// [Options.CompanionOf]: readers and verifiers take it as a further source.
//
// The error is an [*AuditError]; it wraps a [*FieldError] if a field is missing
// or malformed, and nothing was stored then.
func (r *Recorder) Act(ctx context.Context, a Act) error {
	if err := r.opened("act"); err != nil {
		return err
	}
	if err := r.act(ctx, &a, payload{}); err != nil {
		return &AuditError{Op: "act", Err: err}
	}
	return nil
}

func (r *Recorder) act(ctx context.Context, a *Act, data payload) error {
	if r.closed.Load() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := a.check(r.opts.Redactors); err != nil {
		return err
	}
	s := r.opts.Redactors.sanitizer(string(a.Type))
	env := &envelope{correlationID: r.incarnation, requestID: r.incarnation}
	env.describe(&Submission{
		Action: string(a.Type), Principal: a.Principal, OrgID: a.OrgID,
		Trigger: Trigger{Kind: triggerOf(a.Principal), Reason: a.Reason},
	}, r.where, s)
	s.describes(&Submission{Action: string(a.Type), Principal: a.Principal, OrgID: a.OrgID})
	content := s.act(a.Data)
	data.act = &actData{scope: a.Scope, data: content.json}
	d := draft{id: r.opts.NewID(), typ: a.Type, time: r.opts.Now(), data: data, redaction: content.redaction}
	return r.storeOwn(ctx, env, &d)
}

// triggerOf says why a principal acts: people because they want to.
func triggerOf(p Principal) TriggerKind {
	if p.Kind == User {
		return Manual
	}
	return OnEvent
}

// Erase deletes the keys of a subject, a person say, and records that, as an
// audit.erased event of the recorder's own service. [Recorder.EraseBy] says who
// did it.
func (r *Recorder) Erase(ctx context.Context, keys interface {
	Erase(subject string) (ids []string, err error)
}, subject, reason string) error {
	if err := r.opened("erase"); err != nil {
		return err
	}
	return r.erase(ctx, keys, subject, reason, nil)
}

// EraseBy deletes the keys of a subject, a person say, and records that, as an
// audit.erased event: what was sealed with those keys (package erasure) cannot
// be read any more, while every hash still verifies. keys is what
// holds them, as erasure.KeyStore does; its Erase returns the IDs of the keys
// that it has deleted, which the event holds. The act says who did it and why;
// its type is AuditErased, or empty.
//
// The subject is not stored: a reason that names it is dropped, and a principal,
// organization, Scope or Data that does is a [*FieldError], a subject of less than eight
// bytes as a whole word; name who does it for them. If EraseBy
// returns an error, part of this may have been done: call it again. A call that
// finds no key is recorded as well. Backups of the keys are yours to delete.
func (r *Recorder) EraseBy(ctx context.Context, keys interface {
	Erase(subject string) (ids []string, err error)
}, subject string, a Act) error {
	if err := r.opened("erase"); err != nil {
		return err
	}
	setDefault(&a.Type, AuditErased)
	err := a.check(r.opts.Redactors)
	switch {
	case err == nil && a.Type != AuditErased:
		err = &FieldError{Field: "type", Problem: "is not audit.erased"}
	case err == nil && subject != "":
		err = r.tellsOf(&a, subject)
	}
	if err != nil {
		return &AuditError{Op: "erase", Err: err}
	}
	return r.erase(ctx, keys, subject, a.Reason, &a)
}

func (r *Recorder) erase(ctx context.Context, keys interface {
	Erase(subject string) (ids []string, err error)
}, subject, reason string, a *Act) error {
	if r.closed.Load() {
		return &AuditError{Op: "erase", Err: ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return &AuditError{Op: "erase", Err: err}
	}
	if subject == "" {
		return &AuditError{Op: "erase", Err: &FieldError{"subject", "is required"}}
	}
	ids, err := keys.Erase(subject)
	if err != nil && len(ids) == 0 {
		return &AuditError{Op: "erase", Err: err}
	}
	data := r.erasedKeys(ids)
	names := isOf(reason, subject) || holdsOne(reason, ids)
	var stored error
	switch {
	case a != nil:
		if names {
			a.Reason = "withheld: it named the subject"
		}
		stored = r.act(context.WithoutCancel(ctx), a, payload{erased: data})
	case names && reason != "":
		data.reason = text{dropped: "subject"}
		stored = r.storeErased(ctx, data)
	default:
		if reason != "" {
			data.reason = r.sanitizer.text(reason)
		}
		stored = r.storeErased(ctx, data)
	}
	if stored == nil {
		stored = err
	}
	if stored != nil {
		return &AuditError{Op: "erase", Err: stored}
	}
	return nil
}

func (r *Recorder) storeErased(ctx context.Context, data *erasedData) error {
	d := draft{id: r.opts.NewID(), typ: AuditErased, time: r.opts.Now(), data: payload{erased: data}}
	return r.storeOwn(ctx, r.envelope(AuditErased), &d)
}

// storeOwn stores an event of the recorder's own stream, as an outcome is: it is
// retried until OutcomeTimeout, and sent on in the background then. What is kept of
// acts is bounded, as who reads decides how many there are, and leaves room for what
// tells of losses; an erasure has happened already, and is kept as outcomes are.
func (r *Recorder) storeOwn(ctx context.Context, env *envelope, d *draft) error {
	e := entry{Event: env.encode(d), Urgency: delivery.Snapshot}
	if d.typ == AuditErased {
		e.Urgency = delivery.Outcome
	}
	return r.send(context.WithoutCancel(ctx), []entry{e}, r.opts.OutcomeTimeout)
}

// tellsOf says what of an act, other than its reason, names the subject.
func (r *Recorder) tellsOf(a *Act, subject string) error {
	texts := append(a.Scope.texts(), given{principalFields.id, a.Principal.ID}, given{"who.principal.name", a.Principal.Name},
		given{principalFields.method, a.Principal.AuthMethod}, given{principalFields.session, a.Principal.AuthSession},
		given{"who.orgId", a.OrgID})
	stored := json.NewDecoder(bytes.NewReader(r.opts.Redactors.sanitizer(string(a.Type)).act(a.Data).json))
	stored.UseNumber()
	for token, err := stored.Token(); err == nil; token, err = stored.Token() {
		texts = append(texts, given{"data.act.data", fmt.Sprint(token)})
	}
	for _, text := range texts {
		if isOf(text.value, subject) {
			return &FieldError{Field: text.path, Problem: "names the subject, which must not be stored"}
		}
	}
	return nil
}

// isOf reports whether a value names a subject. A short subject, as a number, stands in
// others by chance: it has to be the value, or a word of it.
func isOf(value, subject string) bool {
	const long = 8
	if len(subject) < long {
		var named taint.Set
		named.Add(subject, true)
		return isWord(value, subject) || named.Matcher().Match(value)
	}
	if strings.Contains(strings.ToLower(value), strings.ToLower(subject)) {
		return true
	}
	var named taint.Set
	named.Add(subject, true)
	return named.Matcher().Match(value)
}

// isWord reports whether a text holds the word, with no letter or digit beside it.
func isWord(text, word string) bool {
	text, word = strings.ToLower(text), strings.ToLower(word)
	beside := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for from := 0; ; {
		at := strings.Index(text[from:], word)
		if at < 0 {
			return false
		}
		at += from
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		after, _ := utf8.DecodeRuneInString(text[at+len(word):])
		if !beside(before) && !beside(after) {
			return true
		}
		from = at + 1
	}
}

// holdsOne reports whether a text holds the ID of something that was sealed.
func holdsOne(text string, keys []string) bool {
	return slices.ContainsFunc(keys, func(id string) bool { return id != "" && strings.Contains(text, id) })
}

// erasedKeys keeps the IDs that can be stored and counts the others: the keys
// are gone whatever their store calls them.
func (r *Recorder) erasedKeys(ids []string) *erasedData {
	data := &erasedData{}
	for _, id := range ids {
		if err := checkStrings(given{"data.erased.keys", id}); err != nil || id == "" {
			data.more++
			continue
		}
		data.keys = append(data.keys, id)
	}
	if data.more > 0 {
		err := fmt.Errorf("%d keys were deleted whose IDs cannot be stored", data.more)
		r.report(context.Background(), "erase", uuid.Nil, err)
	}
	return data
}

// CancelBy is [Trail.Cancel] by a principal other than the job's own, such as
// an operator of its queue: the event's Who is theirs. The reason, a free text,
// is required. The error wraps a [*FieldError] if by or the reason is missing
// or malformed; nothing was stored then.
func (t *Trail) CancelBy(ctx context.Context, by Principal, reason string) error {
	if err := t.opened("cancel"); err != nil {
		return err
	}
	env, err := t.by(by, reason)
	if err != nil {
		return t.fail("cancel", err)
	}
	return t.cancelled(ctx, env, reason)
}

// by is what an event says of who, what, where and why that is an act of
// another principal than the job's.
func (t *Trail) by(p Principal, reason string) (*envelope, error) {
	err := cmp.Or(checkPrincipal(principalFields, p), checkStrings(given{"why.reason", reason}),
		t.rec.opts.Redactors.checkPrincipal(principalFields, &p))
	if err != nil {
		return nil, err
	}
	env := t.env
	s := t.sub
	s.Principal, s.OnBehalfOf, s.Upstream = p, nil, Ref{}
	s.Trigger = Trigger{Kind: triggerOf(p), Reason: reason}
	s.SourceIP = netip.Addr{} // where the submission came from
	env.more, env.proof = 0, proof{}
	env.describe(&s, t.rec.where, t.sanitizer)
	return &env, nil
}
