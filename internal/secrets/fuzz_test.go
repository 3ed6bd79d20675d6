package secrets_test

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/secrets"
)

// perByte bounds what is looked at again for each byte of a text, however the
// text is made: a small multiple of the longest format.
const perByte = 400

// hostile are texts that begin something at every turn and never finish it.
func hostile() []string {
	m := newMaker()
	var all []string
	for _, unit := range []string{
		"eyJ", "eyJ-", "eyJhbGciOi", "eyJ.eyJ.", "sk-", "sk-ant-", "xoxb-", "glpat-", "bearer=", "Bearer ", "basic ", "Basic eyJ",
		"a://b:c/", "a://b:c@", "://", "a:\\/\\/b:", "BEGIN PRIVATE", "-----BEGIN PRIVATE KEY-----\n", "@tcp(", "a:b@tcp(", "8Q~", "Q~1Q~",
		"4111 ", "4111-1111-", "4 ", "+1 ", "+1-", "AB12", "GB29 ", "1.", "1:", "::", "a@", "a@b.", "@", "\\n", "\\\\", "%20", "\x1b[1;1",
		"aaaa/", "AAAA+", "YWJj", "YWJj/", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=\n", "sig=", "live_", "AKIA", "dp.st.a", "tskey-a-",
		"MIIabIBAD", "$6$", "sl.", "1//0", "key-0123", strings.Repeat("YWJj", 19) + "\n", strings.Repeat("a", 84) + "-", "0123456789:", "login machine ",
		`password="a`, `pwd=\\"`, `pwd="` + strings.Repeat(`\`, 500), "<password>a</", "<password>a", `password='x{`, "name=password\r\n\r\na",
	} {
		all = append(all, strings.Repeat(unit, 1+20000/len(unit)))
	}
	for i, unit := range units() {
		if i%29 == 0 || !testing.Short() && i%11 == 0 { // all of them are BenchmarkWorst's
			all = append(all, strings.Repeat(unit, 1+2000/len(unit)))
		}
	}
	return append(all, m.of('b', 20000), m.of('h', 20000), m.of('d', 20000), m.of('s', 20000))
}

func TestTheCostOfHostileTextIsLinear(t *testing.T) {
	s := newScanner(t, everything())
	for _, text := range hostile() {
		short, long := s.Work(text[:len(text)/2]), s.Work(text)
		require.LessOrEqual(t, long, perByte*len(text), "%.40q", text)
		require.LessOrEqual(t, long, 3*short+perByte*100, "%.40q: %d and %d", text, short, long)
	}
}

// everything looks for all that there is.
func everything() *secrets.Config {
	return &secrets.Config{
		Personal: []secrets.Class{secrets.Email, secrets.Phone, secrets.IBAN, secrets.IP},
		Patterns: []secrets.Pattern{{Rule: "own", Match: `(?i)own-[a-z]{2,500}-[0-9]{4,}`}},
		Allow:    []string{"https://user:pass@example.com", "known safe"},
	}
}

// separators are what stands between words and belongs to no token.
const separators = " \t\r\n\"'`,;<>()[]{}|&?!#*^\x00\xff"

// FuzzFind plants a sample with separators around it in what the fuzzer says.
func FuzzFind(f *testing.F) {
	s, all := newScanner(f, nil), newScanner(f, everything())
	made := newMaker().samples(2)
	var planted []string
	for _, provider := range slices.Sorted(maps.Keys(made)) {
		planted = append(planted, made[provider]...)
	}
	for i, around := range surroundings {
		before, after, _ := strings.Cut(around, "%s")
		f.Add(before, after, uint32(i*0x10305))
	}
	for i, text := range hostile() {
		f.Add(text[:200], text[:100], uint32(i*0x10703))
	}
	f.Fuzz(func(t *testing.T, before, after string, n uint32) {
		sample := planted[int(n)%len(planted)]
		i := int(n>>8) % len(separators)
		j := int(n>>16) % len(separators)
		text := before + separators[i:i+1] + sample + separators[j:j+1] + after
		if _, found := s.Find(text); !found {
			t.Errorf("%q is not found in %q", sample, text)
		}
		if _, found := s.Find(base64.StdEncoding.EncodeToString([]byte("text: " + sample + "\n" + after))); !found {
			t.Errorf("%q is not found in base64, before %q", sample, after)
		}
		if work := all.Work(before + after); work > perByte*(len(before)+len(after))+perByte {
			t.Errorf("%d bytes looked at for %q", work, before+after)
		}
	})
}
