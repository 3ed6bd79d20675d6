package jobaudit

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"weak"

	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/policy"
	"github.com/jobaudit/jobaudit/internal/taint"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// content is a value that has been sanitized: its encoded JSON, within the limit, and
// what was done to it. Without a value there is nothing to say: json is null
// and redaction is nil.
type content struct {
	json      []byte
	redaction *Redaction
}

// sanitizer is the only way by which a job's content reaches its events. It is
// safe for concurrent use. The values that a policy removed from the job's
// inputs are kept here, and nowhere else, for as long as the job's Trail.
type sanitizer struct {
	registry *Registry // may be nil
	action   string
	redactor *Redactor // nil if the action has none
	org      string
	removed  policy.RemovedValues
	recent   *recentJobs // of a recorder's own texts; nil otherwise
	missing  struct {    // what a Carrier says was removed and is not known here
		own, above bool
	}
}

// missed returns what a Carrier says of the job's inputs: whether something was removed
// from them, and from those of jobs above. Without a policy that is what looks like a
// credential, as nothing else is looked for.
func (d *sanitizer) missed() (own, above bool) {
	own = d.removed.Any()
	if own && d.redactor == nil && !d.passes() {
		own = d.removed.Looks()
	}
	return own || d.missing.own, d.removed.Inherits() || d.missing.above
}

// sanitizer returns what sanitizes the content of one job of an action. g may
// be nil.
func (g *Registry) sanitizer(action string) *sanitizer { return new(sanitizer).of(g, action) }

// of makes a zero sanitizer what Registry.sanitizer returns.
func (d *sanitizer) of(g *Registry, action string) *sanitizer {
	d.registry, d.action = g, action
	if g != nil {
		d.redactor = g.actions[action]
	}
	return d
}

// describes notes whose job it is: what the record says of the job anyway is no
// secret.
func (d *sanitizer) describes(s *Submission) {
	d.org = s.OrgID
	d.removed.Known(s.Action, s.Principal.ID, s.OrgID)
}

// under notes that the job was asked for by another one, if parent is not nil: it
// may have been given what was removed from that one's inputs.
func (d *sanitizer) under(parent *Trail) {
	if parent != nil {
		d.removed.Inherit(&parent.sanitizer.removed)
	}
}

// inputs returns what may be stored of a job's inputs, and keeps the values that
// are removed from them. The error wraps ErrNoPolicy, under RequirePolicy, and
// is nil otherwise: every other failure keeps the event, and its redaction block
// says so.
func (d *sanitizer) inputs(v any) (content, error) {
	if d.redactor == nil && d.registry != nil && d.registry.opts.RequirePolicy {
		return content{}, fmt.Errorf("action %q: %w", d.action, ErrNoPolicy)
	}
	if absent(v) { // nothing is removed from nothing, and what is known stays
		return content{json: null}, nil
	}
	var c content
	d.removed.Collect(func(to *policy.Collection) []byte {
		c, _ = d.collect(v, to)
		return c.json
	})
	return d.marked(c), nil
}

// marked returns c with a block that says, if it is so, that not all that was
// removed from the inputs is known.
func (d *sanitizer) marked(c content) content {
	if c.redaction != nil && d.removed.Incomplete() {
		block := *c.redaction // which may be shared
		block.Taint = taintUnavailable
		c.redaction = &block
	}
	return c
}

// resume keeps the values that inputs would have kept where the job was
// submitted. It notes that later texts cannot be compared with what was removed if
// there are no inputs, but a policy or a Carrier that says that something was, and if
// the Carrier says so of jobs above of which nothing is known here.
func (d *sanitizer) resume(inputs any, removed, above bool) {
	d.missing.own = removed && absent(inputs)
	d.missing.above = above && !d.removed.Inherits()
	if absent(inputs) && d.redactor != nil || d.missing.own || d.missing.above {
		d.removed.SetIncomplete()
	}
	if absent(inputs) {
		return
	}
	d.removed.Collect(func(to *policy.Collection) []byte {
		c, _ := d.collect(inputs, to)
		return c.json
	})
}

// collect sanitizes inputs and collects what is removed from them: by a policy
// all that it does not keep, without one what looks like a credential. The error
// is the cause of an outcome for which the inputs are withheld.
func (d *sanitizer) collect(v any, to *policy.Collection) (content, error) {
	c := &collecting{collector: walk.Collector{To: to.To, Reveal: revealed, Named: surelyNamed, Word: taint.Word}, guard: inputGuard{sanitizer: d}, to: to}
	if d.redactor == nil && !d.passes() {
		to.To.CredentialsOnly(func(text string) bool { return d.registry.Scan(text) != "" })
		c.collector.Named = named
	}
	c.call = policy.Call{Env: walk.Env{Limit: fields.MaxContent, Guard: &c.guard, Removed: &c.collector}, Again: c.again}
	kept, err := d.content(v, sideInputs, &c.call)
	if err != nil { // none of it is stored
		collectAll(v, &c.collector)
	}
	return kept, err
}

// named returns what a member's name says of its value, where nothing else says anything.
func named(name string) walk.Naming {
	if n := taint.Named(name, true); n != nil {
		return n
	}
	return nil
}

// surelyNamed is named beside a policy: names that other things have, too, say nothing.
func surelyNamed(name string) walk.Naming {
	if n := taint.Named(name, false); n != nil {
		return n
	}
	return nil
}

// collecting is what a job's inputs pass through.
type collecting struct {
	collector walk.Collector
	guard     inputGuard
	call      policy.Call
	to        *policy.Collection
}

// again reports whether what is kept holds a credential, so that it has to be
// encoded once more, without that.
func (c *collecting) again(result walk.Result) bool {
	if !c.to.Again(result) {
		return false
	}
	c.guard.credentials, c.call.Removed = c.to, nil
	return true
}

// collectAll collects all of v, which may be anything.
func collectAll(v any, collector *walk.Collector) {
	defer func() {
		if recover() != nil {
			collector.To.SetIncomplete()
		}
	}()
	collector.Texts(reflect.ValueOf(v), false)
}

// passes reports whether content is stored whole.
func (d *sanitizer) passes() bool { return d.registry != nil && d.registry.opts.PassThrough }

// output returns what may be stored of a job's output.
func (d *sanitizer) output(v any) content {
	c, _ := d.content(v, sideOutput, &policy.Call{Env: walk.Env{Limit: fields.MaxContent, Guard: (*laterGuard)(d)}})
	return d.marked(c)
}

const (
	ruleTaint        = "taint"       // a text that holds what was removed from the inputs
	taintUnavailable = "unavailable" // what was removed from the inputs is not known
)

// maxScanned is how much of a free text is looked at: no more than a part of it
// is ever stored, and what follows that is of interest only as far as it could
// complete what begins there.
const maxScanned = 16 << 10

// text returns what may be stored of a free text.
func (d *sanitizer) text(s string) text {
	if rule := (*laterGuard)(d).Check(s[:min(len(s), maxScanned)]); rule != "" {
		return text{dropped: rule}
	}
	return text{value: s}
}

// gap returns the redaction block of an event whose texts could not be
// compared with all that was removed from the job's inputs, and nil if they
// could.
func (d *sanitizer) gap() *Redaction {
	if !d.removed.Incomplete() {
		return nil
	}
	block := &Redaction{Outcome: RedactionNoPolicy}
	switch {
	case d.redactor != nil:
		block = d.redactor.block(RedactionKept)
	case d.passes():
		block.Outcome = RedactionPassedThrough
	}
	block.Taint = taintUnavailable
	return block
}

// inputGuard checks what is kept of a job's inputs. It must not hold a
// credential that was removed beside it.
type inputGuard struct {
	*sanitizer
	credentials *policy.Collection // nil until they are all known
}

func (d *inputGuard) Check(text string) (rule string) {
	if rule := d.registry.Scan(text); rule != "" {
		return rule
	}
	if d.credentials != nil && d.credentials.Holds(text) {
		return ruleTaint
	}
	return ""
}

func (d *inputGuard) Pseudonym(class, text string) string { return d.pseudonym(class, text) }

func (d *inputGuard) Least() (bytes, digits int) {
	if d.credentials != nil {
		return (*laterGuard)(d.sanitizer).Least()
	}
	return d.registry.scan().Least()
}

// laterGuard checks a job's later texts and its output. They must not hold what
// was removed from the inputs.
type laterGuard sanitizer

func (d *laterGuard) Check(text string) (rule string) {
	if rule := d.registry.Scan(text); rule != "" {
		return rule
	}
	if d.removed.In(text) || d.recent.hold(text) {
		return ruleTaint
	}
	return ""
}

func (d *laterGuard) Pseudonym(class, text string) string {
	return (*sanitizer)(d).pseudonym(class, text)
}

// Least is for texts and numbers that are compared with what was removed.
func (d *laterGuard) Least() (bytes, digits int) { return 0, 8 }

func (d *sanitizer) pseudonym(class, text string) string {
	if d.registry == nil || d.registry.pseudonyms == nil {
		return ""
	}
	return d.registry.pseudonyms.Of(d.org, class, text)
}

// null has no room behind it that an append could write to.
var null = slices.Clip([]byte("null"))

// facts returns what may be stored of an application's facts about itself.
func (d *sanitizer) facts(v any) content {
	c, _ := d.content(v, sideInputs, &policy.Call{Env: walk.Env{Limit: fields.MaxContent, Guard: (*laterGuard)(d)}})
	return c
}

// act returns what may be stored of what came of an act: all that passes the
// scan, unless a policy says less.
func (d *sanitizer) act(v any) content {
	switch {
	case absent(v):
		return content{}
	case d.redactor != nil:
		return d.output(v)
	}
	r, err := policy.Whole(v, &policy.Call{Env: walk.Env{Limit: fields.MaxContent, Guard: (*laterGuard)(d)}})
	return complete(&Redaction{Outcome: RedactionPassedThrough}, r, err)
}

// content passes a value through the policy. The error is the cause of an
// outcome for which the value is withheld.
func (d *sanitizer) content(v any, side string, call *policy.Call) (content, error) {
	call.Numbers = d.registry != nil && len(d.registry.opts.Personal) > 0
	switch {
	case absent(v):
		return content{json: null}, nil
	case d.redactor != nil:
		return d.redactor.redact(v, side, call)
	case d.passes():
		call.Numbers = true
		r, err := policy.Whole(v, call)
		return complete(&Redaction{Outcome: RedactionPassedThrough}, r, err), err
	}
	return content{json: null, redaction: &Redaction{Outcome: RedactionNoPolicy}}, ErrNoPolicy
}

// complete completes a redaction block with what came of a walk.
func complete(block *Redaction, r walk.Result, err error) content {
	if err != nil {
		block.Outcome = outcomeOf(err)
		return content{json: null, redaction: block}
	}
	for _, removal := range r.Removed {
		block.Removed = append(block.Removed, struct{ Path, Class string }(removal))
	}
	block.RemovedCount = int64(r.Count)
	for _, hit := range r.Hits {
		block.Hits = append(block.Hits, struct{ Path, Rule string }(hit))
	}
	return content{json: r.JSON, redaction: block}
}

// textOf sanitizes an optional text.
func (t *Trail) textOf(s string) text {
	if s == "" {
		return text{}
	}
	return t.sanitizer.text(s)
}

// revealed returns what a Secret holds.
func revealed(v any) (any, bool) {
	s, ok := v.(interface{ held() any })
	if !ok {
		return nil, false
	}
	return s.held(), true
}

// recentJobs are the jobs of a recorder that had something removed from their
// inputs, the last of them: a text of the recorder's own, as an error of its
// sink, may quote it. It does not keep them in memory.
type recentJobs struct {
	mu   sync.Mutex
	ring [1024]weak.Pointer[sanitizer]
	next int
}

func (r *recentJobs) add(d *sanitizer) {
	if !d.removed.Any() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring[r.next] = weak.Make(d)
	r.next = (r.next + 1) % len(r.ring)
}

// hold reports whether a text holds what was removed from one of the jobs.
func (r *recentJobs) hold(text string) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	ring := r.ring
	r.mu.Unlock()
	for _, job := range ring {
		if d := job.Value(); d != nil && d.removed.In(text) {
			return true
		}
	}
	return false
}
