package jobaudit

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/jobaudit/jobaudit/internal/fields"
	"github.com/jobaudit/jobaudit/internal/policy"
	"github.com/jobaudit/jobaudit/internal/secrets"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// RegistryOptions says what happens to the content of actions that have no
// [Redactor]. The zero value withholds it, and the event says so.
type RegistryOptions struct {
	// RequirePolicy refuses to submit a job whose action has no Redactor: the
	// error wraps [ErrNoPolicy] and nothing is stored.
	RequirePolicy bool
	// PassThrough stores the content of such actions whole, within the limits
	// and without any [Secret]. An action that has a Redactor is never passed
	// through, not even on a side for which it has no rule.
	PassThrough bool

	// RequireSnapshots names the actions whose jobs are to record the state of
	// what they change before and after, see [Trail.Snapshot]. The outcome of a job
	// that has succeeded says which is missing. OnError is called with that, and,
	// at any end, of a snapshot before the change without one after it.
	RequireSnapshots []string

	// Patterns are the formats of secrets of your own, by the name of the rule
	// that records show, for the scan that every stored text passes. A pattern
	// is a literal beginning of at least two characters followed by literals
	// and character classes with their counts, as in acme_[A-Za-z0-9]{32} or
	// (?i)key-[0-9a-f]{16,64}.
	Patterns map[string]string
	// Allow are known-safe texts, such as a documented sample: what the scan
	// finds within one of them is no secret. They are a part of every policy
	// and stored with it.
	Allow []string
	// Without names rules of the scan that are not applied.
	Without []string
	// Personal are the classes of personal data that the scan is to find:
	// email, phone (international, with +), iban, ip. Default: none.
	Personal []string

	// PseudonymKey is the secret that [Path.Pseudonym] needs: at least 32
	// random bytes. Programs whose pseudonyms are to be equal share it. Who
	// loses it loses the means to look a value's records up; who publishes it
	// has published every value that can be guessed.
	PseudonymKey []byte
	// PseudonymEpoch counts how often pseudonyms were begun again with the same
	// key: those of different epochs do not show that they are of one value. It is
	// 0 or more.
	PseudonymEpoch int
}

// maxPolicy is the most bytes that a policy's document may have: it has to fit
// an event.
const maxPolicy = 40_000

// Registry holds the redaction policies of a program, one [Redactor] an
// action. It does not change once made and is safe for concurrent use. A nil
// Registry has no policies.
type Registry struct {
	opts    RegistryOptions
	actions map[string]*Redactor

	pseudonyms *policy.Pseudonyms // nil without a key
	scanner    *secrets.Scanner
}

// Scan names the rule by which a text gives itself away as a secret, or returns
// "". It is what every text that is stored passes: for unit tests of
// RegistryOptions.Patterns and Allow, and for what does not go into a record. A
// nil Registry scans without options.
func (g *Registry) Scan(text string) (rule string) {
	rule, _ = g.scan().Find(text)
	return rule
}

// scan returns the registry's scanner.
func (g *Registry) scan() *secrets.Scanner {
	if g == nil {
		return defaultScanner()
	}
	return g.scanner
}

// RedactInputs returns the bytes that would be stored of an action's inputs, with
// this registry's options, for a job without an organization. It is for unit
// tests of policies. The error says why the inputs would be withheld: it wraps
// [ErrNoPolicy], or the redactor's own error, which is not reported otherwise.
func (g *Registry) RedactInputs(action string, inputs any) (json.RawMessage, error) {
	d := g.sanitizer(action)
	if d.redactor == nil && !d.passes() {
		return nil, fmt.Errorf("action %q: %w", action, ErrNoPolicy)
	}
	var c content
	var cause error
	d.removed.Collect(func(to *policy.Collection) []byte {
		c, cause = d.collect(inputs, to)
		return c.json
	})
	return c.trial(action, sideInputs, cause)
}

// RedactOutput is [Registry.RedactInputs] for an action's output. Nothing is known
// to it of a job's inputs, which an output must not reveal.
func (g *Registry) RedactOutput(action string, output any) (json.RawMessage, error) {
	d := g.sanitizer(action)
	c, cause := d.content(output, sideOutput, &policy.Call{Env: walk.Env{Limit: fields.MaxContent, Guard: (*laterGuard)(d)}})
	return c.trial(action, sideOutput, cause)
}

// trial returns what would be stored, or why nothing would.
func (c content) trial(action, side string, cause error) (json.RawMessage, error) {
	if cause != nil {
		return nil, fmt.Errorf("%s of %q are withheld (%s): %w", side, action, c.redaction.Outcome, cause)
	}
	return c.json, nil
}

// Pseudonym returns the pseudonym that stands for a text of a class in the
// records of an organization, by which they can be found: for a person who asks
// what is stored of them. Case and spaces matter: bring a text into one form,
// an address in small letters say, before it is submitted and before it is looked
// up. It is "" if the registry has no PseudonymKey.
func (g *Registry) Pseudonym(org, class, text string) string {
	if g == nil || g.pseudonyms == nil {
		return ""
	}
	return g.pseudonyms.Of(org, class, text)
}

// credential names the rule by which an identifier gives itself away as a
// credential, or returns "". Numbers are identifiers, whatever they look like.
func (g *Registry) credential(identifier string) (rule string) {
	rule, _ = g.scan().Credentials().Find(identifier)
	return rule
}

// checkIdentifiers refuses identifiers that hold a credential: they are stored as
// they are.
func (g *Registry) checkIdentifiers(list ...given) error {
	for _, id := range list {
		if rule := g.credential(id.value); rule != "" {
			return &FieldError{id.path, "holds a secret: " + rule}
		}
	}
	return nil
}

// checkPrincipal is checkIdentifiers for a principal.
func (g *Registry) checkPrincipal(at *principalPaths, p *Principal) error {
	return g.checkIdentifiers(given{at.id, p.ID}, given{at.method, p.AuthMethod}, given{at.session, p.AuthSession})
}

// safe returns an identifier, or what stands for one that holds a credential,
// where there is no caller to refuse it to.
func (g *Registry) safe(identifier string) string {
	if rule := g.credential(identifier); rule != "" {
		return "dropped:" + rule
	}
	return identifier
}

// defaultScanner is the scan without options.
var defaultScanner = sync.OnceValue(func() *secrets.Scanner {
	s, err := secrets.New(nil)
	if err != nil {
		panic(err) // its own table
	}
	return s
})

// newScanner returns the scan that the options ask for, and its description
// for the policies, which is nil if it is the default.
func (o *RegistryOptions) newScanner() (*secrets.Scanner, []byte, error) {
	if o == nil || len(o.Patterns)+len(o.Allow)+len(o.Without)+len(o.Personal) == 0 {
		return defaultScanner(), nil, nil
	}
	c := secrets.Config{Allow: o.Allow, Without: o.Without}
	for rule, match := range o.Patterns {
		c.Patterns = append(c.Patterns, secrets.Pattern{Rule: rule, Match: match})
	}
	for _, class := range o.Personal {
		c.Personal = append(c.Personal, secrets.Class(class))
	}
	s, err := secrets.New(&c)
	if err != nil {
		return nil, nil, &FieldError{"RegistryOptions", err.Error()}
	}
	description, err := json.Marshal(s.Describe())
	return s, description, err
}

// policies returns the policies, sorted by action.
func (g *Registry) policies() []policy.Document {
	if g == nil {
		return nil
	}
	var docs []policy.Document
	for _, action := range slices.Sorted(maps.Keys(g.actions)) {
		docs = append(docs, g.actions[action].doc)
	}
	return docs
}

// NewRegistry returns a registry of the redactors. A nil opts is the zero
// RegistryOptions. The error joins a [*FieldError] for each thing that is
// wrong with a redactor, for an action that has two, and for options that
// exclude each other.
func NewRegistry(opts *RegistryOptions, redactors ...Redactor) (*Registry, error) {
	g := &Registry{actions: make(map[string]*Redactor, len(redactors))}
	var errs []error
	if opts != nil {
		g.opts = *opts
		if opts.RequirePolicy && opts.PassThrough {
			errs = append(errs, &FieldError{"RequirePolicy", "excludes PassThrough"})
		}
		g.opts.PseudonymKey = nil // one copy is enough
		switch key := opts.PseudonymKey; {
		case opts.PseudonymEpoch < 0:
			errs = append(errs, &FieldError{"PseudonymEpoch", "is less than 0"})
		case key != nil && len(key) < policy.MinPseudonymKey:
			errs = append(errs, &FieldError{"PseudonymKey", "is shorter than 32 bytes"})
		case key != nil:
			g.pseudonyms = policy.NewPseudonyms(key, opts.PseudonymEpoch)
		}
	}
	scanner, scan, err := opts.newScanner()
	if err != nil {
		errs = append(errs, err)
	}
	g.scanner = scanner
	for _, r := range redactors {
		switch {
		case r.err != nil:
			errs = append(errs, r.err)
		case r.action == "":
			errs = append(errs, &FieldError{"redactor.action", "missing"})
		case g.actions[r.action] != nil:
			errs = append(errs, &FieldError{r.action, "two redactors"})
		}
		if r.pseudonymous() && opts.pseudonymKey() == nil {
			errs = append(errs, &FieldError{"PseudonymKey", "is required: " + r.action + " has pseudonyms"})
		}
		if r.doc = r.document(scan); len(r.doc.JSON) > maxPolicy {
			errs = append(errs, &FieldError{r.action, "the policy is too large to be recorded"})
		}
		g.actions[r.action] = &r
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return g, nil
}

func (o *RegistryOptions) pseudonymKey() []byte {
	if o == nil {
		return nil
	}
	return o.PseudonymKey
}

func (r *Redactor) pseudonymous() bool {
	return r.inputs != nil && r.inputs.Pseudonyms || r.output != nil && r.output.Pseudonyms
}
