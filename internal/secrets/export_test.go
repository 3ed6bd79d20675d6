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

// WordEnd returns where the letters and digits end that begin at i.
func WordEnd(text string, i int) int { return wordEnd(text, i) }

// Named tells whether what ends at end is a known name, and whether its last letters
// are those of one.
func Named(text string, end int) (known, ending bool) {
	c := scan{text: text}
	n, _ := c.naming(end)
	return n != namesNothing, endsAsName(text, end)
}

// Decode decodes base64 into at most size bytes, and returns them and how much of
// the text it has read.
func Decode(text string, size int) (bytes []byte, read int) {
	to := make([]byte, size)
	n, read := decode(to, text)
	return to[:n], read
}

// Mix tells what a text is made of.
func Mix(text string) (counts [4]int, changes int) {
	m := mixOf(text)
	return m.counts, m.changes
}

// Ends returns where each format of the table ends in the text if its prefix ends at
// one of its bytes: as a scan finds it that notes what it has seen, and by looking
// at each byte again.
func (s *Scanner) Ends(text string) (noted, plain []int) {
	c := scan{Scanner: s, text: text}
	for _, bucket := range s.index.buckets {
		for _, p := range bucket {
			for i := 0; i < len(text) && p.format.check == checkParts; i += 1 + i%7 {
				start := i - len(p.format.prefix)
				end, _ := c.match(p.format, start)
				noted, plain = append(noted, end), append(plain, p.format.end(text, i))
			}
		}
	}
	c.release()
	return noted, plain
}

// end is match without notes.
func (f *format) end(text string, i int) int {
	for n, p := range f.parts {
		if p.literal != "" {
			if len(text)-i < len(p.literal) || !f.same(text[i:i+len(p.literal)], p.literal) {
				return -1
			}
			i += len(p.literal)
			continue
		}
		size, most := 0, min(p.max, maxRepeat)
		if p.max > maxRepeat {
			most = min(most, p.min+maxOpen)
		}
		for i+size < len(text) && size < most && p.set.has(text[i+size]) {
			size++
		}
		i += size
		if size < p.min || n == len(f.parts)-1 && p.max <= maxRepeat && size == most && i < len(text) && p.set.has(text[i]) {
			return -1
		}
	}
	return i
}

// Names returns the names of credentials that naming knows, and what each says of its
// value.
func Names() map[string]string {
	kinds := map[naming]string{namesToken: "token", namesPassword: "password", namesCode: "code", namesKey: "key", namesValue: "value", namesLogin: "login", namesOther: "other"}
	all := make(map[string]string, len(names))
	for name, says := range names {
		all[name] = kinds[says]
	}
	return all
}
