package secrets

import "strings"

// Logins without a scheme, user:password@host, stand beside much that only looks like
// one: addresses of mail and of telephony, IDs of events and messages, images with a
// digest, versions of packages.

// dataSource looks for credentials before the @ at at without a scheme: those of
// Go's MySQL driver, before a protocol and an address, and user:password@host.
func (c *scan) dataSource(at int) bool {
	rest := c.text[at+1:]
	if at == 0 || rest == "" || rest[0] <= ' ' {
		return false
	}
	begin, last, parts := at, c.at, false
	for begin > last && at-begin < 128 && !endsLogin[c.text[begin-1]] {
		begin--
		parts = parts || c.text[begin] == ':' || c.text[begin] == '/'
	}
	c.work += at - begin
	c.at = at
	if begin == last && last > 0 { // the same word
		if c.logins++; c.logins > maxInside {
			return false
		}
		begin = c.login
		c.parts = c.parts || parts
	} else {
		c.login, c.logins, c.parts = begin, 0, parts
	}
	if !c.parts { // an address
		return false
	}
	login := c.text[begin:at]
	if slash := strings.LastIndex(login, "://"); slash >= 0 {
		in := strings.LastIndexAny(login, "?=&")
		if in < slash {
			return false // looked at already
		}
		begin, login = begin+in+1, login[in+1:]
	}
	user, password, ok := strings.Cut(login, ":")
	if name, after, assigned := strings.Cut(user, "="); assigned && name != "" { // DSN=user:password@…
		user = after
	}
	for _, protocol := range [...]string{"tcp(", "tcp6(", "unix(", "udp(", "cloudsql(", "(", "/"} {
		if strings.HasPrefix(rest, protocol) && (ok || !strings.HasPrefix(rest, "//")) {
			return ok && user != "" && !masked(password) && (protocol != "/" || !mixOf(password).wordy(password)) && c.hit(ruleURL, begin, at)
		}
	}
	if !ok {
		return c.oracle(begin, at, rest)
	}
	return isLogin(strings.TrimLeft(user, "/{[("), password, rest) && c.hit(ruleURL, begin, at)
}

// endsLogin are the characters that stand before a login.
var endsLogin = func() (table [256]bool) {
	for b := range 0x21 {
		table[b] = true
	}
	for _, b := range []byte("\"'`<>,") {
		table[b] = true
	}
	return table
}()

// isLogin tells whether a user and a password stand before a host without a scheme.
func isLogin(user, password, rest string) bool {
	if name, domain, ok := strings.Cut(user, "@"); ok && !(plainName(name) && plainName(domain)) || !ok && !plainName(user) {
		return false
	}
	if len(password) < minText || masked(password) || version(password) {
		return false
	}
	host := hostOf(rest)
	m := mixOf(password)
	if m.wordy(password) || host != hostPort && !m.drawn(password, minText) && addressLike(password) {
		return false
	}
	if host == hostNone || host == hostWord && !strong(password) {
		return false
	}
	// What stands before the last colon may be no user: sip:, UID:, ORGANIZER:mailto:.
	word, local := user, password
	if colon := strings.LastIndexByte(password, ':'); colon >= 0 {
		word, local = password[:colon], password[colon+1:]
	}
	if !addressLike(local) {
		return true
	}
	switch namesNoUser(word) {
	case noUser:
		return false
	case rarelyUser:
		return host == hostPort
	}
	return true
}

// addressLike tells whether a text has no other signs than the local parts of
// addresses and IDs have.
func addressLike(s string) bool {
	for i := range len(s) {
		if b := s[i]; !isAlnum(b) && strings.IndexByte("._+-=~", b) < 0 {
			return false
		}
	}
	return true
}

// strong tells whether a text has letters of both cases and digits, and goes from one
// to the other as no word does, or has other signs than addresses.
func strong(s string) bool {
	m := mixOf(s)
	return m.counts[smallLetter] > 0 && m.counts[capitalLetter] > 0 && m.counts[digit] > 0 && (m.changes > 2 || !addressLike(s))
}

// user is how likely a word before a colon is a user's name.
type user uint8

const (
	anyUser    user = iota
	rarelyUser      // it names what follows, unless a port stands behind the host
	noUser          // it never is one
)

// noUsers are words before an address or an ID, in small letters.
var noUsers = func() map[string]user {
	all := map[string]user{}
	for word := range strings.FieldsSeq("mailto sip sips xmpp acct email mail from to cc bcc uid cid mid msgid messageid im jabber skype tel callto organizer attendee replyto sender recipient sentby by id invite serviceaccount " +
		"image npm docker oci sha sha256 sha512 uuid urn arn pkg patch workspace link") {
		all[word] = noUser
	}
	for word := range strings.FieldsSeq("user group principal member owner account name username login identity actor author committer assignee reporter reviewer approver contact address subject domain deleted principalset ref job task run event message host node worker backup") {
		all[word] = rarelyUser
	}
	return all
}()

// namesNoUser tells how likely what ends with a word is a user's name: userEmail,
// client_email, ATTENDEE;CN=Ann:mailto.
func namesNoUser(s string) user {
	if at := strings.LastIndexAny(s, ":;=[(/"); at >= 0 {
		s = s[at+1:]
	}
	if len(s) > 40 {
		return anyUser
	}
	var buf [40]byte
	whole, last := buf[:0], 0 // where the last word of it begins
	for i := range len(s) {
		b := s[i]
		if !isAlnum(b) {
			last = len(whole)
			continue
		}
		if i > 0 && isUpper(b) && !isUpper(s[i-1]) {
			last = len(whole)
		}
		whole = append(whole, lower(b))
	}
	if says := noUsers[string(whole)]; says != anyUser {
		return says
	}
	if says := noUsers[string(whole[last:])]; says == noUser { // of a database user's name much may be the end
		return rarelyUser
	}
	return anyUser
}

// oracle looks for user/password@host:port/service.
func (c *scan) oracle(begin, at int, rest string) bool {
	user, password, ok := strings.Cut(c.text[begin:at], "/")
	rest = strings.TrimPrefix(rest, "//")
	host := span(rest, &hostSet)
	port := rest[host:]
	return ok && plainName(user) && host > 0 && len(port) > 2 && port[0] == ':' && isDigit(port[1]) &&
		len(password) >= minText && !masked(password) && !mixOf(password).wordy(password) && c.hit(ruleURL, begin, at)
}

// plainName tells whether a text is a user's name.
func plainName(s string) bool {
	return s != "" && len(s) <= 64 && span(s, &hostSet) == len(s)
}

// host is how certain it is that a text begins with the name of a host.
type host uint8

const (
	hostNone host = iota
	hostWord      // a word, which may be anything
	hostName      // with a dot and a letter, or the number of one
	hostPort      // with a port behind it
)

// hostOf tells whether a text begins with a host, by its name or number (RFC 3986 §3.2.2).
func hostOf(s string) host {
	if s[0] == '[' {
		n := 1
		for n < len(s) && n < 48 && (isHex(s[n]) || s[n] == ':' || s[n] == '.') {
			n++
		}
		if n < 4 || n == len(s) || s[n] != ']' || strings.Count(s[:n], ":") < 2 {
			return hostNone
		}
		if hasPort(s[n+1:]) {
			return hostPort
		}
		return hostName
	}
	n := span(s, &hostSet)
	if n == 0 || n > 100 || isDigest(s) {
		return hostNone
	}
	name, rest := s[:n], s[n:]
	number := isAddress(name)
	if version(name) && !number {
		return hostNone
	}
	dot := strings.LastIndexByte(name, '.')
	switch {
	case hasPort(rest):
		return hostPort
	case number, dot > 0 && len(name)-dot > 2 && !isDigit(name[dot+1]), name == "localhost":
		return hostName
	case n > 1 && !isDigit(name[0]) && name[0] != '-' && !(name[0] == 'v' && isDigit(name[1])) && (rest == "" || !isAlnum(rest[0]) && rest[0] != ':' && rest[0] != '('):
		return hostWord
	}
	return hostNone
}

// hasPort tells whether a text begins with a port.
func hasPort(s string) bool { return len(s) > 2 && s[0] == ':' && isDigit(s[1]) && isDigit(s[2]) }

// isDigest tells whether a text begins with the digest of an image.
func isDigest(s string) bool {
	return len(s) > 7 && (strings.HasPrefix(s, "sha256") || strings.HasPrefix(s, "sha512") || strings.HasPrefix(s, "sha384"))
}

// isAddress tells whether a text is a number of the fourth version of IP.
func isAddress(s string) bool {
	groups := 0
	for part := range strings.SplitSeq(s, ".") {
		if groups++; part == "" || len(part) > 3 || !digits(part) || len(part) == 3 && part > "255" {
			return false
		}
	}
	return groups == 4
}

// release tells whether a text is the number of a release and nothing else: 3.19,
// 1.25-alpine.
func release(s string) bool {
	s = strings.TrimPrefix(s, "v")
	i, dots := 0, 0
	for i < len(s) && (isDigit(s[i]) || s[i] == '.') {
		if s[i] == '.' {
			dots++
		}
		i++
	}
	if dots == 0 || !isDigit(s[0]) || s[i-1] == '.' || len(s)-i > 16 {
		return false
	}
	for _, b := range []byte(s[i:]) {
		if isUpper(b) || !isAlnum(b) && b != '-' && b != '.' {
			return false
		}
	}
	return i == len(s) || s[i] == '-'
}
