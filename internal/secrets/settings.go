package secrets

import "strings"

// Passwords that programs make have signs of every kind, also those that expressions
// in programs and templates are made of. Where a setting shows where its value begins
// and ends, in quotes or in an element of XML, such a value is judged by how roughly
// it goes from letters to digits and signs.

// rough tells whether the value at start, behind the sign at i, of the name that begins at begin, is
// a password with such signs, and where it ends.
func (c *scan) rough(i, start int, n naming, begin int) bool {
	if n != namesPassword && n != namesToken {
		return false
	}
	var room [maxSetting]byte
	from, to, value := c.setting(i, start, room[:0])
	return to > from && !refers(asString(value)) && (roughPassword(value, n) || c.credible(n, asString(value), begin)) && !c.inARN(begin) && c.hit(ruleNamed, from, to)
}

// mayBeRough tells whether rough may say more of a value that was looked at as it stands.
func mayBeRough(value string) bool {
	m := mixOf(value)
	return len(value) < minText || m.counts[digit] > 0 || m.has&(ofPrograms|ofTemplates) != 0
}

// maxSetting is how many bytes of a setting's value are looked at.
const maxSetting = 2 * maxValue

// setting returns where the value at start, behind the sign at i, is, and what it is
// without escapes. There is none if it is not clear where it ends.
func (c *scan) setting(i, start int, room []byte) (from, to int, value []byte) {
	text := c.text
	from = start
	switch {
	case text[i] == '>', strings.HasSuffix(text[:i+1], `\u003e`):
		return c.elementValue(from, room)
	case text[i] == '\n' && start == i+1, text[i] == 'n' && text[i-1] == '\\': // a field of a form
		return c.lineValue(from, room)
	}
	for from < len(text) && from-start < 23 && (text[from] == ' ' || text[from] == '=' || text[from] == ':' || text[from] == '>') {
		from++
	}
	if strings.HasPrefix(text[from:], `\u003e`) { // =>
		for from += len(`\u003e`); from < len(text) && text[from] == ' '; {
			from++
		}
	}
	level := 0
	for from < len(text) && level < maxQuotes && text[from] == '\\' {
		from++
		level++
	}
	if from == len(text) || text[from] != '"' && text[from] != '\'' && text[from] != '`' {
		return 0, 0, nil
	}
	quote := text[from]
	from++
	marks := 1
	if level == 0 && strings.HasPrefix(text[from:], string([]byte{quote, quote})) {
		from, marks = from+2, 3
	}
	return c.quotedValue(from, quote, level, marks, room)
}

// quotedValue is setting for a value that begins at from and ends at so many quotes,
// each with so many backslashes before it.
func (c *scan) quotedValue(from int, quote byte, level, marks int, value []byte) (begin, to int, plain []byte) {
	text, first := c.text[:min(len(c.text), from+8*maxSetting)], -1 // a byte of the value may be escaped, and more than once
	i := from
	defer func() { c.work += i - from }()
	for i < len(text) && len(value)+maxQuotes < cap(value) {
		at := i
		for at < len(text) && text[at] == '\\' {
			at++
		}
		if at == len(text) || text[at] == '\n' {
			break
		}
		size := 1
		switch slashes := at - i; {
		case text[at] == quote && slashes == level:
			var last bool
			if size, last = quotes(text[at:], marks, level, i == from); last {
				return from, i, withoutEntities(value)
			}
			value = append(value, text[at:at+size/2]...)
			i = at + size
			continue
		case text[at] == quote && first < 0:
			first = at
		case slashes > 0 && text[at] == 'u' && hexes(text[at+1:], 4) && text[at+1:at+3] == "00":
			value = append(value, hexByte(text[at+3])<<4|hexByte(text[at+4]))
			i = at + 5
			continue
		case slashes > 0 && text[at] == 'x' && hexes(text[at+1:], 2):
			value = append(value, hexByte(text[at+1])<<4|hexByte(text[at+2]))
			i = at + 3
			continue
		}
		value = append(value, text[at])
		i = at + size
	}
	if first >= 0 { // the backslash before it was no escape
		return from, first, append(value[:0], text[from:first]...)
	}
	return 0, 0, nil
}

// maxQuotes is how many quotes in a row are looked at.
const maxQuotes = 16

// quotes tells how many quotes a text begins with, and whether the last of them, or the
// only one, ends a value: of one that has no escapes, those in it are written twice.
func quotes(text string, marks, level int, begins bool) (n int, last bool) {
	for n < len(text) && n < maxQuotes && text[n] == text[0] {
		n++
	}
	switch {
	case level > 0, begins && marks == 1:
		return n, true
	case marks == 3:
		return n, n >= 3
	}
	return n, n%2 == 1
}

// lineValue is setting for what stands in a line from from on.
func (c *scan) lineValue(from int, value []byte) (begin, to int, plain []byte) {
	line := c.text[from:min(len(c.text), from+maxSetting)]
	c.work += len(line)
	for _, end := range [...]string{"\r", "\n", `\r\n`, `\n`} {
		line, _, _ = strings.Cut(line, end)
	}
	return from, from + len(line), withoutEntities(append(value, line...))
}

// element tells whether an element of XML that begins before i ends soon.
func (c *scan) element(i int) bool {
	l := c.seen()
	rest := c.text[i:min(len(c.text), i+maxValue+8)]
	if end := len("\\u003c/") - 1; i >= l.plainIn && i <= l.plainUpTo-end { // the rest is looked at alone
		rest = rest[min(len(rest), l.plainUpTo-end-i):]
	} else {
		l.plainIn = i
	}
	c.work += len(rest)
	for slash := strings.IndexByte(rest, '/'); slash >= 0; {
		if strings.HasSuffix(rest[:slash], "<") || strings.HasSuffix(rest[:slash], `\u003c`) {
			return true
		}
		next := strings.IndexByte(rest[slash+1:], '/')
		if next < 0 {
			break
		}
		slash += 1 + next
	}
	l.plainUpTo = min(len(c.text), i+maxValue+8)
	return false
}

// elementValue is setting for what stands in an element of XML from from on.
func (c *scan) elementValue(from int, value []byte) (begin, to int, plain []byte) {
	text := c.text
	for from < len(text) && text[from] <= ' ' {
		from++
	}
	rest := text[from:min(len(text), from+maxSetting)]
	c.work += len(rest)
	end := -1
	open := strings.TrimLeft(rest, `\`)
	for _, sign := range [...]string{"<![CDATA[", "u003c![CDATA["} {
		if after, ok := strings.CutPrefix(open, sign); ok {
			end = strings.Index(after, "]]")
			from, rest = from+len(rest)-len(after), after
			break
		}
	}
	if end < 0 {
		if end = strings.Index(rest, "</"); end < 0 {
			end = strings.Index(rest, `\u003c/`)
		}
	}
	if end < 0 {
		return 0, 0, nil
	}
	body := strings.TrimRight(strings.TrimSpace(rest[:end]), `\`) // of a sign that is escaped
	return from, from + end, withoutEntities(append(value, body...))
}

// withoutEntities takes the entities of XML out of a value, in place: &lt;, &#39;,
// &amp;, also with the first sign of them escaped for JSON.
func withoutEntities(value []byte) []byte {
	n := 0
	for i := 0; i < len(value); n++ {
		for i+1 < len(value) && value[i] == '\\' && value[i+1] == '\\' { // as often as it is escaped
			i++
		}
		b, size := value[i], 1
		if b == '\\' && i+6 <= len(value) && string(value[i:i+4]) == `\u00` && hexes(asString(value[i+4:]), 2) {
			b, size = hexByte(value[i+4])<<4|hexByte(value[i+5]), 6
		}
		if b == '&' {
			rest := value[i+size : min(len(value), i+size+8)]
			if end := strings.IndexByte(asString(rest), ';'); end > 1 {
				size += end + 1
				switch b = '&'; string(rest[:end]) {
				case "lt":
					b = '<'
				case "gt":
					b = '>'
				case "quot", "#34":
					b = '"'
				case "apos", "#39":
					b = '\''
				}
			}
		}
		value[n] = b
		i += size
	}
	return value[:n]
}

// roughPassword tells whether a value is a password, or a key, of any bytes, and no
// text, expression or template.
func roughPassword(raw []byte, n naming) bool {
	value := asString(raw)
	if len(value) < minText || value[0] == ' ' || few(value) {
		return false
	}
	value = strings.TrimPrefix(value, "django-insecure-")
	r := roughness(value)
	count := r.count()
	switch {
	case r.odd == 0, r.size < minText:
		return false
	case n == namesToken: // what has words apart has signs as no base64 has
		if r.size < 16 || count*4 < r.size || r.signs < 3 && strings.IndexByte(value, ' ') >= 0 {
			return false
		}
	case count < 2 || count*8 < r.size:
		return false
	}
	if isTemplate(value) && (r.size < 40 || count*3 < r.size) {
		return false
	}
	return !masked(value) || strings.IndexByte("<[{", value[0]) >= 0 && r.size >= 12 && r.changes*4 >= r.size
}

// isTemplate tells whether a value has a place where something is put, or is a regular
// expression.
func isTemplate(value string) bool {
	var has [256]bool
	opens := false
	for i := range len(value) {
		b := value[i]
		has[b] = true
		opens = opens || b == '{' || b == '(' || b == '<' || b == '-'
	}
	if !opens {
		return false
	}
	for _, signs := range [...][2]string{{"{{", "}}"}, {"${", "}"}, {"$(", ")"}, {"#{", "}"}, {"%{", "}"}, {"<%", "%>"}, {"%(", ")s"}, {"{%", "%}"}} {
		if !has[signs[0][0]] || !has[signs[0][1]] || !has[signs[1][0]] {
			continue
		}
		_, rest, ok := strings.Cut(value, signs[0])
		if inside, _, closed := strings.Cut(rest, signs[1]); ok && closed {
			if r := roughness(inside); r.signs*3 <= r.size {
				return true
			}
		}
	}
	if has['-'] && (strings.Contains(value, "a-z") || strings.Contains(value, "A-Z") || strings.Contains(value, "0-9]")) {
		return true
	}
	_, rest, ok := strings.Cut(value, "(?")
	for ok {
		if rest != "" && strings.IndexByte("=!:i", rest[0]) >= 0 {
			return true
		}
		_, rest, ok = strings.Cut(rest, "(?")
	}
	return false
}

// The classes of bytes that roughness tells apart.
const (
	roughSpace = iota
	roughSmall
	roughCapital
	roughDigit
	roughJoiner
	roughSign
)

var roughClasses = func() (table [256]uint8) {
	for b := range 256 {
		switch b := byte(b); {
		case b <= ' ':
		case isDigit(b):
			table[b] = roughDigit
		case isUpper(b):
			table[b] = roughCapital
		case isAlnum(b) || b >= 0x80:
			table[b] = roughSmall
		case strings.IndexByte("_-./:,'", b) >= 0:
			table[b] = roughJoiner
		default:
			table[b] = roughSign
		}
	}
	return table
}()

// roughly is how roughly a value goes from one class of bytes to another.
type roughly struct {
	size    int // bytes that were looked at
	seams   int // of a small letter and a capital
	changes int // others that words do not have
	signs   int // other than those of base64
	odd     int // digits, and signs other than brackets: an expression may have none
}

// count counts seams only beside others: names in programs have them, too.
func (r *roughly) count() int {
	if r.changes == 0 {
		return 0
	}
	return r.seams + r.changes
}

// roughness looks at a value, but not at <word> and {word}, which stand for something.
func roughness(value string) (r roughly) {
	last := uint8(roughSpace)
	letter := func(c uint8) bool { return c == roughSmall || c == roughCapital }
	for i := 0; i < len(value); i++ {
		if b := value[i]; b != '<' && b != '{' { // as most
		} else if n := placeholder(value[i:]); n > 0 {
			i += n - 1
			last = roughSpace
			continue
		}
		class, next := roughClasses[value[i]], uint8(roughSpace)
		if i+1 < len(value) {
			next = roughClasses[value[i+1]]
		}
		switch {
		case last == roughSmall && class == roughCapital:
			r.seams++
		case letter(last) && class == roughDigit, last == roughDigit && letter(class),
			value[i] == '\'' && last != roughSpace && next != roughSpace && !(letter(last) && next == roughSmall),
			class == roughSign && last != roughSpace && next != roughSpace && value[i] != value[i-1],
			class == roughSpace && next == roughSpace && i+1 < len(value),
			letter(class) && last == roughSpace && next == roughSpace && value[i]|0x20 != 'a' && value[i] != 'I':
			r.changes++
		}
		if class == roughSign && value[i] != '+' && value[i] != '=' {
			r.signs++
		}
		if class == roughDigit || class == roughSign && strings.IndexByte("()[]{}<>", value[i]) < 0 {
			r.odd++
		}
		last = class
		r.size++
	}
	return r
}

// placeholder returns the size of <word> or {word} at the beginning of a text, or 0.
func placeholder(text string) int {
	if text[0] != '<' && text[0] != '{' {
		return 0
	}
	n := 1
	for n < len(text) && n < 40 && (isAlnum(text[n]) || text[n] == '_' || text[n] == '-' || text[n] == '.' || text[n] == ' ') {
		if isDigit(text[n-1]) && !isDigit(text[n]) {
			return 0
		}
		n++
	}
	if n < 3 || n == len(text) || text[n] != text[0]+2 || isDigit(text[1]) {
		return 0
	}
	return n + 1
}
