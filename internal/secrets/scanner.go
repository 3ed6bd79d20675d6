// Package secrets recognises text that gives itself away as a secret: tokens
// of known providers, private keys, signed tokens, credentials in URLs and in
// authorization headers, payment cards, and up to two levels of base64 around any of
// them. It is the last line behind redaction by name, so it decides from the
// text alone: what needs a field's name to be seen as a password is not seen
// here.
//
// A [Scanner] is built once and asked for every decoded string leaf and map
// key. Its cost is linear in the text, it runs no regular expressions, and it
// allocates nothing when nothing is found. The first hit is enough, because a
// hit drops the whole leaf.
//
// Checksums of tokens are not verified: a value with the shape of a token and a
// wrong checksum is as likely a real one that lost a character.
package secrets

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Class is a kind of personal data that a Scanner can look for.
type Class string

// The classes of personal data. None is looked for unless asked for, because
// ordinary records are full of them.
const (
	Email Class = "email"
	Phone Class = "phone" // international, with a leading +
	IBAN  Class = "iban"
	IP    Class = "ip" // v4 and v6, other than loopback and unspecified
)

// Pattern is a format of the user's own. Match is written in a small part of
// the syntax of regular expressions: it begins with a letter or digit and
// another literal character, and goes on with literals and character classes,
// each class with how often it is repeated: acme_[A-Za-z0-9]{32}, (?i)key-[0-9a-f]{16,64}.
// A match begins where a word begins and does not end inside a longer one.
type Pattern struct {
	Rule  string `json:"rule"`
	Match string `json:"match"`
}

// Config says what a Scanner looks for beyond the built-in table, and what it
// lets pass. The zero value is the table as it is.
type Config struct {
	// Patterns are further formats. A rule's name is what a record shows of
	// a hit.
	Patterns []Pattern
	// Allow are known-safe values, such as a documented sample: a hit that
	// lies within an occurrence of one is none. They become part of the
	// policy, so they are not secret.
	Allow []string
	// Without names rules that are not applied.
	Without []string
	// Personal are the classes of personal data to find.
	Personal []Class
}

// Description says completely what a Scanner finds: the digest of the built-in
// table and the configuration, each list sorted and without duplicates.
type Description struct {
	Table    string    `json:"table"`
	Patterns []Pattern `json:"patterns,omitempty"`
	Allow    []string  `json:"allow,omitempty"`
	Without  []string  `json:"without,omitempty"`
	Personal []Class   `json:"personal,omitempty"`
}

// Scanner finds secrets in texts. It never changes and is safe for concurrent
// use.
type Scanner struct {
	index    index
	allow    []string
	off      map[string]bool // the structural rules that are not applied
	email    bool
	phone    bool
	iban     bool
	ip       bool
	describe Description
	bare     *Scanner  // finds credentials alone
	prose    bool      // all formats are beyond prose
	digits   int       // see Least
	least    int       // the length of the shortest text of one word in which something is found
	spaces   sync.Pool // of *space
}

// New returns a Scanner. A nil config is the zero one. The error joins one for
// each pattern, rule, class or value that cannot be used.
func New(config *Config) (*Scanner, error) {
	if config == nil {
		config = new(Config)
	}
	s := &Scanner{
		off:      make(map[string]bool),
		describe: describe(config),
		spaces:   sync.Pool{New: func() any { return new(space) }},
	}
	var errs []error
	known := ruleNames()
	for _, rule := range s.describe.Without {
		if !known[rule] {
			errs = append(errs, fmt.Errorf("secrets: no rule %q to leave out", rule))
		}
		s.off[rule] = true
	}
	formats := make([]format, 0, len(builtin())+len(s.describe.Patterns))
	for _, f := range builtin() {
		if !s.off[f.rule] {
			formats = append(formats, f)
		}
	}
	for _, p := range s.describe.Patterns {
		f, err := p.compile(known)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		formats = append(formats, f)
	}
	s.index.build(formats)
	s.digits = minCard
	if slices.ContainsFunc(formats, func(f format) bool { return digits(f.prefix) }) {
		s.digits = minText
	}
	s.prose = !slices.ContainsFunc(formats, func(f format) bool { return f.check == checkParts && !f.beyondProse() })
	for _, value := range s.describe.Allow {
		if len(value) < minText {
			errs = append(errs, fmt.Errorf("secrets: an allowed value is shorter than %d bytes", minText))
		}
	}
	s.least = minCard
	for i := range formats {
		if f := &formats[i]; f.check == checkParts {
			s.least = min(s.least, f.least())
		}
	}
	if len(s.describe.Personal) > 0 {
		s.least = 0
	}
	s.allow = s.describe.Allow
	for _, class := range s.describe.Personal {
		if err := s.add(class); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.bare = &Scanner{index: s.index, prose: s.prose, least: s.least, digits: s.digits, allow: s.allow, off: maps.Clone(s.off), spaces: sync.Pool{New: s.spaces.New}}
	s.bare.off[ruleCard] = true
	return s, nil
}

// Credentials returns a Scanner that finds the same but for personal data and
// payment cards. It is for identifiers: one of sixteen digits is an identifier.
func (s *Scanner) Credentials() *Scanner { return s.bare }

// Least returns how many bytes a text has at least in which something is found, and
// how many digits one that has nothing else.
func (s *Scanner) Least() (bytes, digits int) { return minText, s.digits }

func (s *Scanner) add(class Class) error {
	switch class {
	case Email:
		s.email = true
	case Phone:
		s.phone = true
	case IBAN:
		s.iban = true
	case IP:
		s.ip = true
	default:
		return fmt.Errorf("secrets: no class %q of personal data", class)
	}
	return nil
}

// compile makes a format of a user's pattern. Its rule may not be one of the
// table's: a hit names its rule and nothing else.
func (p Pattern) compile(known map[string]bool) (format, error) {
	if p.Rule == "" || strings.Trim(p.Rule, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(p.Rule) > 64 {
		return format{}, fmt.Errorf("secrets: rule %q is not up to 64 of a-z, 0-9 and -", p.Rule)
	}
	if known[p.Rule] {
		return format{}, fmt.Errorf("secrets: rule %q is built in", p.Rule)
	}
	f, err := parse(p.Match)
	if err != nil {
		return format{}, fmt.Errorf("secrets: rule %q: %w", p.Rule, err)
	}
	f.rule = p.Rule
	return f, nil
}

// Describe returns what the Scanner finds, for a policy that is kept.
func (s *Scanner) Describe() Description {
	d := s.describe
	d.Patterns = slices.Clone(d.Patterns)
	d.Allow = slices.Clone(d.Allow)
	d.Without = slices.Clone(d.Without)
	d.Personal = slices.Clone(d.Personal)
	return d
}

// Digest returns the SHA-256 of the Description's JSON, in base64. Scanners
// that find the same have the same digest.
func (s *Scanner) Digest() string {
	encoded, err := json.Marshal(s.describe)
	if err != nil {
		panic(err) // strings only
	}
	sum := sha256.Sum256(encoded)
	return base64.StdEncoding.EncodeToString(sum[:])
}

func describe(c *Config) Description {
	return Description{
		Table: tableDigest(),
		Patterns: distinct(c.Patterns, func(a, b Pattern) int {
			if n := strings.Compare(a.Rule, b.Rule); n != 0 {
				return n
			}
			return strings.Compare(a.Match, b.Match)
		}),
		Allow:    distinct(c.Allow, strings.Compare),
		Without:  distinct(c.Without, strings.Compare),
		Personal: distinct(c.Personal, func(a, b Class) int { return strings.Compare(string(a), string(b)) }),
	}
}

func distinct[T comparable](list []T, order func(a, b T) int) []T {
	list = slices.Clone(list)
	slices.SortFunc(list, order)
	return slices.Compact(list)
}
