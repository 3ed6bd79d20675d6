package taint

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter takes a text apart into what a later text could hold alone: words,
// the values of NAME=value and its like, parts of addresses, and what any of
// them encodes. A value that stands where a credential does, by the name or the
// sign before it, is one, whatever it looks like.
type splitter struct {
	*expander
	whole bool // the text is a credential
	depth int

	name     string // the last word that could be a name
	assigned bool   // and a sign that a value follows it
	machine  bool   // the line names one
	prose    bool   // a colon, which stands in sentences, too
	last     bool   // no other word follows the one that is looked at
	before   string // the word before that
}

// hard are the characters that separate words: none of them is a part of a
// value that is not quoted.
var hard = func() (t [256]bool) {
	for c := range 0x21 {
		t[c] = true
	}
	for _, c := range []byte("\"'`;,&<>(){}[]|\x7f") {
		t[c] = true
	}
	return t
}()

// split adds the parts of a line.
func (s *splitter) split(line string) {
	if s.depth < maxDepth { // escapes stand for the characters that words end at
		if plain, escaped := unescape(nil, []byte(line), false, nil); escaped {
			s.text(string(plain), s.whole, s.depth+1)
		}
	}
	for i := 0; i < len(line); {
		gap := i
		for i < len(line) && hard[line[i]] {
			i++
		}
		begin := i
		for i < len(line) && !hard[line[i]] {
			i++
		}
		if begin == i {
			return
		}
		switch between := strings.TrimLeft(line[gap:begin], " \t"); {
		case strings.HasSuffix(between, ">"), len(between) == 1 && between != "," && gap+1 < begin:
			s.assigned, s.prose = true, false // <password>value, PASSWORD 'value'
		case strings.ContainsAny(between, "\"'"):
			s.prose = false // "password": "value"
		}
		s.last = strings.Trim(line[i:], " \t\r\"'`;,&<>(){}[]|") == ""
		// Only a part of the line is new.
		s.word(line[begin:i], begin == 0 && i == len(line))
	}
}

// word adds a word and its parts, and notes what it says of the next one.
func (s *splitter) word(w string, only bool) {
	if strings.Trim(w, ":=") == "" {
		s.assigned, s.prose = true, w == ":"
		return
	}
	expected := s.assigned && s.holds(s.name, w) || s.scheme(w)
	bare := strings.TrimRight(w, ":=")
	if !only {
		s.part(w, expected)
	} else {
		s.inside(w, expected || s.whole)
	}
	s.before, s.name = s.name, strings.TrimLeft(bare, "-/")
	s.prose = strings.HasSuffix(w, ":")
	s.assigned = len(bare) < len(w) || w[0] == '-' || strings.EqualFold(bare, "by") && strings.EqualFold(s.before, "identified")
	if strings.EqualFold(bare, "by") && s.assigned {
		s.name = "password"
	}
	s.machine = s.machine || bare == "machine"
	s.assigned = s.assigned || s.machine && bare == "password" // as in .netrc
}

// scheme reports whether the word before w is the name of a scheme in an
// Authorization header and w are its credentials (RFC 9110, section 11.6.2).
func (s *splitter) scheme(w string) bool {
	switch strings.ToLower(s.name) {
	case "bearer", "basic":
		return !ordinary(w) || fromBase64(w) != nil && !ordinaryLetters(w)
	case "token", "apikey", "key", "digest", "negotiate":
		return strings.EqualFold(s.before, "authorization")
	}
	return false
}

// part adds a part, and its own parts. credential says that it stands where a
// credential does.
func (s *splitter) part(p string, credential bool) {
	s.add(p, credential)
	s.inside(p, credential)
}

// inside adds the parts of a part.
func (s *splitter) inside(p string, credential bool) {
	if len(p) < minCredential || !credential && isTime(p) {
		return
	}
	s.decoded(p, credential, s.depth)
	if bare := strings.TrimFunc(p, around); len(bare) < len(p) {
		s.add(bare, credential && !ordinary(bare))
		s.decoded(bare, credential, s.depth)
	}
	if s.flag(p) {
		return
	}
	if at := strings.LastIndexByte(p, '@'); at > 0 && at < len(p)-1 {
		s.userinfo(p[:at], p[at+1:])
		s.inside(p[at+1:], false)
		return
	}
	if name, rest, ok := strings.Cut(p, "="); ok && strings.Trim(rest, "=") != "" {
		name = strings.TrimLeft(name[strings.LastIndexAny(name, "?/#")+1:], "-")
		s.prose = false
		s.part(rest, s.holds(name, rest) || credential && !ordinary(rest))
		name = p[:len(p)-len(rest)-1]
		s.add(name, false) // or what stands before the = of base64
		s.decoded(name, false, s.depth)
		s.soft(name)
		return
	}
	if name, rest, ok := strings.Cut(p, ":"); ok && rest != "" && !strings.HasPrefix(rest, "//") {
		login := s.assigned && (strings.EqualFold(s.name, "u") || strings.EqualFold(s.name, "user"))
		s.part(rest, s.holds(name, rest) || (credential || login) && !port(rest))
		s.soft(name)
		return
	}
	s.soft(p)
}

// around reports whether a character may stand around a value in a text: what ends
// a sentence, marks of emphasis, quotation marks of any language.
func around(r rune) bool {
	return r != '=' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
}

// port reports whether a text is one, rather than a password.
func port(s string) bool { return len(s) <= 5 && strings.Trim(s, "0123456789") == "" }

// flag adds the value of a one-letter flag that it is written behind.
func (s *splitter) flag(p string) bool {
	if len(p) < 2+minCredential || p[0] != '-' || !isLetter(p[1]) || p[2] == '-' {
		return false
	}
	if c := p[1] | 0x20; c == 'p' || c == 'a' || c == 'u' {
		mixed := strings.ContainsAny(p[2:], "0123456789") && strings.ContainsFunc(p[2:], unicode.IsLetter)
		s.add(p[2:], p[1] == 'p' && (s.whole || mixed || !ordinary(p[2:])))
		if _, password, ok := strings.Cut(p[2:], ":"); ok && c == 'u' {
			s.add(password, true)
		}
		s.soft(p[2:])
		return true
	}
	return false
}

// userinfo adds the user and the password before the last @ of an address, which
// rest follows.
func (s *splitter) userinfo(p, rest string) {
	human := strings.ContainsAny(rest, ":/") || rest == "tcp" || rest == "unix" // a data source has these, and an address of mail has not
	if at := strings.Index(p, "://"); at >= 0 {
		p, human = p[at+3:], true
	} else if name, rest, ok := strings.Cut(p, "="); ok && strings.Contains(rest, ":") {
		s.soft(name)
		p = rest
	}
	user, password, ok := strings.Cut(p, ":")
	s.part(user, false)
	if ok && password != "" {
		s.add(password, s.whole || !ordinary(password) || !standsFor(password) && (human || len(password) >= minNeedle))
		s.decoded(password, true, s.depth)
		s.soft(password)
	}
}

// soft adds what stands between the characters that end a value in some
// notations and are a part of it in others.
func (s *splitter) soft(p string) { s.between(p, divides, seldomDivides) }

// between adds what stands between characters of the first kind, and in that what
// stands between those of the next.
func (s *splitter) between(p string, kind func(rune) bool, next ...func(rune) bool) {
	whole := strings.IndexFunc(p, kind) < 0
	for token := range strings.FieldsFuncSeq(p, kind) {
		if !whole {
			s.add(token, false)
			s.decoded(token, false, s.depth)
			if bare := strings.TrimFunc(token, around); len(bare) < len(token) {
				s.add(bare, false)
				s.decoded(bare, false, s.depth)
			}
		}
		if len(next) > 0 {
			s.between(token, next[0], next[1:]...)
		}
	}
}

// divides reports whether a character ends a value in some notations.
func divides(r rune) bool {
	return strings.ContainsRune(":=@/?#", r) || r >= utf8.RuneSelf && around(r)
}

// seldomDivides is divides for characters that values have more often.
func seldomDivides(r rune) bool { return r == '%' || r == '|' || r == '\\' }

// naming is what a name says of its value.
type naming uint8

const (
	namesNothing  naming = iota
	namesSeldom          // a token, unless it is the name of something else
	namesToken           // something that a program made: no ordinary word
	namesPassword        // something that a person may have chosen
)

// namingOf tells what a value of that name is. The end of a name says what it names:
// a password's policy is none.
func namingOf(name string) naming {
	var buf [48]byte
	n := 0
	for i := max(0, len(name)-len(buf)); i < len(name); i++ {
		if c := name[i]; isLetter(c) {
			buf[n] = lower[c]
			n++
		}
	}
	plain := string(buf[:n])
	switch plain {
	case "pass", "pw", "pat", "pin", "otp":
		return namesPassword
	case "auth", "cookie", "setcookie", "sig", "key", "sid", "session", "code":
		return namesSeldom
	}
	if endsAs(plain, "password", "passwd", "passphrase", "passcode", "secret", "pwd", "pass") {
		return namesPassword
	}
	for _, part := range [...]string{
		"token", "apikey", "accesskey", "privatekey", "accountkey", "sharedkey", "credential", "authorization", "secret", "password",
		"signature", "connectionstring", "sessionid",
	} {
		if strings.Contains(plain, part) && (strings.HasSuffix(plain, part) || !describes(plain)) {
			return namesToken
		}
	}
	return namesNothing
}

// endsAs reports whether a name in small letters is one of a value that the names end with,
// of several, or of which one it is.
func endsAs(name string, names ...string) bool {
	for _, which := range [...]string{"value", "string", "text", "plain", "confirmation", "confirm", "repeat", "again", "new", "old"} {
		name = strings.TrimSuffix(name, which)
	}
	for _, end := range names {
		if strings.HasSuffix(name, end) || strings.HasSuffix(strings.TrimSuffix(name, "s"), end) {
			return true
		}
	}
	return false
}

// describes reports whether a name ends as that of what is said of a credential.
func describes(name string) bool {
	for _, end := range [...]string{
		"name", "names", "ref", "refs", "policy", "type", "kind", "at", "on", "date", "time", "version", "id", "ids", "arn", "count", "length", "size", "limit", "used", "usage", "ttl", "age", "days", "expiry", "expires", "expiration", "state",
		"status", "scope", "scopes", "provider", "store", "backend", "class", "path", "file", "url", "uri", "endpoint", "issuer", "algorithm", "method", "mode", "hint", "label", "required", "enabled", "reset", "changed", "rotation", "source", "owner", "manager", "namespace",
	} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// Holds reports whether a value of that name is a credential.
func (n naming) Holds(value string) bool {
	s := splitter{}
	return !isTime(value) && s.held(n, value)
}

// Named returns what a name says of its value, and nil if that is nothing. seldom says
// that it may be the name of something else, too.
func Named(name string, seldom bool) interface{ Holds(text string) bool } {
	n := namingOf(name)
	switch {
	case n == namesNothing, n == namesSeldom && !seldom:
		return nil
	case n == namesPassword && !named(name): // beside what is kept, ordinary words count for more
		return namesToken
	}
	return n
}

// named reports whether a name is that of what people choose, and of nothing else: PWD is
// a directory, and a secret has a name that is none.
func named(name string) bool {
	name = strings.ToLower(name)
	return name == "pin" || endsAs(name, "password", "passwd", "passphrase")
}

// standsFor reports whether an ordinary word stands in the place of a password that is
// not told, or of none.
func standsFor(value string) bool {
	if namingOf(value) >= namesToken && ordinaryLetters(value) {
		return true
	}
	switch strings.ToLower(strings.Trim(value, ".,:;!?-_*")) {
	case "", "true", "false", "null", "none", "nil", "undefined", "empty", "unset", "default", "required", "optional", "missing", "invalid",
		"incorrect", "wrong", "expired", "changed", "reset", "unknown", "hidden", "masked", "redacted", "omitted", "removed", "string", "text",
		"value", "with", "from", "this", "that", "your", "please", "enabled", "disabled", "file", "prompt", "stdin", "authentication":
		return true
	}
	return false
}

// Word reports whether a text is one that others hold without having it from anywhere.
func Word(text string) bool { return ordinary(text) }

// holds reports whether a value of that name is a credential.
func (s *splitter) holds(name, value string) bool {
	return s.held(namingOf(name), value)
}

func (s *splitter) held(n naming, value string) bool {
	switch n {
	case namesPassword:
		switch {
		case s.whole, !ordinary(value):
			return true
		case standsFor(value):
			return false
		}
		// In a sentence what follows the colon is the next word.
		return len(value) >= minNeedle || !s.prose || s.last || strings.ContainsAny(value, "0123456789")
	case namesToken, namesSeldom:
		return !ordinary(value)
	}
	return false
}
