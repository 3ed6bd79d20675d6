package taint

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"maps"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// reference finds needles as docs/redaction.md says that they are found, in the
// plainest way: each form of a text is made in full, and each needle looked for at
// each place. It shares with the Matcher only the needles and what alone, cut and
// tells say.
type reference struct {
	needles []needle
	found   map[string]bool

	// What else may be found: what can be read of decoded bytes may be a text of its
	// own, where short needles stand alone, and a zero byte may mean itself.
	more bool
}

func (o *reference) search(text string) []string {
	o.found = map[string]bool{}
	o.text(text, 0)
	return slices.Sorted(maps.Keys(o.found))
}

// text looks at a text that was decoded so many times.
func (o *reference) text(text string, decodings int) {
	o.compare(text)
	if o.more {
		o.parts(text, decodings, func(s string) string { return s })
	}
	text = visible(text)
	o.compare(text)
	o.parts(text, decodings, visible)
}

// parts looks at what the parts of a text encode that can be read.
func (o *reference) parts(text string, decodings int, shown func(string) string) {
	switch decodings {
	case 0:
		o.encoded(text, decodings, shown)
	case maxDecodings:
	default:
		for _, part := range readable.FindAllString(text, -1) {
			if o.more {
				o.compare(part)
			}
			o.encoded(part, decodings, shown)
		}
	}
}

var invisibles = regexp.MustCompile("\x00|\u00ad|[\u034f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0f\ufeff]")

func visible(text string) string { return invisibles.ReplaceAllString(text, "") }

var readable = regexp.MustCompile(`[\t\n\r -~\x{80}-\x{FFFC}\x{FFFE}-\x{10FFFF}]{4,}`)

// encoded looks at what a text encodes, as it stands and once its escapes are taken
// away.
func (o *reference) encoded(text string, decodings int, shown func(string) string) {
	o.digits(text, decodings)
	for range maxEscapes {
		plain := withoutEscapes(text)
		if plain == text {
			break
		}
		o.compare(plain)
		text = shown(plain)
		o.compare(text)
	}
	o.digits(text, decodings)
}

var anEscape = regexp.MustCompile(`(?s)%[0-9A-Fa-f]{2}` +
	`|\\u\{[0-9A-Fa-f]{1,6}\}|\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}|\\[0-3][0-7]{2}|\\[^uUx]` +
	`|&#?[0-9A-Za-z]{1,30};`)

func withoutEscapes(text string) string {
	return anEscape.ReplaceAllStringFunc(text, func(e string) string {
		number := func(digits string, base int) rune {
			n, err := strconv.ParseUint(digits, base, 32)
			if err != nil || n > utf8.MaxRune {
				return utf8.RuneError
			}
			return rune(n)
		}
		switch {
		case e[0] == '%', e[:2] == `\x`:
			raw, _ := hex.DecodeString(e[len(e)-2:])
			return string(raw)
		case strings.HasPrefix(e, `\u{`):
			return string(number(e[3:len(e)-1], 16))
		case strings.HasPrefix(e, `\u`) && len(e) == 12:
			return string(utf16.DecodeRune(number(e[2:6], 16), number(e[8:], 16)))
		case e[0] == '\\' && len(e) > 4:
			return string(number(e[2:], 16))
		case e[0] == '\\' && len(e) == 4 && e[1] <= '3': // no character of four bytes
			return string([]byte{byte(number(e[1:], 8))})
		case e[0] == '\\':
			if i := strings.Index("abfnrtv", e[1:]); i >= 0 {
				return "\a\b\f\n\r\t\v"[i : i+1]
			}
			return e[1:]
		case e[1] == '#':
			digits, base := e[2:len(e)-1], 10
			if strings.HasPrefix(strings.ToLower(digits), "x") {
				digits, base = digits[1:], 16
			}
			if r := number(digits, base); len(digits) <= 8 && r != utf8.RuneError && utf8.ValidRune(r) {
				return string(r)
			}
			return e
		}
		return html.UnescapeString(e)
	})
}

var (
	base64Run = regexp.MustCompile(`[0-9A-Za-z+/_\n\r-]+`)
	hexRun    = regexp.MustCompile(`[0-9A-Fa-f\n\r]+`)
	listRun   = regexp.MustCompile(`[0-9a-fA-FxX ,:+\n\r\t-]+`)
	aWord     = regexp.MustCompile(`[0-9A-Za-z]+`)
	aPair     = regexp.MustCompile(`^(0[xX][0-9A-Fa-f]{1,2}|[0-9A-Fa-f]{2})$`)
	aDecimal  = regexp.MustCompile(`^[0-9]{1,3}$`)
	separator = regexp.MustCompile(`^[ ,:+\n\r\t-]{1,4}$`)
	inOneLine = strings.NewReplacer("\n", "", "\r", "", "-", "+", "_", "/")
)

// digits looks at what runs of digits, and lists of numbers, stand for.
func (o *reference) digits(text string, decodings int) {
	for _, run := range base64Run.FindAllString(text, -1) {
		run = inOneLine.Replace(run)
		for from := range min(4, len(run)) {
			d := run[from:]
			if len(d)%4 == 1 {
				d = d[:len(d)-1]
			}
			raw, _ := base64.RawStdEncoding.DecodeString(d)
			o.text(string(raw), decodings+1)
		}
	}
	for _, run := range hexRun.FindAllString(text, -1) {
		run = inOneLine.Replace(run)
		for from := range min(2, len(run)) {
			raw, _ := hex.DecodeString(run[from : from+(len(run)-from)/2*2])
			o.text(string(raw), decodings+1)
		}
	}
	for _, run := range listRun.FindAllString(text, -1) {
		o.list(run, decodings, aPair, func(word string) (uint64, error) {
			return strconv.ParseUint(strings.TrimPrefix(strings.ToLower(word), "0x"), 16, 8)
		})
		o.list(run, decodings, aDecimal, func(word string) (uint64, error) { return strconv.ParseUint(word, 10, 8) })
	}
}

func (o *reference) list(run string, decodings int, word *regexp.Regexp, value func(string) (uint64, error)) {
	var bytes []byte
	end := -1
	for _, at := range aWord.FindAllStringIndex(run, -1) {
		n, err := value(run[at[0]:at[1]])
		if err != nil || !word.MatchString(run[at[0]:at[1]]) {
			continue
		}
		if end >= 0 && !separator.MatchString(run[end:at[0]]) {
			o.text(string(bytes), decodings+1)
			bytes = nil
		}
		bytes, end = append(bytes, byte(n)), at[1]
	}
	o.text(string(bytes), decodings+1)
}

// compare looks for each needle at each place of a text.
func (o *reference) compare(text string) {
	folded := []byte(text)
	for i, c := range folded {
		folded[i] = lower[c]
	}
	for at := range len(folded) + 1 {
		longest := -1
		for i := range o.needles {
			n := &o.needles[i]
			if strings.HasPrefix(string(folded[at:]), n.text) && (!n.short() || alone([]byte(text), at, at+len(n.text))) {
				o.found[n.text] = true
			}
		}
		if !cut([]byte(text[at:])) {
			continue
		}
		for head := min(at, maxNeedle); head >= minNeedle && longest < 0; head-- { // the longest one decides
			for i := range o.needles {
				n := &o.needles[i]
				if len(n.text) >= head && n.text[:head] == string(folded[at-head:at]) && (longest < 0 || n.credential) {
					longest = i
				}
			}
			if longest >= 0 && o.needles[longest].tells(head) {
				o.found[o.needles[longest].text] = true
			}
		}
	}
}

// writers are what may have been done to a text.
var writers = []func(s string) string{
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	func(s string) string {
		return strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(s)), "A", "A\r\n")
	},
	func(s string) string { return hex.EncodeToString([]byte(s)) },
	func(s string) string { return fmt.Sprintf("% X", s) },
	func(s string) string { return fmt.Sprintf("%#v", []byte(s)) },
	func(s string) string { return fmt.Sprint([]byte(s)) },
	url.QueryEscape, url.PathEscape, html.EscapeString, strconv.Quote, strconv.QuoteToASCII,
	func(s string) string { return strings.Join(strings.Split(s, ""), "\x00") },
	func(s string) string { return strings.Join(strings.Split(s, ""), "\u200b") },
	strings.ToUpper,
	func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%", "%25") },
	func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, []string{"%%%02x", `\x%02x`, `\%03o`, "&#%d;", "%02x:", `\u{%x}`}[len(s)%6], s[i])
		}
		return b.String()
	},
}

// scraps are what stands between, and looks as if it were a part of something.
var scraps = []string{
	"%", "\\", "&", "%4", "\\u00", "&#6", ";", "+", " ", "=", "\n", ".", "...", "…", "***", "[...", "\x00", "\u200b", "\u00ad", "\u2066", "\ufe0f", "\u034f", "\u180e", "QUJD", "VVVVVVVVVVVVVVVV", "41", "0x41", "65,", "[65 66", "a", "-p", "é", "世界", "\xff\xfe", "\x7f",
	"%41", "%2541", "%252541", "\\n", "\\\\", "&amp;", "&amp;amp;", "&eacute;", "user:", "the password is ", "0123456789abcdef", "abcdefgh",
}

// drawn is a Matcher, and a text that may hold what it looks for.
func drawn(r *rand.Rand) (m *Matcher, text string) {
	alphabet := []string{"aab1", "xyz~ +", "aB3x%\\&;", "abcdefghijklmnopqrstuvwxyz0123456789", "\x00\x01\xfe4é", "01"}[r.IntN(6)]
	letters := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	e := expander{limit: maxNeedles}
	beginning, end := letters(r.IntN(12)), letters(r.IntN(8)*r.IntN(2))
	for range 1 + r.IntN([]int{2, 6, 40}[r.IntN(3)]) {
		text := beginning[:r.IntN(len(beginning)+1)] + letters(4+r.IntN(12)) + end
		if r.IntN(8) == 0 {
			text = letters(4 + r.IntN(4))
		}
		e.put(text, len(text) < minNeedle || r.IntN(2) == 0)
	}
	m = newMatcher(e.needles)
	var b strings.Builder
	for range 1 + r.IntN(4) {
		part := m.needles[r.IntN(len(m.needles))].text
		switch r.IntN(6) {
		case 0:
			part = part[:r.IntN(len(part))]
		case 1:
			part = part[:len(part)-r.IntN(2)] + scraps[r.IntN(len(scraps))]
		case 2:
			part = part[r.IntN(3):]
		}
		for range r.IntN(4) {
			part = scraps[r.IntN(len(scraps))] + part
		}
		for range r.IntN(5) {
			if longer := writers[r.IntN(len(writers))](part); len(longer) < 400 {
				part = longer
			}
			if r.IntN(3) == 0 {
				part += scraps[r.IntN(len(scraps))]
			}
		}
		b.WriteString(part)
	}
	return m, b.String()
}

// requireReference compares a Matcher with the reference, for texts drawn from a seed
// on, and returns how many needles were found.
func requireReference(t *testing.T, seed, texts uint64) (found int) {
	t.Helper()
	for n := range texts {
		m, text := drawn(rand.New(rand.NewPCG(seed, n)))
		var got []string
		m.match(text, func(n uint32) bool {
			got = append(got, m.needles[n].text)
			return false
		})
		slices.Sort(got)
		got = slices.Compact(got)
		want := (&reference{needles: m.needles}).search(text)
		if !slices.Equal(got, want) {
			allowed := (&reference{needles: m.needles, more: true}).search(text)
			require.Subset(t, got, want, "text %d of seed %d: %q, which holds some of %+q", n, seed, text, m.needles)
			require.Subset(t, allowed, got, "text %d of seed %d: %q, which holds some of %+q", n, seed, text, m.needles)
		}
		found += len(got)
	}
	return found
}

func TestTheMatcherFindsWhatThePlainestSearchFinds(t *testing.T) {
	texts := size.Times(200, 50)
	require.Greater(t, requireReference(t, 1, uint64(texts)), texts/2)
}

func TestSoakTheMatcherFindsWhatThePlainestSearchFinds(t *testing.T) {
	seed := size.Soak(t)
	t.Logf("%d needles found", requireReference(t, seed, 100_000))
}
