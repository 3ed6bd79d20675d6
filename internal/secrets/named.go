package secrets

import "strings"

// Credentials that have no form of their own are known by their standard names
// in their standard places: parameters of queries and forms, keywords of data
// sources, variables, members, and headers.

// assigned looks for a credential behind the sign at i, = or :, and the name
// before it.
func (c *scan) assigned(i int) bool {
	text := c.text
	if i < 3 || i+minText >= len(text) {
		return false
	}
	end := i
	switch b := text[i-1]; {
	case isAlnum(b) && !lastOfNames[b]:
		if end = numbered(text, i); end == i || !lastOfNames[text[end-1]] {
			return false
		}
	case !isAlnum(b) && !beforeSign[b]:
		return false
	case beforeSign[b]:
		for end > 0 && beforeSign[text[end-1]] {
			end--
		}
		end = numbered(text, end)
	}
	if !c.inside(i) || !endsAsName(text, end) {
		return false
	}
	n, begin := c.naming(end)
	switch n {
	case namesValue:
		n = c.paired(begin)
	case namesKey:
		if ofSpacedKey(text[:begin]) {
			n = namesToken
		}
	}
	if (n == namesCode || n == namesKey) && before(text, begin) != '?' && before(text, begin) != '&' {
		return false
	}
	return n != namesNothing && c.valued(i, n, begin)
}

// numbered returns where the name without its number ends, if it has one: password1,
// token_2.
func numbered(text string, end int) int {
	at := end
	for at > 0 && end-at < 2 && isDigit(text[at-1]) {
		at--
	}
	if at < end && at > 0 && (text[at-1] == '_' || text[at-1] == '-') {
		at--
	}
	if at < 3 || !isAlnum(text[at-1]) || isDigit(text[at-1]) {
		return end
	}
	return at
}

// ofSpacedKey tells whether the word before a space says what kind of key follows: API key.
func ofSpacedKey(text string) bool {
	if !strings.HasSuffix(text, " ") {
		return false
	}
	text = text[:len(text)-1]
	for _, word := range [...]string{"api", "secret", "private", "access", "signing", "encryption", "account"} {
		if at := len(text) - len(word); at >= 0 && strings.EqualFold(text[at:], word) && (at == 0 || !isAlnum(text[at-1])) {
			return true
		}
	}
	return false
}

// paired tells what the name says of which the member that begins at begin is the
// value: {"name":"DB_PASSWORD","value":…}, name="password" value=….
func (c *scan) paired(begin int) naming {
	text := c.text
	end := begin
	for end > 0 && begin-end < 24 {
		switch {
		case betweenMembers[text[end-1]]:
			end--
			continue
		case end > 1 && text[end-2] == '\\' && (text[end-1] == 'n' || text[end-1] == 'r' || text[end-1] == 't'): // escapes
			end -= 2
			continue
		}
		break
	}
	if end == begin {
		return namesNothing
	}
	n, at := c.naming(end)
	if n != namesToken && n != namesPassword {
		return namesNothing
	}
	for at > 0 && (betweenMembers[text[at-1]] || text[at-1] == ':' || text[at-1] == '=') {
		at--
	}
	if strings.EqualFold(text[max(0, at-4):at], "name") || strings.EqualFold(text[max(0, at-3):at], "key") || n == namesPassword && strings.EqualFold(text[max(0, at-4):at], "type") {
		return n
	}
	return namesNothing
}

// betweenMembers are the bytes that stand between two members of an object, and around
// their names.
var betweenMembers = [256]bool{'"': true, '\'': true, '\\': true, ',': true, '&': true, ' ': true, '\n': true, '\r': true, '\t': true}

// placed looks for a credential behind the space or > at i, where its name stands
// in an element of XML, a flag, or a statement of SQL. The > may be escaped, and a
// plus sign stand for the space.
func (c *scan) placed(i int) bool {
	text := c.text
	if i < 3 {
		return false
	}
	if (text[i-1] == '"' || text[i-1] == '\'') && c.closes(i) {
		return c.entry(i)
	}
	if i+minText >= len(text) {
		return false
	}
	if !lastOfNames[text[i-1]] {
		return false
	}
	if c.crowded(i) || !endsAsName(text, i) {
		return false
	}
	n, begin := c.naming(i)
	if n == namesNothing || n == namesValue {
		return false
	}
	return c.argument(i, n, begin)
}

// argument is placed for a name that is known, and where it begins.
func (c *scan) argument(i int, n naming, begin int) bool {
	text := c.text
	if c.edge > begin && c.edge < i {
		begin = c.edge // the name is behind an escape
	}
	switch b := text[i]; {
	case c.closes(i):
		sign := c.closing(i)
		return (before(text, begin) == '<' || before(text, begin) == ':' || strings.HasSuffix(text[:begin], `\u003c`)) && c.element(i) && c.inside(i) && c.valued(sign, n, begin)
	case text[begin] == '-' && (n == namesPassword || strings.HasPrefix(text[begin:], "--") || before(text, begin) == ' ') && (b != '\n' && b != '\\' || c.lead(i) > i+1):
		return c.inside(i) && c.valued(i, n, begin)
	case n == namesPassword && b != '+':
		if at := c.lead(i); at < len(text) && at > i && (quoteAt(text, at) >= 0 || text[at-1] == '$' && at > i+2) {
			return c.inside(i) && c.valued(i, n, begin)
		}
	}
	return false
}

// flags looks for a credential behind the plus sign at i, if that stands for the space
// behind a flag.
func (c *scan) flags(i int) bool {
	if i < 4 || !lastOfNames[c.text[i-1]] || c.crowded(i) || !endsAsName(c.text, i) {
		return false
	}
	n, begin := c.naming(i)
	return (n == namesPassword && c.text[begin] == '-' || strings.HasPrefix(c.text[begin:], "--")) && i+minText < len(c.text) && n != namesNothing && n != namesValue && c.argument(i, n, begin)
}

// entry looks for a credential behind the > at i, in an element that has its name in
// an attribute: <entry key="password">.
func (c *scan) entry(i int) bool {
	text := c.text
	n, begin := namesNothing, i
	if endsAsName(text, i) {
		n, begin = c.naming(i)
	}
	if n != namesToken && n != namesPassword {
		return c.tagged(i)
	}
	at := begin
	for at > 0 && beforeSign[text[at-1]] {
		at--
	}
	if !strings.HasSuffix(text[:at], " key=") && !strings.HasSuffix(text[:at], "name=") {
		return c.tagged(i)
	}
	if from := c.tag(i); from >= 0 { // <input value="V" name="password">
		if value := strings.Index(text[from:at], " value="); value >= 0 {
			return c.inside(from+value) && c.valued(from+value+len(" value"), n, begin)
		}
	}
	return c.element(i) && c.inside(i) && c.valued(c.closing(i), n, begin)
}

// closes tells whether there is a > at i, which may be escaped.
func (c *scan) closes(i int) bool {
	return c.text[i] == '>' || c.text[i] == '\\' && strings.HasPrefix(strings.TrimLeft(c.text[i:min(len(c.text), i+maxQuotes)], `\`), "u003e")
}

// closing returns the last byte of the > at i, which may be escaped, several times.
func (c *scan) closing(i int) int {
	if c.text[i] == '\\' {
		return escaped(c.text, i) - 1
	}
	return i
}

// inside tells whether the value of the name before i may be looked at: in the
// value of another name only a few are.
func (c *scan) inside(i int) bool {
	if c.limits == nil || i >= c.limits.valueEnd {
		return true
	}
	c.limits.values++
	return c.limits.values <= maxInside
}

// crowded tells whether inside says no.
func (c *scan) crowded(i int) bool {
	return c.limits != nil && i < c.limits.valueEnd && c.limits.values >= maxInside
}

// valued looks for a credential behind the sign at i, and the name that begins at
// begin.
func (c *scan) valued(i int, n naming, begin int) bool {
	text, start := c.text, c.lead(i)
	from := c.behindSign(start)
	listed := from < len(text) && text[from] == '[' // a header of Go
	if listed {
		from++
		if strings.HasPrefix(text[from:], "]string{") {
			from += len("]string{")
		}
		for from < len(text) && (text[from] == '"' || text[from] == '\\' || text[from] == ' ') {
			from++
		}
	}
	if from < len(text) && text[from] == '`' {
		from++
	}
	quoted := from > i+1 && (text[from-1] == '"' || text[from-1] == '\'' || text[from-1] == '`')
	to := from
	if quoted {
		for to < len(text) && to-from < maxValue && !ends(text[to], true, text[from-1]) {
			to++
		}
	} else {
		to = c.plainValue(from)
	}
	if quoted && to == len(text) { // the text is cut before the other quote
		for to = from; to < len(text) && !ends(text[to], false, 0); {
			to++
		}
	}
	if l := c.seen(); to > l.valueEnd {
		if i >= l.valueEnd {
			l.values = 0
		}
		l.valueEnd = to
	}
	c.work += to - i
	plain := from <= i+2 && plainSign[text[i]] // what stands behind it, and no other mark, is the value
	if quoted && plain && to-from < minText && to < len(text) && text[to] == text[from-1] && (to+1 == len(text) || text[to+1] != text[to]) {
		return false // in whatever light
	}
	plain = plain && !quoted
	if masked(text[from:to]) {
		return !plain && c.roughly() && c.rough(i, start, n, begin)
	}
	value := text[from:to]
	if refers(value) {
		return false
	}
	if text[i] == 'e' { // behind an escaped >
		value, _, _ = strings.Cut(value, `\u003c`)
	}
	for value != "" && afterValue[value[len(value)-1]] {
		value = value[:len(value)-1]
	}
	if !c.credible(n, value, begin) || listed && !mixOf(value).drawn(value, minText) {
		// A whole value without digits and without signs that were not looked at is no
		// other one in any other light.
		cut := !quoted || listed || to < len(text) && (text[to] == '\\' || to+1 < len(text) && text[to+1] == text[to])
		return !plain && c.roughly() && (cut || mayBeRough(value)) && c.rough(i, start, n, begin)
	}
	return !c.inARN(begin) && c.hit(ruleNamed, from, from+len(value))
}

// roughly tells whether a value may be looked at roughly: in that of another name only
// the first are.
func (c *scan) roughly() bool { return c.limits.values <= 2 }

// plainSign are the signs that a value may stand behind without quotes, and is then none
// that rough knows.
var plainSign = [256]bool{'=': true, ':': true, ' ': true, '+': true, ',': true}

// behindSign returns where a value may begin that the text at start leads to: behind
// spaces, quotes and further signs.
func (c *scan) behindSign(start int) int {
	text := c.text
	from := start
	for from < len(text) && from-start < 23 {
		if text[from] == '\\' {
			end := escaped(text, from)
			if end >= from+6 && text[end-4:end] == "003c" { // a < is the value's own
				break
			}
			if end == from+6 { // \u003e
				from = end
				continue
			}
		}
		if !beforeSign[text[from]] && text[from] != '=' && text[from] != ':' && text[from] != '>' {
			break
		}
		from++
	}
	return from
}

// plainValue returns the end of the value that begins at from and is not quoted.
func (c *scan) plainValue(from int) int {
	l := c.seen()
	if from < l.plainFrom || from > l.plainTo {
		l.plainFrom, l.plainTo = from, from
	}
	stop := min(len(c.text), from+maxValue)
	to := min(l.plainTo, stop)
	for to < stop && !endsValue[c.text[to]] {
		to++
	}
	l.plainTo = max(l.plainTo, to)
	return to
}

// afterValue are the bytes that may stand behind a value and are no part of it.
var afterValue = [256]bool{'.': true, ',': true, ':': true, ';': true, ')': true, ']': true, '}': true, '\\': true}

// maxInside is how many names are looked at in the value of another one, of which
// no more than maxValue bytes are.
const (
	maxInside = 4
	maxValue  = 128
)

// lastOfNames are the letters that names end with.
var lastOfNames = func() (table [256]bool) {
	for name := range names {
		b := name[len(name)-1]
		table[b], table[upper(b)] = true, true
	}
	return table
}()

// endsValue are the bytes that a value which is not quoted ends at.
var endsValue = func() (t [256]bool) {
	for b := range byte(' ' + 1) {
		t[b] = true
	}
	for _, b := range []byte("&;\"'<>,`|") {
		t[b] = true
	}
	return t
}()

// ends tells whether b ends a value.
func ends(b byte, quoted bool, quote byte) bool {
	if quoted {
		return b == quote || b == '\n' || b == '\\'
	}
	return endsValue[b]
}

// credible tells whether a value is what its name says, and no word, mask or
// expression in a program.
func (c *scan) credible(n naming, value string, nameAt int) bool {
	if len(value) < minText || masked(value) || few(value) {
		return false
	}
	if (n == namesCode || n == namesKey) && before(c.text, nameAt) != '?' && before(c.text, nameAt) != '&' {
		return false
	}
	m := mixOf(value)
	if n != namesPassword && m.has&(ofPrograms|ofTemplates) != 0 {
		return false
	}
	switch n {
	case namesPassword:
		if strings.HasSuffix(c.text[:nameAt], "--- ") {
			return false // go test's report: --- PASS: TestName/part
		}
		return m.has&ofPrograms == 0 && !m.wordy(value) && !(c.passes(nameAt) && pathLike(value) && (!m.drawn(value, minText) || strings.HasPrefix(value, "Test") && isUpper(value[4])))
	case namesToken:
		return m.drawn(value, minText)
	case namesCode:
		return m.drawn(value, 12)
	case namesLogin:
		return isBasic(value)
	case namesKey:
		return m.drawn(value, 16) && c.keyed(nameAt)
	}
	return false
}

// passes tells whether the name that begins at i is pass and no more, which is also said
// of tests and of rounds.
func (c *scan) passes(i int) bool {
	text := c.text
	return len(text) > i+4 && strings.EqualFold(text[i:i+4], "pass") && !isAlnum(text[i+4]) && text[i+4] != '_'
}

// pathLike tells whether a text has no other signs than paths and names of tests.
func pathLike(s string) bool {
	for i := range len(s) {
		if b := s[i]; !hostSet.has(b) && b != '/' && b != ':' {
			return false
		}
	}
	return true
}

// before returns the byte before i, or a space.
func before(text string, i int) byte {
	if i == 0 {
		return ' '
	}
	return text[i-1]
}

// isBasic tells whether a value is a user and a password in base64, as files of npm and
// Docker have them.
func isBasic(value string) bool {
	var buf [192]byte
	n, read := decode(buf[:], value)
	if n < 4 || read < len(strings.TrimRight(value, "=")) || !isText(buf[:n]) {
		return false
	}
	user, password, ok := strings.Cut(asString(buf[:n]), ":")
	return ok && len(user) > 0 && len(password) > 2 && !masked(password)
}

// keyed tells whether the address that i is in is one of a host that takes its
// key as a parameter of that name.
func (c *scan) keyed(i int) bool {
	l := c.seen()
	from := max(0, i-256)
	if part := c.text[max(from, l.hostsTo-24):i]; i > l.hostsTo { // what was not looked at yet
		c.work += len(part)
		for _, host := range [...]string{"googleapis.com", "google.com/", "api.", "/api", "maxmind.com", "weatherapi.com", "giphy.com", "virustotal.com"} {
			if !strings.Contains(part, host) { // which is told faster
			} else if at := strings.LastIndex(part, host); at >= 0 {
				l.host = max(l.host, i-len(part)+at+1)
			}
		}
		l.hostsTo = i
	}
	return l.host > from
}

func isUpper(b byte) bool { return b-'A' <= 'Z'-'A' }
