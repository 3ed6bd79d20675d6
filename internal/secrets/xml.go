package secrets

import "strings"

// maxTag is how many bytes of an element's tag are looked at.
const maxTag = 192

// tag returns where the name of the element begins whose tag ends at i, or -1.
func (c *scan) tag(i int) int {
	text, from := c.text, i
	for from > 0 && i-from < maxTag && text[from-1] != '<' && text[from-1] != '>' && !strings.HasSuffix(text[:from], `\u003c`) && !strings.HasSuffix(text[:from], `\u003e`) {
		from--
	}
	c.work += i - from
	if before(text, from) != '<' && !strings.HasSuffix(text[:from], `\u003c`) {
		return -1
	}
	return from
}

// tagged looks for a credential behind the > at i, in an element that has attributes and
// is named as one is: <password type="text">.
func (c *scan) tagged(i int) bool {
	text, from := c.text, c.tag(i)
	if from < 0 {
		return false
	}
	end := from
	for end < i && text[end] > ' ' {
		end++
	}
	if end == i || end-from < 3 || !lastOfNames[text[end-1]] || !endsAsName(text, end) {
		return false
	}
	n, begin := c.naming(end)
	if n != namesToken && n != namesPassword || begin > from && text[begin-1] != ':' {
		return false
	}
	return c.element(i) && c.inside(i) && c.valued(c.closing(i), n, begin)
}

// cells are the elements that hold a name whose value is in the element behind them.
var cells = map[string]bool{"key": true, "name": true, "td": true, "th": true, "dt": true, "label": true, "param-name": true}

// cell looks for a credential in the element behind the one that ends at i and is its
// name: <key>password</key><string>V</string>.
func (c *scan) cell(i int) bool {
	text := c.text
	if i < 4 || !lastOfNames[text[i-1]] || !endsAsName(text, i) {
		return false
	}
	n, begin := c.naming(i)
	if n != namesToken && n != namesPassword || before(text, begin) != '>' && before(text, begin) != '"' {
		return false
	}
	rest := text[i+2 : min(len(text), i+24)]
	end := strings.IndexByte(rest, '>')
	if end < 0 || !cells[rest[:end]] {
		return false
	}
	at := i + 2 + end + 1
	for stop := min(len(text), at+maxLead); at < stop && text[at] <= ' '; {
		at++
	}
	if at == len(text) || text[at] != '<' {
		return false
	}
	next := strings.IndexByte(text[at:min(len(text), at+64)], '>')
	c.work += at - i + 64
	if next < 0 || strings.HasPrefix(text[at:], "</") {
		return false
	}
	sign := at + next
	return sign+minText < len(text) && c.element(sign) && c.inside(sign) && c.valued(sign, n, begin)
}
