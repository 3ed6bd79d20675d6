package secrets

import (
	"net/netip"
	"slices"
	"strings"
)

// maxLocal and maxDomain bound an address (RFC 5321 §4.5.3.1).
const (
	maxLocal  = 64
	maxDomain = 255
)

var localSet, domainSet = func() (l, d set) {
	add(&l, "._%+-'", '0', '9', 'A', 'Z', 'a', 'z', 0x80, 0xff)
	add(&d, ".-", '0', '9', 'A', 'Z', 'a', 'z', 0x80, 0xff)
	return l, d
}()

// emailAt looks for an e-mail address around the @ at i: a domain has a dot and
// ends with letters.
func (c *scan) emailAt(at int) bool {
	begin, end := at, at+1
	for begin > 0 && at-begin < maxLocal && localSet.has(c.text[begin-1]) {
		begin--
	}
	for end < len(c.text) && end-at <= maxDomain && domainSet.has(c.text[end]) {
		end++
	}
	c.work += end - begin
	domain := strings.TrimRight(c.text[at+1:end], ".-")
	dot := strings.LastIndexByte(domain, '.')
	if begin == at || dot <= 0 || len(domain)-dot < 3 {
		return false
	}
	if slices.ContainsFunc([]byte(domain[dot+1:]), isDigit) {
		return false
	}
	return c.hit(string(Email), begin, at+1+len(domain))
}

// phoneAt looks for a telephone number with its + at i (ITU-T E.164): eight to
// fifteen digits, the first no zero, perhaps with single separators or
// parentheses between them.
func (c *scan) phoneAt(i int) bool {
	if i > 0 && (isAlnum(c.text[i-1]) || c.text[i-1] == '+') || i+1 >= len(c.text) ||
		c.text[i+1]-'1' > 8 {
		return false
	}
	n, end, between := 0, i+1, 0
	for end < len(c.text) && between <= 2 {
		b := c.text[end]
		switch {
		case isDigit(b):
			n, between = n+1, 0
		case strings.IndexByte(" -./()", b) >= 0:
			between++
		default:
			c.work += end - i
			return n >= 8 && n <= 15 && (between > 0 || !isAlnum(b)) && c.hit(string(Phone), i, end)
		}
		if n > 15 {
			return false
		}
		end++
	}
	c.work += end - i
	return n >= 8 && c.hit(string(Phone), i, end)
}

// ibanAt looks for an international bank account number at i (ISO 13616): two
// letters, two check digits, 11 to 30 more, perhaps in groups of four.
func (c *scan) ibanAt(i int) bool {
	text := c.text
	if i+15 > len(text) || isDigit(text[i]) || isDigit(text[i+1]) || !isAlnum(text[i+1]) ||
		!isDigit(text[i+2]) || !isDigit(text[i+3]) {
		return false
	}
	var account [34]byte
	n, end, full := 0, i, 0 // full is the end of the last whole group
	for ; end < len(text) && n < len(account); end++ {
		b := text[end]
		if b == ' ' && n%4 == 0 && end > i && text[end-1] != ' ' {
			if n >= 15 && mod97(account[:n]) {
				full = end
			}
			continue
		}
		if !isAlnum(b) {
			break
		}
		account[n] = upper(b)
		n++
	}
	c.work += end - i
	if n >= 15 && mod97(account[:n]) && (end == len(text) || !isAlnum(text[end])) {
		full = end
	}
	return full > 0 && c.hit(string(IBAN), i, full)
}

// mod97 checks an account number's check digits (ISO/IEC 7064 MOD 97-10).
func mod97(account []byte) bool {
	rest := 0
	for i := range account {
		b := account[(i+4)%len(account)]
		if isDigit(b) {
			rest = (rest*10 + int(b-'0')) % 97
		} else {
			rest = (rest*100 + int(b-'A') + 10) % 97
		}
	}
	return rest == 1
}

// ipv4At looks for an IPv4 address at i. A fifth number makes it something
// else.
func (c *scan) ipv4At(i int) bool {
	end := i
	for end < len(c.text) && end-i < 17 && (isDigit(c.text[end]) || c.text[end] == '.') {
		end++
	}
	c.work += end - i
	candidate := strings.TrimRight(c.text[i:end], ".")
	end = i + len(candidate)
	if strings.Count(candidate, ".") != 3 || i > 0 && (c.text[i-1] == '.' || c.text[i-1] == '-') || end < len(c.text) && (isAlnum(c.text[end]) || c.text[end] == '-') {
		return false
	}
	return c.address(candidate, i)
}

// ipv6At looks for an IPv6 address whose first colon is at i. Without a digit it
// may be a name in a program, such as cafe::add.
func (c *scan) ipv6At(i int) bool {
	begin, end := i, i
	for begin > 0 && i-begin <= 4 && isHex(c.text[begin-1]) {
		begin--
	}
	if begin > 0 && (isAlnum(c.text[begin-1]) || c.text[begin-1] == ':') {
		return false
	}
	for end < len(c.text) && end-begin < 48 && (isHex(c.text[end]) || c.text[end] == ':' || c.text[end] == '.') {
		end++
	}
	c.work += end - begin
	candidate := strings.TrimRight(c.text[begin:end], ".")
	end = begin + len(candidate)
	if strings.Count(candidate, ":") < 2 || !strings.ContainsAny(candidate, "0123456789") ||
		end < len(c.text) && isAlnum(c.text[end]) {
		return false
	}
	return c.address(candidate, begin)
}

// address tells whether the candidate at i is the address of somebody. It is
// cloned because an error would keep it.
func (c *scan) address(candidate string, i int) bool {
	ip, err := netip.ParseAddr(strings.Clone(candidate))
	if err != nil || ip.IsLoopback() || ip.IsUnspecified() {
		return false
	}
	return c.hit(string(IP), i, i+len(candidate))
}
