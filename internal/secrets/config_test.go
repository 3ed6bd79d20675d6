package secrets_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/secrets"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

func TestAPatternOfTheUsersOwnIsFound(t *testing.T) {
	m := newMaker()
	s := newScanner(t, &secrets.Config{Patterns: []secrets.Pattern{
		{Rule: "acme", Match: `acme_[A-Za-z0-9]{32}`},
		{Rule: "acme-session", Match: `(?i)sess\.[0-9a-f]{16,64}-[0-9]{4}`},
	}})
	requireRule(t, s, "acme", "x="+m.fill("acme_<w32>"))
	requireRule(t, s, "acme-session", m.fill("SESS.<H40>-<d4>")+";")
	requireRule(t, s, "acme", "acme_"+strings.Repeat("1", 32)) // nobody else knows what a mask is here
	requireNone(t, s, m.fill("acme_<w31>"))
	requireNone(t, s, m.fill("acme_<w33>"))
	requireNone(t, s, m.fill("xacme_<w32>"))
	requireNone(t, s, m.fill("ACME_<w32>"))
	requireNone(t, s, m.fill("sess.<h65>-<d4>"))
	requireNone(t, s, m.fill("sess.<h16>-<d5>"))
}

func TestAPatternThatCannotBeFollowedIsRefused(t *testing.T) {
	for _, match := range []string{
		"", "a", "[a-z]{20}", "ab[a-z]{2}", "abc[", "abc[]{9}", "abc[^a]{9}", "abc[z-a]{9}", "abc[a-z]{0}", "abc[a-z]{9,3}",
		"abc[a-z]{x}", "abc[a-z]{9", "abc[a-z]{600}", "abc[a-z]{2,}x[0-9]{9}", "abc[a-z]{2,9}[a-f]{9}", "abc[a-z]{2,9}zzzzzz",
		"abc.*defghi", "abc(d|e)fghijk", "abc[a-z]{9}?", `abc[\s]{9}`, "_ab[a-z]{9}", "é[a-z]{9}", "abc[a-z]{1,600}-[0-9]{4}",
		"(?i)abc[a-z]{2,9}Zzzzzz",
	} {
		_, err := secrets.New(&secrets.Config{Patterns: []secrets.Pattern{{Rule: "own", Match: match}}})
		require.Error(t, err, "%q", match)
	}
	for _, rule := range []string{"", "github", "jwt", "email", "Own", "a b", strings.Repeat("a", 65)} {
		_, err := secrets.New(&secrets.Config{Patterns: []secrets.Pattern{{Rule: rule, Match: "abc[a-z]{9}"}}})
		require.Error(t, err, "%q", rule)
	}
	_, err := secrets.New(&secrets.Config{Without: []string{"no-such-rule"}})
	require.ErrorContains(t, err, "no-such-rule")
	_, err = secrets.New(&secrets.Config{Allow: []string{"short"}})
	require.Error(t, err)
	_, err = secrets.New(&secrets.Config{Personal: []secrets.Class{"shoe-size"}})
	require.Error(t, err)
}

func TestAnAllowedValueHidesNothingElse(t *testing.T) {
	m := newMaker()
	made := m.samples(2)
	safe, other := made["github"][0], made["github"][1]
	password := "https://user:pass@example.com"
	s := newScanner(t, &secrets.Config{Allow: []string{safe, password, m.withLuhn("4", 16)}})
	for _, around := range surroundings {
		text := strings.ReplaceAll(strings.ReplaceAll(around, "%s", safe), "%%", "%")
		requireNone(t, s, text)
		requireRule(t, s, "github", text+" "+other)
		requireRule(t, s, "github", other+" "+text)
	}
	requireNone(t, s, "docs: "+password+"/path")
	requireRule(t, s, "url-credentials", "https://user:passw@example.com")
	requireRule(t, s, "url-credentials", "https://user:pass@example.org")
	requireRule(t, s, "github", safe+"longer")
	requireNone(t, s, encoding.EncodeToString([]byte("x "+safe+" x")))
	requireRule(t, s, "github", encoding.EncodeToString([]byte("x "+safe+" "+other)))
}

func TestARuleThatIsLeftOutIsNotApplied(t *testing.T) {
	m := newMaker()
	made := m.samples(1)
	card := m.withLuhn("4", 16)
	s := newScanner(t, &secrets.Config{Without: []string{"payment-card", "github"}})
	requireNone(t, s, card)
	requireNone(t, s, made["github"][0])
	requireRule(t, s, "npm", made["npm"][0])
	requireRule(t, s, "npm", card+" "+made["npm"][0])
}

func TestScannersThatFindTheSameHaveTheSameDigest(t *testing.T) {
	config := func() *secrets.Config {
		return &secrets.Config{
			Patterns: []secrets.Pattern{{Rule: "b", Match: "bcd[a-z]{9}"}, {Rule: "a", Match: "abc[a-z]{9}"}},
			Allow:    []string{"known-safe-2", "known-safe-1", "known-safe-1"},
			Without:  []string{"jwt"},
			Personal: []secrets.Class{secrets.IP, secrets.Email},
		}
	}
	first := newScanner(t, config())
	again := config()
	again.Patterns[0], again.Patterns[1] = again.Patterns[1], again.Patterns[0]
	again.Allow = []string{"known-safe-1", "known-safe-2"}
	require.Equal(t, first.Digest(), newScanner(t, again).Digest())
	require.Equal(t, first.Describe(), newScanner(t, again).Describe())
	require.Equal(t, []string{"known-safe-1", "known-safe-2"}, first.Describe().Allow)

	plain := newScanner(t, nil)
	require.Equal(t, plain.Digest(), newScanner(t, new(secrets.Config)).Digest())
	for _, change := range []func(c *secrets.Config){
		func(c *secrets.Config) { c.Patterns = c.Patterns[:1] },
		func(c *secrets.Config) { c.Allow = nil },
		func(c *secrets.Config) { c.Without = nil },
		func(c *secrets.Config) { c.Personal = c.Personal[:1] },
	} {
		other := config()
		change(other)
		require.NotEqual(t, first.Digest(), newScanner(t, other).Digest())
	}

	// What a caller does with its lists later changes nothing.
	c := config()
	s := newScanner(t, c)
	c.Allow[0], c.Patterns[0].Match = "changed!", "xyz[a-z]{9}"
	s.Describe().Allow[0] = "changed!"
	require.Equal(t, first.Digest(), s.Digest())
}

func TestOneScannerServesManyGoroutines(t *testing.T) {
	s := newScanner(t, nil)
	made := newMaker().samples(1)
	encoded := encoding.EncodeToString([]byte("the token is " + made["github"][0]))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				if rule, found := s.Find(encoded); !found || rule != "github" {
					t.Errorf("%s, %t", rule, found)
				}
				if rule, found := s.Find(strings.Repeat("ordinary text, ", 20)); found {
					t.Error(rule)
				}
			}
		})
	}
	wg.Wait()
}

func TestNothingIsAllocatedWhenNothingIsFound(t *testing.T) {
	if size.Race {
		t.Skip("the race detector has a sync.Pool forget at random")
	}
	s := newScanner(t, nil)
	texts := record(newMaker())
	require.Zero(t, int(testing.AllocsPerRun(20, func() {
		for _, text := range texts {
			s.Find(text)
		}
	})))
}

func TestTheTableKnowsAHundredPrefixes(t *testing.T) {
	prefixes, rules := secrets.Rows()
	t.Logf("%d prefixes, %d rules", prefixes, rules)
	require.GreaterOrEqual(t, prefixes, 100)
}
