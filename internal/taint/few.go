package taint

// oneByOne is search for few needles, without an automaton: it compares each of
// them wherever one may begin, and finds exactly what the automaton would. It is
// not done if that takes more than so many steps a byte: the text is made of what
// needles begin with, and is one for the automaton.
func (m *Matcher) oneByOne(text []byte, found func(needle uint32) bool) (hit, done bool) {
	const steps = 8
	work := steps * (len(text) + 2*maxNeedle)
	reach := 0 // how far what begins a needle goes, of what was compared so far
	for from := 0; ; {
		at := m.next(text, from)
		if at < 0 {
			return false, true
		}
		for i := max(from, at-m.stride+1); i <= at; i++ {
			var same [few]int
			longest := m.compare(text[i:], &same)
			if work -= len(m.needles) + longest; work < 0 {
				return false, false
			}
			if longest >= minCredential && m.begins(text, i, &same, reach, found) {
				return true, true
			}
			reach = max(reach, i+longest)
		}
		from = at + 1
	}
}

// compare says how many bytes of each needle text begins with, and returns the
// most.
func (m *Matcher) compare(text []byte, same *[few]int) (longest int) {
	for n := range m.needles {
		needle, k := m.needles[n].text, 0
		for k < len(needle) && k < len(text) && lower[text[k]] == needle[k] {
			k++
		}
		same[n] = k
		longest = max(longest, k)
	}
	return longest
}

// begins tells found of the needles that begin at i, of which text has so many
// bytes. A head that ends where an earlier one goes on is not the longest there.
func (m *Matcher) begins(text []byte, i int, same *[few]int, reach int, found func(needle uint32) bool) bool {
	longest := 0
	for n := range m.needles {
		k, size := same[n], len(m.needles[n].text)
		longest = max(longest, k)
		if k == size && (!m.needles[n].short() || alone(text, i, i+size)) && found(uint32(n)) {
			return true
		}
	}
	for depth := max(minNeedle, reach-i+1); depth <= longest && i+depth < len(text); depth++ {
		if !cuts[text[i+depth]] || !cut(text[i+depth:]) {
			continue
		}
		begin := -1
		for n := range m.needles {
			if same[n] >= depth && (begin < 0 || m.needles[n].credential) {
				begin = n
			}
		}
		if m.needles[begin].tells(depth) && found(uint32(begin)) {
			return true
		}
	}
	return false
}
