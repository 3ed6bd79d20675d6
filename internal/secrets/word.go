package secrets

import (
	"slices"
	"strings"
)

// word looks at the word text[begin:end], and what follows it, for secrets that
// have no prefix but are known by their lengths and what stands in them.
func (c *scan) word(begin, end int) bool {
	if isDigit(c.text[begin]) && c.number(begin, end) {
		return true
	}
	if c.iban && c.ibanAt(begin) {
		return true
	}
	word, rest := c.text[begin:end], c.text[end:]
	switch n := len(word); {
	case n == 14 && strings.HasPrefix(rest, ".atlasv1."):
		body := span(rest[9:], &paddedSet)
		return body >= 60 && c.hit(ruleAtlas, begin, end+9+body)
	case n >= 23 && n <= 28 && strings.HasPrefix(rest, ".") && strings.IndexByte("MNO", word[0]) >= 0:
		return c.botToken(begin, end)
	case n == 32 && strings.HasPrefix(rest, "-") && hexes(word, n):
		return c.mailKey(begin, end)
	case n == 29 && strings.HasPrefix(rest, "_mmk") && begin >= 7 && c.text[begin-1] == '_':
		return c.hit(ruleMaxMind, begin-7, end+4)
	case n == 84 && (strings.HasPrefix(word[52:], "JQQJ9") || strings.HasPrefix(word[76:], "AZDO") || strings.HasPrefix(word[76:], "AZEG")):
		// Azure's current keys: random characters, with a mark.
		return c.hit(ruleAzure, begin, end)
	}
	return false
}

// botToken looks for a Discord bot's token: its ID in base64, a time and a
// MAC, with dots between them.
func (c *scan) botToken(begin, end int) bool {
	var buf [24]byte
	n, _ := decode(buf[:], c.text[begin:end])
	if (n < 17 || !digits(asString(buf[:n]))) && !mixed(c.text[begin:end]) {
		return false
	}
	rest := c.text[end+1:]
	stamp := span(rest, &base64Set)
	if stamp < 6 || stamp > 7 || len(rest) == stamp || rest[stamp] != '.' {
		return false
	}
	mac := span(rest[stamp+1:], &base64Set)
	return mac >= 27 && mac <= 48 && mixed(rest[stamp+1:stamp+1+mac]) && c.hit(ruleDiscord, begin, end+2+stamp+mac)
}

// mixed tells whether a text goes from capitals to small letters and back, again
// and again.
func mixed(s string) bool {
	changes, last := 0, uint8(0)
	for i := range len(s) {
		if class := classes[s[i]] & classBits; class == smallLetter || class == capitalLetter {
			if last != 0 && class != last {
				changes++
			}
			last = class
		}
	}
	return changes > 3
}

// mailKey looks for what follows 32 hexadecimal digits in Mailchimp's keys (the
// data centre) and in Mailgun's (two more groups).
func (c *scan) mailKey(begin, end int) bool {
	rest := c.text[end+1:]
	if strings.HasPrefix(rest, "us") && len(rest) > 2 && isDigit(rest[2]) && span(rest[2:], &alnumSet) <= 2 {
		return c.hit(ruleChimp, begin, end+3+span(rest[2:], &alnumSet))
	}
	if len(rest) < 17 || rest[8] != '-' || !hexes(rest, 8) || !hexes(rest[9:], 8) {
		return false
	}
	if len(rest) > 17 && (isAlnum(rest[17]) || rest[17] == '-') {
		return false
	}
	return c.hit(ruleMailgun, begin, end+18)
}

// storageKey looks for Azure's older identifiable keys: base64 of 64 or 32
// bytes with a mark at a fixed place.
func (c *scan) storageKey(from, to int) bool {
	run := c.text[from:to]
	switch len(run) {
	case 86:
		switch run[76:80] {
		case "+ASt", "+ABa", "ACDb", "+AMC", "APIM":
			return c.hit(ruleAzure, from, to)
		}
	case 43:
		switch run[33:37] {
		case "+ASb", "+AEh", "AIoT", "ARm+":
			return c.hit(ruleAzure, from, to)
		}
		return run[32:36] == "AzCa" && c.hit(ruleAzure, from, to)
	case 54:
		return run[44:48] == "AzFu" && c.hit(ruleAzure, from, to)
	case 52:
		switch run[42:46] {
		case "AzSe", "+ACR":
			return c.hit(ruleAzure, from, to)
		}
	}
	return false
}

// clientSecret looks for a client secret of Microsoft Entra ID around the ~ at
// i: three characters, a digit, Q~, and 34 more or fewer by three.
func (c *scan) clientSecret(i int) bool {
	if i < 5 || c.text[i-1] != 'Q' || !isDigit(c.text[i-2]) {
		return false
	}
	begin := i - 5
	for _, b := range []byte(c.text[begin : i-2]) {
		if !clientSet.has(b) {
			return false
		}
	}
	l := c.seen()
	if i >= l.client {
		for l.client = i; l.client < len(c.text) && clientSet.has(c.text[l.client]); {
			l.client++
		}
		c.work += l.client - i
	}
	n := l.client - (i + 1)
	if n < 31 || n > 34 || begin > 0 && begin != c.edge && isAlnum(c.text[begin-1]) {
		return false
	}
	return c.hit(ruleAzure, begin, i+1+n)
}

var alnumSet, base64Set, clientSet, paddedSet, hostSet, token68Set = func() (a, b, c, d, e, f set) {
	add(&a, "", '0', '9', 'A', 'Z', 'a', 'z')
	add(&b, "-_", '0', '9', 'A', 'Z', 'a', 'z')
	add(&c, "-_.~", '0', '9', 'A', 'Z', 'a', 'z')
	add(&d, "-_=%", '0', '9', 'A', 'Z', 'a', 'z')
	add(&e, "-_.", '0', '9', 'A', 'Z', 'a', 'z')
	add(&f, "-._~+/=", '0', '9', 'A', 'Z', 'a', 'z')
	return a, b, c, d, e, f
}()

// span returns how many bytes at the start of the text are of the set, or a
// number over 128 if that is more.
func span(text string, s *set) int {
	n := 0
	for n < len(text) && n <= 128 && s.has(text[n]) {
		n++
	}
	return n
}

// minCard is the fewest digits of a payment card's number.
const minCard = 13

// number looks at a word that begins with a digit.
func (c *scan) number(begin, end int) bool {
	n := end - begin
	if n < minCard && !c.ip && (n != 4 || !c.separated(end)) && (n < 8 || end == len(c.text) || c.text[end] != ':') {
		return false // as most numbers
	}
	if n > 19 || !digits(c.text[begin:end]) {
		return false
	}
	if n >= 8 && n <= 10 && end < len(c.text) && c.text[end] == ':' {
		body := span(c.text[end+1:], &base64Set)
		if body == 35 && random(c.text[end+1:end+1+body]) && c.hit(ruleTelegram, begin, end+1+body) {
			return true
		}
	}
	if (n == 15 || n == 16) && c.appToken(begin, end) {
		return true
	}
	if n >= minCard {
		return c.card(begin, end, false)
	}
	if n == 4 && c.grouped(begin) {
		return true
	}
	return c.ip && n <= 3 && c.ipv4At(begin)
}

// separated tells whether another group of digits follows at i.
func (c *scan) separated(i int) bool {
	return i+1 < len(c.text) && (c.text[i] == ' ' || c.text[i] == '-') && isDigit(c.text[i+1])
}

// appToken looks for an access token of a Facebook app: its ID, a bar, and its
// secret.
func (c *scan) appToken(begin, end int) bool {
	rest := c.text[end:]
	switch {
	case strings.HasPrefix(rest, "|"):
		rest = rest[1:]
	case len(rest) > 3 && strings.EqualFold(rest[:3], "%7C"):
		rest = rest[3:]
	default:
		return false
	}
	body := span(rest, &base64Set)
	return body >= 27 && body <= 40 && random(rest[:body]) && c.hit("facebook", begin, len(c.text)-len(rest)+body)
}

// groups are how the digits of cards are grouped when printed.
var groups = [][]int{{4, 4, 4, 4}, {4, 6, 5}, {4, 6, 4}, {4, 4, 4, 4, 3}, {4, 4, 4, 4, 2}}

// grouped looks for a card whose digits are in groups with spaces or hyphens
// between them, which begins at begin.
func (c *scan) grouped(begin int) bool {
	text := c.text
	if begin+16 > len(text) || text[begin+4] != ' ' && text[begin+4] != '-' {
		return false
	}
	separator := text[begin+4]
	if begin > 1 && text[begin-1] == separator && isAlnum(text[begin-2]) && separator == '-' {
		return false // further into a longer row of groups
	}
	var lengths [maxGroups]int
	n, i := 0, begin
	for ; ; i++ { // over a separator
		from := i
		for i < len(text) && isDigit(text[i]) {
			i++
		}
		lengths[n] = i - from
		if n++; i+1 >= len(text) || text[i] != separator || !isDigit(text[i+1]) {
			break
		}
		if n == maxGroups || lengths[n-1] < 4 || lengths[n-1] > 6 {
			return false
		}
	}
	c.work += i - begin
	return slices.ContainsFunc(groups, func(g []int) bool { return slices.Equal(g, lengths[:n]) }) &&
		(i == len(text) || !isAlnum(text[i])) && c.card(begin, i, true)
}

// maxGroups is the most groups that a card's digits are in.
const maxGroups = 5

// card tells whether text[begin:end], digits and separators, is the number of a
// payment card (ISO/IEC 7812-1): an issuer's range, its lengths, and Luhn's
// check digit. A number with decimals is none.
func (c *scan) card(begin, end int, grouped bool) bool {
	text := c.text
	if begin > 1 && text[begin-1] == '.' && isDigit(text[begin-2]) ||
		end+1 < len(text) && text[end] == '.' && isDigit(text[end+1]) && !zeros(text[end+1:]) {
		return false
	}
	var number [19]byte
	n := 0
	for i := begin; i < end; i++ {
		if isDigit(text[i]) {
			number[n] = text[i] - '0'
			n++
		}
	}
	return issued(number[:n], grouped) && luhn(number[:n]) && c.hit(ruleCard, begin, end)
}

// zeros tells whether a text begins with the decimals of a whole number.
func zeros(s string) bool {
	n := 0
	for n < len(s) && s[n] == '0' {
		n++
	}
	return n > 0 && n < 3 && (n == len(s) || !isAlnum(s[n]) && s[n] != '.')
}

// issued tells whether cards of that length begin with those digits.
func issued(number []byte, grouped bool) bool {
	n := len(number)
	head := func(digits int) (value int) {
		for _, d := range number[:digits] {
			value = value*10 + int(d)
		}
		return value
	}
	in := func(value, from, to int) bool { return from <= value && value <= to }
	four := head(4)
	switch {
	case number[0] == 4: // Visa; 13 and 19 digits without groups are as likely an ID
		return n == 16 || (n == 13 || n == 19) && grouped
	case in(head(2), 51, 55), in(four, 2221, 2720): // Mastercard
		return n == 16
	case in(four, 2200, 2204): // Mir
		return n >= 16
	case head(2) == 34, head(2) == 37: // American Express
		return n == 15
	case head(2) == 36, head(2) == 38, head(2) == 39, in(head(3), 300, 305): // Diners Club
		return n == 14 || n == 16
	case in(four, 3528, 3589): // JCB
		return n >= 16
	case four == 6011, in(head(3), 644, 649), head(2) == 65: // Discover
		return n == 16 || n == 19
	case head(2) == 62, head(2) == 81: // UnionPay
		return n >= 16
	case four == 5018, four == 5020, four == 5038, four == 5893, four == 6304, four == 6759, in(four, 6761, 6763): // Maestro
		return n >= 16
	case head(2) == 60, head(2) == 82, head(3) == 508, four == 9792: // RuPay, Troy
		return n == 16
	}
	return false
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(number []byte) bool {
	sum := 0
	for i := range number {
		d := int(number[len(number)-1-i])
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
