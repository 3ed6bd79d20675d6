package secrets

import (
	"strings"
	"sync"
)

// minText is the shortest text that holds a secret, and the shortest match of
// any pattern.
const minText = 8

// kind is what the main loop does at a byte.
type kind uint8

const (
	kindOther  kind = iota // separates words, and ends a run of base64
	kindWord               // letters and digits
	kindJoiner             // separates words, but not in base64: + / - _
	kindEscape             // a backslash, %, or ESC: what it begins ends where a word may begin
	kindAssign             // = after a name
	kindSign               // where something else may begin, or has just ended: : @ ~ $
)

var kinds = func() (table [256]kind) {
	for b := range 256 {
		switch {
		case isAlnum(byte(b)):
			table[b] = kindWord
		case strings.IndexByte("+/-_", byte(b)) >= 0:
			table[b] = kindJoiner
		case b == '=':
			table[b] = kindAssign
		case b == '\\', b == '%', b == 0x1b:
			table[b] = kindEscape
		case strings.IndexByte(":@~$", byte(b)) >= 0:
			table[b] = kindSign
		}
	}
	return table
}()

// scan is one pass over one text.
type scan struct {
	*Scanner
	text     string
	rule     string // of the hit
	begun    int    // where the current run of base64 began
	edge     int    // where the last escape ended: a word may begin there
	depth    int    // how often the text was base64 in another
	joined   int    // up to here, wrapped lines of base64 were read as one
	tokenEnd int    // of the run of base64url in which JWTs were looked for
	tokens   int    // how many in it
	pluses   bool   // a plus sign may stand for the space in a command line
	entities bool   // there may be an entity of HTML
	named    bool   // a credential was found that is known by its name alone
	work     int    // bytes looked at beyond the main loop, which tests bound

	at     int     // the last @
	login  int     // where the word with it began
	logins int     // how many in it
	parts  bool    // there is a colon or a slash before it
	space  *space  // nil until something is decoded
	limits *limits // nil until something is looked at beyond the main loop
	runs   *runs   // nil until a format has many bytes of a set
}

// limits notes what was looked at, so that nothing is looked at often: few texts
// need it.
type limits struct {
	keysTo       int // up to here, their private parts were looked for
	headers      int // up to here, headers were looked at
	commands     int // up to here, command lines were looked at
	programs     int // how many names of programs were looked at in one line
	programsTo   int // where that ends
	variables    int // up to here, variables were looked at
	netrcs       int // up to here, entries of .netrc were looked at
	keysets      int // up to here, keysets were looked at
	passwordsTo  int // up to here, passwords of somebody were looked for
	statementsTo int // up to here, statements of SQL were looked for
	statement    int // before which the last one was found
	blocks       int // up to here, private keys were looked for
	valueEnd     int // of the last value of a name
	values       int // how many names in it
	plainIn      int // from here to plainUpTo, no element of XML ends
	plainUpTo    int
	plainFrom    int // from here to plainTo, no byte ends a value
	plainTo      int
	client       int // the end of the last run of client secrets' characters
	token68      int // the end of the last credentials of a scheme
	schemes      int // how many names of schemes in them
	addressEnd   int // of what was looked at behind a scheme
	addresses    int // how many schemes in it
	hostsTo      int // up to here, hosts that take keys were looked for
	host         int // where the last one began, plus one
	triesIn      int // the run in which
	triesAt      int // where the last one was
	triesEnd     int // up to here, tries at long formats are counted
	tries        int // how many there were
}

var allLimits = sync.Pool{New: func() any { return new(limits) }}

func (c *scan) seen() *limits {
	if c.limits == nil {
		c.limits = allLimits.Get().(*limits)
		*c.limits = limits{}
	}
	return c.limits
}

// release gives back what the scan has used.
func (c *scan) release() {
	if c.space != nil {
		c.spaces.Put(c.space)
		c.space = nil
	}
	if c.limits != nil {
		allLimits.Put(c.limits)
		c.limits = nil
	}
	if c.runs != nil {
		allRuns.Put(c.runs)
		c.runs = nil
	}
}

// Find returns the rule that the first secret in the text belongs to.
func (s *Scanner) Find(text string) (rule string, found bool) {
	if len(text) < minText || s.prose && plainWords(text) || len(text) < s.least && oneWord(text) {
		return "", false
	}
	c := scan{Scanner: s, text: text}
	found = c.run()
	if c.limits != nil || c.runs != nil || c.space != nil {
		c.release()
	}
	if found {
		return c.rule, true
	}
	if c.edge == 0 && !c.pluses && !c.entities { // there is no escape
		return "", false
	}
	return c.unescaped()
}

// run goes over the text word by word. A secret begins where a word begins, so
// that is where prefixes are looked up; what has no prefix is recognised by
// the sign in or after it. A run is what may be base64.
func (c *scan) run() bool {
	text, run, words := c.text, 0, false
	all, open := &c.index.all, &c.index.open
	for i := 0; i < len(text); {
		k := kinds[text[i]]
		if k == kindWord {
			begin := i
			if i+8 > len(text) {
				for i++; i < len(text) && kinds[text[i]] == kindWord; i++ {
				}
			} else if n := wordBytes(load(text[i:])); n < 8 { // most words
				i += n
			} else {
				i = wordEnd(text, i+8)
			}
			prefixes := all
			if i-begin < minWhole && (i == len(text) || kinds[text[i]] == kindOther) { // an ordinary word
				prefixes = open
			}
			if begin+minText <= len(text) && prefixes.begins(load(text[begin:])) {
				if c.begun = run; c.prefixed(begin) {
					return true
				}
			}
			if (i-begin >= 13 || c.iban || isDigit(text[begin]) && (c.ip || i < len(text) && endsNumber[text[i]])) && c.word(begin, i) {
				return true
			}
			if i == len(text) {
				break
			}
			k = kinds[text[i]]
		}
		switch k {
		case kindOther:
			if b := text[i]; places[b] && (words || b > ' ' || i > 0 && lastOfNames[text[i-1]] && c.beforeQuote(i)) && c.other(i) {
				return true
			}
		case kindJoiner:
			if text[i] == '+' && (c.phone && c.phoneAt(i) || c.flags(i)) {
				return true
			}
			i++
			words = true
			continue
		default:
			if c.signed(k, i, run) {
				return true
			}
		}
		if i-run >= minEncoded && c.encoded(run, i, words) {
			return true
		}
		next := i + 1
		if k == kindEscape {
			if next = escaped(text, i); c.escape(i, next, words) {
				return true
			}
		}
		words = text[i] == '.' // names have dots, too: --app.token V
		i, run = next, next
	}
	return len(text)-run >= minEncoded && c.encoded(run, len(text), words) || c.foundNamed()
}

// places are the bytes that a credential may stand behind whose name is a flag, an element,
// an argument or a word of SQL, and the beginnings of entities.
var places = [256]bool{' ': true, '\t': true, '\n': true, '>': true, '<': true, '&': true, ',': true}

// other looks at one of places, at i.
func (c *scan) other(i int) bool {
	text := c.text
	switch text[i] {
	case '<':
		return i+1 < len(text) && text[i+1] == '/' && c.cell(i)
	case '&':
		c.entities = c.entities || i+4 < len(text) && entities[text[i+1]]
		return false
	case ',':
		return i > 0 && (text[i-1] == '\'' || text[i-1] == '"') && c.called(i)
	}
	return c.placed(i)
}

// beforeQuote tells whether there is a quote behind the space at i, or what may stand
// between them: another space, a letter, or another sign for a quote.
func (c *scan) beforeQuote(i int) bool {
	text := c.text
	if i+2 >= len(text) {
		return false
	}
	next := text[i+1]
	return next == '\'' || next == '"' || text[i+2] == '\'' && isAlnum(next) || next == '$' || next <= ' ' && !isAlnum(text[i+2])
}

// foundNamed reports whether a named value was found that is hit if nothing else is.
func (c *scan) foundNamed() bool {
	if c.named {
		c.rule = ruleNamed
	}
	return c.named
}

// escape looks at what the escape from i to next stands for.
func (c *scan) escape(i, next int, words bool) bool {
	if next >= i+6 && c.text[next-5:next] == "u003e" && c.placed(i) { // a >
		return true
	}
	if next == i+2 && words && (c.text[i+1] == 'n' || c.text[i+1] == 't') && c.placed(i) { // behind a flag
		return true
	}
	c.edge, c.begun = next, next
	return next > i+1 && c.prefixed(i+1) // not an escape after all
}

// signed looks at what the sign at i, behind a run, assigns, begins or ends.
func (c *scan) signed(k kind, i, run int) bool {
	switch k {
	case kindAssign:
		return c.assigned(i)
	case kindSign:
		c.begun = run
		// Most colons are punctuation.
		plain := c.text[i] == ':' && !c.ip && (i+1 == len(c.text) || c.text[i+1] != '/' && c.text[i+1] != '\\')
		return !plain && c.sign(i) || c.text[i] == ':' && c.assigned(i)
	}
	return false
}

// endsNumber are the bytes that follow a short number of a secret: a group of a
// card's digits, or the number of a bot.
var endsNumber = [256]bool{' ': true, '-': true, ':': true}

// prefixed looks for the formats whose prefix is at i.
func (c *scan) prefixed(i int) bool {
	if i+minText > len(c.text) {
		return false
	}
	bucket := c.index.rows[c.index.row[c.text[i]]][c.text[i+1]]
	return bucket != 0 && c.probe(bucket, i)
}

// probe looks for the formats in the bucket, at i.
func (c *scan) probe(bucket uint16, i int) bool {
	eight := load(c.text[i:])
	tired := c.tired(i)
	bucketed := c.index.buckets[bucket]
	for n := range bucketed {
		p := &bucketed[n]
		if eight&p.mask != p.want || tired && p.tires {
			continue
		}
		if p.next != nil { // as most are found out
			if at := i + len(p.format.prefix); at >= len(c.text) || !p.next.has(c.text[at]) {
				continue
			}
		}
		if c.matches(p.format, i) {
			return true
		}
		tired = c.tired(i)
	}
	return false
}

// matches tells whether the format, whose first eight bytes are at i, is there.
func (c *scan) matches(f *format, i int) bool {
	if n := len(f.prefix); n > minText && (len(c.text)-i < n || !f.same(c.text[i:i+n], f.prefix)) {
		return false
	}
	var end int
	if f.check == checkCurl || f.check == checkNetrc || f.check == checkCommand { // words of command lines
		at := i + len(f.prefix)
		c.pluses = c.pluses || strings.IndexByte(c.text[at:min(len(c.text), at+16)], '+') >= 0
	}
	switch f.check {
	case checkPEM:
		end = c.privateKey(i)
	case checkJWT:
		end = c.signedToken(i)
	case checkBearer:
		end = c.bearer(i + len(f.prefix))
	case checkBasic:
		end = c.basic(i + len(f.prefix))
	case checkDER:
		end = c.derKey(i)
	case checkJWK:
		end = c.webKey(i)
	case checkHeader:
		end = c.header(i + len(f.prefix))
	case checkCurl:
		end = c.curl(i)
	case checkTink:
		end = c.keyset(i)
	case checkCommand:
		end = c.command(i, f.prefix)
	case checkVariable:
		end = c.variable(i + len(f.prefix))
	case checkForm:
		end = c.formField(i + len(f.prefix))
	case checkNetrc:
		end = c.netrc(i + len(f.prefix))
	case checkSet:
		end = c.set(i + len(f.prefix))
	case checkIdentified:
		end = c.identified(i + len(f.prefix))
	case checkPasswordOf:
		end = c.passwordOf(i + len(f.prefix))
	default:
		if (f.weak || len(f.prefix) <= 4) && c.amidBase64(i) || f.builtin && c.tired(i) {
			return false
		}
		var seen int
		end, seen = c.match(f, i)
		c.tried(i, seen)
		if end >= 0 && (f.inName(c.text, i, end) || !f.plausible(c.text[i+len(f.prefix):end])) {
			return false
		}
	}
	return end >= 0 && c.hit(f.rule, i, end)
}

// maxTries is at how many places there may be tries at long formats in maxOpen
// bytes. In more of them one stands in the other, and none is a token.
const maxTries = 4

// longTry is how many bytes a try looks at to be counted.
const longTry = 24

// tired tells whether there were too many.
func (c *scan) tired(i int) bool {
	l := c.limits
	return l != nil && i < l.triesEnd && l.tries >= maxTries && i != l.triesAt && c.triesIn() == l.triesIn
}

// triesIn returns where the run began that tries are counted in. A dollar sign does
// not end one: hashes of passwords have several.
func (c *scan) triesIn() int {
	if c.begun > 0 && c.text[c.begun-1] == '$' && c.limits != nil {
		return c.limits.triesIn
	}
	return c.begun
}

// tried counts a try at i that looked at so many bytes.
func (c *scan) tried(i, seen int) {
	c.work += seen
	if seen < longTry {
		return
	}
	l := c.seen()
	if in := c.triesIn(); i >= l.triesEnd || in != l.triesIn {
		l.triesEnd, l.triesIn, l.tries = i+maxOpen, in, 0
	}
	if i != l.triesAt || l.tries == 0 {
		l.tries++
	}
	l.triesAt = i
}

// amidBase64 tells whether what begins at i is more likely a part of something
// long in base64, in which every short prefix turns up.
func (c *scan) amidBase64(i int) bool {
	return i-c.begun >= 64 && (c.text[i-1] == '+' || c.text[i-1] == '/')
}

// openAI stands in the middle of OpenAI's keys: OpenAI in base64.
const openAI = "T3BlbkFJ"

// plausible tells a token from a mask such as xxxxxxxx. Of a format whose
// prefix says little it also asks that the rest is not made of words.
func (f *format) plausible(body string) bool {
	if !f.builtin || len(body) < 16 { // a user's own pattern says what it means
		return true
	}
	whole := body
	body = body[:min(len(body), 40)]
	if few(body) {
		return false
	}
	if f.tail {
		return made(body)
	}
	return !f.weak || random(body) || strings.Contains(whole, openAI)
}

// inName tells whether the match is a part of a name in which its prefix is a
// common word: task_test_…, icon-key-….png.
func (f *format) inName(text string, from, to int) bool {
	if !f.builtin || !f.weak && len(f.prefix) > 4 {
		return false
	}
	if from > 1 && (text[from-1] == '_' || text[from-1] == '-') && isAlnum(text[from-2]) && len(f.prefix) <= 5 {
		return true
	}
	rest := text[to:]
	if len(rest) < 3 || rest[0] != '.' {
		return false
	}
	for _, ending := range [...]string{"png", "svg", "jpg", "jpeg", "gif", "webp", "ico", "css", "js", "mjs", "map", "json", "woff", "ttf", "html", "pdf", "txt", "gz", "zip"} {
		if after, ok := strings.CutPrefix(rest[1:], ending); ok && (after == "" || !isAlnum(after[0])) {
			return true
		}
	}
	return false
}

// hit records the rule of what was found in text[from:to], unless it is allowed
// or the rule is not applied.
func (c *scan) hit(rule string, from, to int) bool {
	if c.off[rule] {
		return false
	}
	for _, safe := range c.allow {
		if to-from > len(safe) {
			continue
		}
		begin := max(0, to-len(safe))
		end := min(len(c.text), from+len(safe))
		c.work += end - begin
		if strings.Contains(c.text[begin:end], safe) {
			return false
		}
	}
	if rule == ruleNamed { // another rule may say more
		c.named = true
		return false
	}
	c.rule = rule
	return true
}

// escaped returns where the escape at i ends: \n and its like, \u003d, \x3d,
// %3D, and a terminal's ESC [ 31 m. After anything else that is i+1.
func escaped(text string, i int) int {
	rest := text[i+1:]
	switch text[i] {
	case '%':
		if hexes(rest, 2) {
			return i + 3
		}
	case '\\':
		slashes := 0
		for slashes < len(rest) && rest[slashes] == '\\' {
			slashes++
		}
		i, rest = i+slashes, rest[slashes:]
		switch {
		case rest == "":
		case rest[0] == 'u' && hexes(rest[1:], 4):
			return i + 6
		case rest[0] == 'x' && hexes(rest[1:], 2):
			return i + 4
		case strings.IndexByte("abfnrtv0", rest[0]) >= 0:
			return i + 2
		}
	default:
		if rest == "" || rest[0] != '[' {
			break
		}
		n := 1
		for n < len(rest) && (isDigit(rest[n]) || rest[n] == ';') {
			n++
		}
		if n < len(rest) && isAlnum(rest[n]) {
			return i + 2 + n
		}
	}
	return i + 1
}

func hexes(s string, n int) bool {
	if len(s) < n {
		return false
	}
	for i := range n {
		if !isHex(s[i]) {
			return false
		}
	}
	return true
}
