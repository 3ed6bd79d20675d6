package jobaudit

import (
	"fmt"
	"slices"

	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/policy"
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
}

// sanitizer returns what sanitizes the content of one job of an action. g may
// be nil.
func (g *Registry) sanitizer(action string) *sanitizer {
	d := &sanitizer{registry: g, action: action}
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

// inputs returns what may be stored of a job's inputs, and remembers what
// is removed.
// The error wraps ErrNoPolicy, under RequirePolicy, and is nil otherwise: every
// other failure keeps the event, and its redaction block says so.
func (d *sanitizer) inputs(v any) (content, error) {
	if d.redactor == nil && d.registry != nil && d.registry.opts.RequirePolicy {
		return content{}, fmt.Errorf("action %q: %w", d.action, ErrNoPolicy)
	}
	c := d.content(v, sideInputs, (*inputGuard)(d))
	d.removed.From(v, c.json, revealed)
	return c, nil
}

// resume remembers what inputs would have remembered where the job was
// submitted. If there is a policy and no inputs, it notes that later texts
// cannot be compared with what the policy removed.
func (d *sanitizer) resume(inputs any) {
	if absent(inputs) {
		if d.redactor != nil {
			d.removed.SetIncomplete()
		}
		return
	}
	d.removed.From(inputs, d.content(inputs, sideInputs, (*inputGuard)(d)).json, revealed)
}

// output returns what may be stored of a job's output.
func (d *sanitizer) output(v any) content {
	c := d.content(v, sideOutput, (*laterGuard)(d))
	if c.redaction != nil && d.removed.Incomplete() {
		block := *c.redaction // which may be shared
		block.Taint = taintUnavailable
		c.redaction = &block
	}
	return c
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
// compared with what was removed from the job's inputs, and nil if they could.
func (d *sanitizer) gap() *Redaction {
	if d.redactor == nil || !d.removed.Incomplete() {
		return nil
	}
	block := d.redactor.block(RedactionKept)
	block.Taint = taintUnavailable
	return block
}

// inputGuard checks what is kept of a job's inputs; laterGuard checks its later
// texts and its output, which must not hold what was removed from the inputs.
type inputGuard sanitizer

func (d *inputGuard) Check(text string) (rule string) { return d.registry.Scan(text) }

func (d *inputGuard) Pseudonym(class, text string) string {
	return (*sanitizer)(d).pseudonym(class, text)
}

type laterGuard sanitizer

func (d *laterGuard) Check(text string) (rule string) {
	if rule := d.registry.Scan(text); rule != "" {
		return rule
	}
	if d.removed.In(text) {
		return ruleTaint
	}
	return ""
}

func (d *laterGuard) Pseudonym(class, text string) string {
	return (*sanitizer)(d).pseudonym(class, text)
}

func (d *sanitizer) pseudonym(class, text string) string {
	if d.registry == nil || d.registry.pseudonyms == nil {
		return ""
	}
	return d.registry.pseudonyms.Of(d.org, class, text)
}

// null has no room behind it that an append could write to.
var null = slices.Clip([]byte("null"))

func (d *sanitizer) content(v any, side string, guard walk.Guard) content {
	env := walk.Env{Limit: fields.MaxContent, Guard: guard}
	switch {
	case absent(v):
		return content{json: null}
	case d.redactor != nil:
		c, _ := d.redactor.redact(v, side, env)
		return c
	case d.registry != nil && d.registry.opts.PassThrough:
		r, err := policy.Whole(v, env)
		return complete(&Redaction{Outcome: RedactionPassedThrough}, r, err)
	}
	return content{json: null, redaction: &Redaction{Outcome: RedactionNoPolicy}}
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
