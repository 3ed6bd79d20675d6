package secrets

import "strings"

// identified looks for the password in a statement of SQL behind the word identified that
// ends at i: IDENTIFIED BY 'V', IDENTIFIED WITH a_plugin BY 'V'.
func (c *scan) identified(i int) int {
	text := c.text
	at := i
	for words := range 4 {
		from := at
		for at < len(text) && at-from < maxLead && (text[at] <= ' ' || text[at] == '+') {
			at++
		}
		if lines := lineEnd(text, at); lines > at {
			at = blanks(text, lines)
		}
		if at == from {
			break
		}
		end := at
		for end < len(text) && end-at < maxLead && (isAlnum(text[end]) || strings.IndexByte("_-.'\"`", text[end]) >= 0) {
			end++
		}
		c.work += end - from
		switch word := text[at:end]; {
		case strings.EqualFold(word, "by") && end+minText < len(text):
			value := c.lead(end)
			if value < len(text) && text[value] == '$' || quoteAt(text, value) >= 0 || c.statement(i) {
				c.valued(end, namesPassword, at)
			}
			return -1
		case strings.EqualFold(word, "with"), words == 1:
		default:
			return -1
		}
		at = end
	}
	return -1
}

// statement tells whether a statement of SQL that makes or changes a user stands before
// i: a text says what is identified by what, too.
func (c *scan) statement(i int) bool {
	l := c.seen()
	part := c.text[max(0, i-160, l.statementsTo):i]
	l.statementsTo = i
	c.work += 3 * len(part)
	for _, word := range [...]string{"create", "alter", "grant", "CREATE", "ALTER", "GRANT"} {
		if strings.Contains(part, word) {
			l.statement = i
			break
		}
	}
	return l.statement > 0 && i-l.statement < 160
}

// passwordOf looks for the password behind the words password for that end at i, and the
// name of somebody: SET PASSWORD FOR a = 'V'.
func (c *scan) passwordOf(i int) int {
	text := c.text
	if i < c.seen().passwordsTo {
		return -1
	}
	end := i
	for end < len(text) && end-i < maxLead && text[end] != '=' && text[end] != ':' && text[end] >= ' ' {
		end++
	}
	c.seen().passwordsTo = end
	c.work += end - i
	if end+minText < len(text) && (text[end] == '=' || text[end] == ':') && end > i {
		if text[end] == ':' { // of a reason, too
			at := blanks(text, end+1)
			stop := at
			for stop < len(text) && stop-at < maxValue && text[stop] > ' ' {
				stop++
			}
			if quoteAt(text, at) < 0 && !drawnValue(text[at:stop], 12) {
				return -1
			}
		}
		c.valued(end, namesPassword, i-len("password for"))
	}
	return -1
}
