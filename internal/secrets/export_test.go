package secrets

// Known tells whether there is a built-in rule of that name.
func (s *Scanner) Known(rule string) bool { return ruleNames()[rule] }

// Work is the number of bytes looked at beyond the first pass, when nothing is
// found.
func (s *Scanner) Work(text string) int {
	c := scan{Scanner: s, text: text}
	c.run()
	return c.work
}

// Rows returns the number of the table's prefixes and of its rules.
func Rows() (prefixes, rules int) { return len(builtin()), len(ruleNames()) }

// Prefixes returns what the table's formats begin with.
func Prefixes() (all []string) {
	for _, f := range builtin() {
		all = append(all, f.prefix)
	}
	return all
}

// Prose tells whether prose is passed over.
func (s *Scanner) Prose() bool { return s.prose }

// PlainWords tells whether a text is prose.
func PlainWords(text string) bool { return plainWords(text) }
