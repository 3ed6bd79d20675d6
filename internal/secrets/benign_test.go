package secrets_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// deliberate are the files that hold samples of secrets on purpose, relative to
// their modules' roots. Those of x/mod hold signing keys.
var deliberate = []string{
	"internal/secrets/corpus_test.go", "internal/secrets/structure_test.go", "internal/secrets/config_test.go",
	"internal/secrets/fuzz_test.go", "internal/secrets/scanner_test.go", "internal/secrets/benign_test.go",
	"internal/taint/taint_test.go", "example_test.go", "redact_cookbook_test.go", "act_test.go", "internal/walk/table_test.go",
	"sumdb/client_test.go", "sumdb/note/example_test.go", "sumdb/note/note.go", "sumdb/note/note_test.go",
}

// directories returns the repository and the modules that this package's tests
// are compiled from, and no others: those are on this machine, or the tests
// would not run, whatever else was ever downloaded to it.
func directories(t testing.TB) []string {
	t.Helper()
	return directoriesOf(t, "go", "list", "-deps", "-test", "-f", "{{with .Module}}{{.Dir}}{{end}}", ".")
}

func directoriesOf(t testing.TB, command ...string) []string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	dirs := strings.Fields(string(out))
	slices.Sort(dirs)
	dirs = slices.Compact(dirs)
	require.Greater(t, len(dirs), 1, "the repository, and testify at least")
	return dirs
}

// leaf is a string of the benign corpus and where it stands.
type leaf struct{ file, text string }

// leaves returns the strings of every JSON and Go file in the directories:
// values, map keys, literals.
func leaves(t testing.TB, directories []string) []leaf {
	t.Helper()
	var all []leaf
	for _, dir := range directories {
		_, err := os.Stat(filepath.Join(dir, "internal", "secrets", "table.go"))
		own := err == nil // whose tests plant secrets
		err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if entry.IsDir() && entry.Name() == ".git" {
				return filepath.SkipDir
			}
			if entry.IsDir() || slices.Contains(deliberate, filepath.ToSlash(name)) || own && strings.HasSuffix(name, "_test.go") {
				return nil
			}
			switch filepath.Ext(path) {
			case ".json", ".jsonl", ".go":
			default:
				return nil
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, text := range stringsOf(path, content) {
				all = append(all, leaf{path, text})
			}
			return nil
		})
		require.NoError(t, err)
	}
	return all
}

func stringsOf(path string, content []byte) []string {
	var texts []string
	if filepath.Ext(path) != ".go" {
		decoder := json.NewDecoder(bytes.NewReader(content))
		for {
			part, err := decoder.Token()
			if err != nil {
				return texts
			}
			if text, ok := part.(string); ok {
				texts = append(texts, text)
			}
		}
	}
	var s scanner.Scanner
	files := token.NewFileSet()
	s.Init(files.AddFile(path, -1, len(content)), content, nil, scanner.ScanComments)
	for {
		_, kind, literal := s.Scan()
		switch kind {
		case token.EOF:
			return texts
		case token.STRING:
			if text, err := strconv.Unquote(literal); err == nil {
				texts = append(texts, text)
			}
		case token.COMMENT:
			texts = append(texts, literal)
		}
	}
}

func TestOrdinaryTextHasNoSecrets(t *testing.T) {
	requireNoSecrets(t, leaves(t, directories(t)))
}

// The modules that the repository depends on in any way, which are downloaded.
func TestExtraTextOfEveryDependencyHasNoSecrets(t *testing.T) {
	size.Extra(t)
	// With a go.mod and a go.sum of its own, as the go command adds to them.
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join("..", "..", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	mod := "-modfile=" + filepath.Join(dir, "go.mod")
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", mod, "all").CombinedOutput()
	require.NoError(t, err, string(out))
	requireNoSecrets(t, leaves(t, directoriesOf(t, "go", "list", "-m", mod, "-f", "{{.Dir}}", "all")))
}

func requireNoSecrets(t *testing.T, all []leaf) {
	t.Helper()
	s := newScanner(t, nil)
	bytes := 0
	for _, l := range all {
		bytes += len(l.text)
		if rule, found := s.Find(l.text); found {
			t.Errorf("%s: %s in %q", l.file, rule, l.text)
		}
	}
	t.Logf("%d leaves, %d bytes", len(all), bytes)
	require.Greater(t, len(all), 5000)
}

func TestAReportOfTestsIsNoSecret(t *testing.T) {
	s := newScanner(t, nil)
	for _, line := range []string{"--- PASS: TestGoList/GOPATH (0.03s)", "=== RUN   TestGoList/Modules\n    --- PASS: TestGoList/Modules (0.18s)"} {
		rule, found := s.Find(line)
		require.False(t, found, "%s in %q", rule, line)
	}
}

func TestOrdinaryValuesAreNoSecrets(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	kinds := map[string]func() string{
		"UUID":           m.uuid,
		"UUIDs":          func() string { return m.uuid() + "/" + m.uuid() + " " + m.uuid() },
		"UUID of digits": func() string { return m.fill("<d8>-<d4>-<d4>-<d4>-<d12>") },
		"commit":         func() string { return m.of('h', 40) },
		"short commit":   func() string { return m.of('h', 7) },
		"SHA-256":        func() string { return "sha256:" + m.of('h', 64) },
		"SHA-512":        func() string { sum := sha512.Sum512([]byte(m.uuid())); return hex.EncodeToString(sum[:]) },
		"base64 digest": func() string {
			sum := sha256.Sum256([]byte(m.uuid()))
			return base64.StdEncoding.EncodeToString(sum[:])
		},
		"base64 SHA-512": func() string {
			sum := sha512.Sum512([]byte(m.uuid()))
			return base64.StdEncoding.EncodeToString(sum[:])
		},
		"raw URL digest": func() string { sum := sha256.Sum256([]byte(m.uuid())); return encoding.EncodeToString(sum[:]) },
		"SRI": func() string {
			sum := sha512.Sum384([]byte(m.uuid()))
			return "sha384-" + base64.StdEncoding.EncodeToString(sum[:])
		},
		"go.sum":         func() string { return "github.com/a/b v1." + m.of('d', 2) + ".0/go.mod h1:" + m.of('b', 43) + "=" },
		"pseudo-version": func() string { return "v0.0.0-20260" + m.of('d', 9) + "-" + m.of('h', 12) },
		"image":          func() string { return "data:image/png;base64,iVBORw0KGgo" + m.of('b', 3000) + "==" },
		"random base64":  func() string { return m.of('b', 200) },
		"base62 ID":      func() string { return m.of('w', 22) },
		"ULID":           func() string { return "01J" + m.of('A', 23) },
		"snowflake":      func() string { return "1" + m.of('d', 18) },
		"nanoseconds":    func() string { return fmt.Sprint(time.Unix(1.8e9, int64(m.IntN(1e9))).UnixNano()) },
		"milliseconds":   func() string { return "18" + m.of('d', 11) },
		"RFC 3339":       func() string { return "2026-11-21T21:34:07." + m.of('d', 9) + "Z" },
		"float":          func() string { return "0." + m.of('d', 17) },
		"trace":          func() string { return "00-" + m.of('h', 32) + "-" + m.of('h', 16) + "-01" },
		"npm lock": func() string {
			sum := sha512.Sum512([]byte(m.uuid()))
			return `"integrity": "sha512-` + base64.StdEncoding.EncodeToString(sum[:]) + `",`
		},
		"yarn lock": func() string {
			return "resolved \"https://registry.example.org/a/-/a-1." + m.of('d', 1) + ".0.tgz#" + m.of('h', 40) + "\""
		},
		"Cargo lock":   func() string { return `checksum = "` + m.of('h', 64) + `"` },
		"Python lock":  func() string { return "--hash=sha256:" + m.of('h', 64) },
		"ARN of a key": func() string { return "arn:aws:kms:eu-central-1:" + m.of('d', 12) + ":key/" + m.uuid() },
		"ETag":         func() string { return `ETag: W/"` + m.of('h', 32) + `"` },
		"ARN":          func() string { return "arn:aws:iam::" + m.of('d', 12) + ":role/deploy" },
		"container":    func() string { return "ghcr.io/acme/app:v1.2.3@sha256:" + m.of('h', 64) },
		"phone-like":   func() string { return m.of('d', 3) + "-" + m.of('d', 3) + "-" + m.of('d', 4) },
		"query":        func() string { return "https://example.com/a/b?page=2&sig=none&cursor=" + m.of('s', 24) },
		"carrier": func() string {
			return "ja1." + encoding.EncodeToString([]byte(`{"id":"`+m.uuid()+`","action":"deploy"}`))
		},
		"IPv6":            func() string { return "2001:db8::" + m.of('h', 4) },
		"path":            func() string { return "/srv/app/releases/20261121213407/internal/handlers/create_user_test.go:123" },
		"camel":           func() string { return "TestThatSomethingWithAVeryLongNameHolds/and_its_subtest#0" + m.of('d', 1) },
		"base64 of words": func() string { return base64.StdEncoding.EncodeToString([]byte("just a text without anything in it")) },
		"base64 of JSON":  func() string { return base64.StdEncoding.EncodeToString([]byte(`{"user":"` + m.uuid() + `","n":1}`)) },
		"row of digits":   func() string { return "1111 2222 3333 4445 5556" },
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) { // or chance decides which digests come
		t.Run(name, func(t *testing.T) {
			for range 300 {
				text := kinds[name]()
				rule, found := s.Find(text)
				require.False(t, found, "%s: %q", rule, text)
			}
		})
	}
}

// cardShares are, of numbers of so many digits drawn by lot, the most in 10,000
// that are taken for a card: an issuer's digits, its length, and Luhn's check digit.
// docs/redaction.md states them.
var cardShares = map[int]int{12: 0, 13: 0, 14: 70, 15: 40, 16: 350, 17: 60, 18: 50, 19: 70, 20: 0}

func TestFewNumbersLookLikeCards(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	const drawn = 4_000
	for size := 12; size <= 20; size++ {
		most, taken := cardShares[size], 0
		for range drawn {
			if _, found := s.Find(m.of('d', size)); found {
				taken++
			}
		}
		require.LessOrEqual(t, taken, most*drawn/10_000, "of %d digits", size)
		t.Logf("%d digits: %.2f %%", size, 100*float64(taken)/drawn)
	}
	for _, number := range []string{"ORD-2026-0048151623", "1234567890123", "48151623", "invoice 20261126-000417", "1764190800123456789"} {
		requireNone(t, s, number)
	}
}
