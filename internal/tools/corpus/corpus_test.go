package corpus

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// forms are the ways in which a secret stands in a text.
var forms = map[string]func(secret string) string{
	"bare":     func(s string) string { return s },
	"sentence": func(s string) string { return "The call failed with " + s + ", so we stopped." },
	"JSON":     func(s string) string { return string(marshal(map[string]string{"value": s})) },
	"query": func(s string) string {
		return "https://api.example.org/v1/items?page=2&x=" + url.QueryEscape(s) + "&sort=asc"
	},
	"header": func(s string) string { return "X-Custom: " + strings.ReplaceAll(s, "\n", " ") },
	"name":   func(s string) string { return "item " + s },
	"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("value: " + s)) },
}

func marshal(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// sample is a secret of a kind that another program finds.
type sample struct{ Rule, Secret string }

// TestExtraOtherProgramsSecretsAreFound holds the scan against what two other
// scanners make to test themselves. Their sources come from the module proxy and
// make the samples now; nothing of them is kept here.
func TestExtraOtherProgramsSecretsAreFound(t *testing.T) {
	size.Extra(t)
	for name, corpus := range map[string]struct {
		samples []sample
		without map[string]string
	}{
		"gitleaks": {gitleaks(t), notOfGitleaks}, "osv-scalibr": {veles(t), notOfVeles},
	} {
		t.Run(name, func(t *testing.T) {
			require.Greater(t, len(corpus.samples), 1_000)
			compare(t, corpus.samples, corpus.without)
		})
	}
}

// compare demands 98 % of the samples in each form.
func compare(t *testing.T, samples []sample, without map[string]string) {
	g, err := jobaudit.NewRegistry(nil)
	require.NoError(t, err)
	type misses struct {
		count, of int
		example   string
	}
	all, rules := map[string]*misses{}, map[string]*misses{}
	left := map[string]bool{}
	for _, s := range samples {
		if _, ok := without[s.Rule]; ok {
			left[s.Rule] = true
			continue
		}
		for form, in := range forms {
			text := in(s.Secret)
			for at, count := range map[string]map[string]*misses{form: all, s.Rule: rules} {
				m := count[at]
				if m == nil {
					m = &misses{}
					count[at] = m
				}
				m.of++
				if g.Scan(text) == "" {
					m.count++
					m.example = form + ": " + text
				}
			}
		}
	}
	require.Len(t, left, len(without), "a rule that is left out is gone")
	for _, rule := range slices.SortedFunc(maps.Keys(rules), func(a, b string) int { return cmp.Or(cmp.Compare(rules[b].count, rules[a].count), cmp.Compare(a, b)) }) {
		if m := rules[rule]; m.count > 0 {
			t.Logf("%s: %d of %d missed, as %.200q", rule, m.count, m.of, m.example)
		}
	}
	for _, form := range slices.Sorted(maps.Keys(all)) {
		m := all[form]
		t.Logf("%s: %d of %d found (%.2f %%)", form, m.of-m.count, m.of, 100*float64(m.of-m.count)/float64(m.of))
		require.LessOrEqual(t, 100*m.count, 2*m.of, form)
	}
}

// directory returns where the sources of a module are.
func directory(t *testing.T, module string) string {
	t.Helper()
	run(t, ".", "go", "mod", "download", module)
	return strings.TrimSpace(string(run(t, ".", "go", "list", "-m", "-f", "{{.Dir}}", module)))
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(os.Environ(), "GOWORK=off")
	err := cmd.Run()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), errs.String())
	return out.Bytes()
}

// each reads JSON lines.
func each[T any](t *testing.T, lines []byte) (all []T) {
	t.Helper()
	in := bufio.NewScanner(bytes.NewReader(lines))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var one T
		require.NoError(t, json.Unmarshal(in.Bytes(), &one))
		all = append(all, one)
	}
	require.NoError(t, in.Err())
	return all
}

// veles returns what the detectors of OSV-SCALIBR find in its own tests.
func veles(t *testing.T) []sample {
	dir := directory(t, "github.com/google/osv-scalibr")
	return each[sample](t, run(t, ".", "go", "run", "-tags", "corpus", "./veles", dir))
}

// validate replaces the function by which the rules of gitleaks test themselves
// with one that prints what they would be tested with.
const validate = `package utils

import (
	"encoding/json"
	"os"

	"github.com/zricethezav/gitleaks/v8/config"
)

func Validate(r config.Rule, positives, _ []string) *config.Rule {
	if r.Regex != nil {
		_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"rule": r.RuleID, "regex": r.Regex.String(), "group": r.SecretGroup, "texts": positives})
	}
	return &r
}

func ValidateWithPaths(r config.Rule, positives, _ map[string]string) *config.Rule {
	var texts []string
	for _, text := range positives {
		texts = append(texts, text)
	}
	return Validate(r, texts, nil)
}
`

// gitleaks returns what the rules of gitleaks make to test themselves, as far as
// it gives itself away: the rule finds it without the text around it.
func gitleaks(t *testing.T) (all []sample) {
	const utils = "cmd/generate/config/utils"
	copied := filepath.Join(t.TempDir(), "gitleaks")
	require.NoError(t, os.CopyFS(copied, os.DirFS(directory(t, "github.com/zricethezav/gitleaks/v8"))))
	require.NoError(t, os.Chmod(filepath.Join(copied, utils), 0o755))
	file := filepath.Join(copied, utils, "validate.go")
	require.NoError(t, os.RemoveAll(file))
	require.NoError(t, os.WriteFile(file, []byte(validate), 0o600))
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "rules"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules", "config.tmpl"), nil, 0o600))
	program := filepath.Join(dir, "generate")
	run(t, copied, "go", "build", "-o", program, "./cmd/generate/config")
	seen := map[sample]bool{}
	for range 20 { // it draws other samples each time
		for _, rule := range each[struct {
			Rule, Regex string
			Group       int
			Texts       []string
		}](t, run(t, dir, program, filepath.Join(dir, "out.toml"))) {
			re := regexp.MustCompile(rule.Regex)
			for _, text := range rule.Texts {
				s := sample{rule.Rule, secretIn(re, rule.Group, text)}
				if s.Secret != "" && !seen[s] && re.MatchString(s.Secret) {
					seen[s] = true
					all = append(all, s)
				}
			}
		}
	}
	return all
}

// secretIn returns what a rule says is the secret in a text: the group that it
// names, or the first, or all that it matches.
func secretIn(re *regexp.Regexp, group int, text string) string {
	groups := re.FindStringSubmatch(text)
	if groups == nil {
		return ""
	}
	if group > 0 {
		return groups[group]
	}
	for _, g := range groups[1:] {
		if g != "" {
			return g
		}
	}
	return strings.Trim(groups[0], " \t\r\n\"'`;")
}

// notOfGitleaks are the rules whose samples do not give themselves away, and why.
var notOfGitleaks = map[string]string{
	"age-secret-key": "its sample is a mask, QQQQ…",
}

// notOfVeles are the detectors whose samples do not give themselves away.
var notOfVeles = map[string]string{
	"mistralapikey":                "32 letters and digits, told only by Mistral's name anywhere near",
	"azurestorageaccountaccesskey": "64 bytes in base64, as a SHA-512 is, told only by Azure's name near; AccountKey= is found",
	"recaptchakey":                 "40 characters, as the public key of the same form, told only by captcha and secret near",
	"vapid":                        "32 bytes in base64 beside a public key that belongs to it",
	"paystacksecretkey":            "any word is taken for live or test; those are found as Stripe's",
}
