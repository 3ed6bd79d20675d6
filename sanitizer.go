package jobaudit

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// content is a value after the door: its encoded JSON, within the limit, and
// what was done to it. Without a value there is nothing to say: json is null
// and redaction is nil.
type content struct {
	json      []byte
	redaction *Redaction
}

// door is the one way by which one job's content reaches its events. It is
// safe for concurrent use. What was removed of the job's inputs is remembered
// here, and nowhere else, for as long as the job's Trail.
type door struct {
	registry *Registry // may be nil
	action   string
	redactor *Redactor // nil if the action has none
	org      string
	memory   memory
}

// door returns the way through which the content of one job of that action
// goes. g may be nil.
func (g *Registry) door(action string) *door {
	d := &door{registry: g, action: action}
	if g != nil {
		d.redactor = g.actions[action]
	}
	return d
}

// about tells the door whose job it is: what the record says of it anyway is no
// secret.
func (d *door) about(s *Submission) {
	d.org = s.OrgID
	d.memory.know(s.Action, s.Principal.ID, s.OrgID)
}

// inputs returns what may be stored of a job's inputs, and remembers the rest.
// The error wraps ErrNoPolicy, under RequirePolicy, and is nil otherwise: every
// other failure keeps the event and is told by the redaction block.
func (d *door) inputs(v any) (content, error) {
	if d.redactor == nil && d.registry != nil && d.registry.opts.RequirePolicy {
		return content{}, fmt.Errorf("action %q: %w", d.action, ErrNoPolicy)
	}
	c := d.content(v, sideInputs, (*inputGuard)(d))
	d.memory.remember(v, c.json)
	return c, nil
}

// resume remembers what inputs would have remembered where the job was
// submitted. If there is a policy and no inputs, it notes that later texts
// cannot be compared with what the policy removed.
func (d *door) resume(inputs any) {
	if absent(inputs) {
		d.memory.missing = d.redactor != nil
		return
	}
	d.memory.remember(inputs, d.content(inputs, sideInputs, (*inputGuard)(d)).json)
}

// output returns what may be stored of a job's output.
func (d *door) output(v any) content {
	c := d.content(v, sideOutput, (*laterGuard)(d))
	if c.redaction != nil && d.memory.unavailable() {
		block := *c.redaction // which may be shared
		block.Taint = taintUnavailable
		c.redaction = &block
	}
	return c
}

// maxScanned is how much of a free text is looked at: no more than a part of it
// is ever stored, and what follows that is of interest only as far as it could
// complete what begins there.
const maxScanned = 16 << 10

// text returns what may be stored of a free text.
func (d *door) text(s string) text {
	if rule := (*laterGuard)(d).Check(s[:min(len(s), maxScanned)]); rule != "" {
		return text{dropped: rule}
	}
	return text{value: s}
}

// gap returns the redaction block of an event whose texts could not be
// compared with what was removed from the job's inputs, and nil if they could.
func (d *door) gap() *Redaction {
	if d.redactor == nil || !d.memory.unavailable() {
		return nil
	}
	block := d.redactor.block(outcomeKept)
	block.Taint = taintUnavailable
	return block
}

// inputGuard checks what is kept of a job's inputs; laterGuard checks its later
// texts and its output, which must not hold what was removed from the inputs.
type inputGuard door

func (d *inputGuard) Check(text string) (rule string) { return d.registry.Scan(text) }

func (d *inputGuard) Pseudonym(class, text string) string { return (*door)(d).pseudonym(class, text) }

type laterGuard door

func (d *laterGuard) Check(text string) (rule string) {
	if rule := d.registry.Scan(text); rule != "" {
		return rule
	}
	if d.memory.holds(text) {
		return ruleTaint
	}
	return ""
}

func (d *laterGuard) Pseudonym(class, text string) string { return (*door)(d).pseudonym(class, text) }

func (d *door) pseudonym(class, text string) string {
	if d.registry == nil || d.registry.pseudonyms == nil {
		return ""
	}
	return d.registry.pseudonyms.of(d.org, class, text)
}

// null has no room behind it that an append could write to.
var null = slices.Clip([]byte("null"))

func (d *door) content(v any, side string, guard walk.Guard) content {
	env := walk.Env{Limit: maxContent, Guard: guard}
	switch {
	case absent(v):
		return content{json: null}
	case d.redactor != nil:
		c, _ := d.redactor.redact(v, side, env)
		return c
	case d.registry != nil && d.registry.opts.PassThrough:
		r, err := guarded(v, env, passThrough)
		return settle(&Redaction{Outcome: outcomePassed}, r, err)
	}
	return content{json: null, redaction: &Redaction{Outcome: outcomeNoPolicy}}
}

func passThrough(v any, env walk.Env) (walk.Result, error) {
	return walk.Whole(reflect.ValueOf(v), env)
}

// settle completes a redaction block with what came of a walk.
func settle(block *Redaction, r walk.Result, err error) content {
	if err != nil {
		block.Outcome = outcomeOf(err)
		return content{json: null, redaction: block}
	}
	for _, removal := range r.Removed {
		block.Removed = append(block.Removed, struct{ Path, Class string }(removal))
	}
	block.RemovedCount = r.Count
	for _, hit := range r.Hits {
		block.Hits = append(block.Hits, struct{ Path, Rule string }(hit))
	}
	return content{json: r.JSON, redaction: block}
}

// textOf passes an optional text through the door.
func (t *Trail) textOf(s string) text {
	if s == "" {
		return text{}
	}
	return t.door.text(s)
}
