package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/pgsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// registry writes a registry file with one log.
func writeRegistry(t *testing.T, base, source, key, alive string) string {
	t.Helper()
	vkey, err := os.ReadFile(key)
	require.NoError(t, err)
	text, err := json.Marshal(map[string]any{"format": "jobaudit.registry/v1", "targets": []string{base},
		"logs": []map[string]any{{"name": "web-1", "source": source, "keys": []string{strings.TrimSpace(string(vkey))}, "alive": alive}}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "registry.json")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func kinds(t *testing.T, c call) (kinds []string) {
	t.Helper()
	var out struct {
		Registry string
		Findings []struct{ Log, Kind string }
	}
	require.NoError(t, json.Unmarshal([]byte(c.out), &out), c.out+c.err)
	require.Len(t, out.Registry, 64)
	for _, f := range out.Findings {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

func TestALogThatIsMissingSilentShrunkenForkedOrUnknownIsAFinding(t *testing.T) {
	l := newLog(t)
	base := t.TempDir()
	key, target := l.verifier(t), filepath.Join(base, "web-1")
	registry := writeRegistry(t, base, target, key, "1000h")
	state := filepath.Join(t.TempDir(), "state")
	check := func(registry string) call { return run(t, "check", registry, "--json", "--state", state) }

	c := check(registry)
	require.Equal(t, 1, c.code)
	require.Equal(t, []string{"missing"}, kinds(t, c))

	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	early := filepath.Join(t.TempDir(), "early")
	require.NoError(t, os.CopyFS(early, os.DirFS(target)))
	c = check(registry)
	require.Zero(t, c.code, c.out+c.err)
	l.job(t, t.Context(), "another", func(context.Context, *jobaudit.Trail) error { return nil })
	l.close(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once").code)
	c = check(registry)
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, run(t, "check", registry).out, "1 log checked, 0 findings; registry SHA-256 ")

	// Only its mirror's clock says that it lives.
	c = check(writeRegistry(t, base, target, key, "1ns"))
	require.Equal(t, 1, c.code)
	require.Equal(t, []string{"silent"}, kinds(t, c))

	// The mirror was put back to what it was.
	require.NoError(t, os.RemoveAll(target))
	require.NoError(t, os.CopyFS(target, os.DirFS(early)))
	require.Equal(t, []string{"shrunken"}, kinds(t, check(registry)))
	require.Equal(t, []string{"shrunken"}, kinds(t, check(registry)), "the larger head is kept")

	// Another history, with the same key.
	other := filepath.Join(t.TempDir(), "other")
	owner, err := filesink.LoadOrCreateKey(other, l.key, "example.com/jobs")
	require.NoError(t, err)
	s, err := filesink.Open(t.Context(), other, owner, &filesink.Options{AnchorPath: filepath.Join(t.TempDir(), "anchor")})
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), sinktest.Records(100)))
	require.NoError(t, s.Close())
	require.Equal(t, []string{"forked"}, kinds(t, check(writeRegistry(t, filepath.Dir(other), other, key, "1000000h"))))
}

func TestALogThatTheRegistryDoesNotNameIsAFinding(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	key := l.verifier(t)
	for _, name := range []string{"web-1", "web-2"} {
		require.Zero(t, run(t, "mirror", l.dir, filepath.Join(base, name), "--key", key, "--once", "--create").code)
	}
	c := run(t, "check", writeRegistry(t, base, filepath.Join(base, "web-1"), key, "1000h"), "--json")
	require.Equal(t, 1, c.code)
	require.Equal(t, []string{"unregistered"}, kinds(t, c))
}

func TestARegistryThatIsWrongIsNoEmptyOne(t *testing.T) {
	vkey := strings.TrimSpace(run(t, "key", newLog(t).close(t).key).out)
	for name, text := range map[string]string{
		"empty": "", "another format": `{"format":"x"}`, "an unknown field": `{"format":"jobaudit.registry/v1","log":[]}`,
		"no keys": `{"format":"jobaudit.registry/v1","logs":[{"name":"a","source":"b","alive":"1m"}]}`,
		"no time": `{"format":"jobaudit.registry/v1","logs":[{"name":"a","source":"b","alive":"1m","written":"x","keys":["` + vkey + `"]}]}`,
		"null":    "null", "a list": "[]", "a text": `"x"`, "two": `{"format":"jobaudit.registry/v1"} {}`, "a log that is null": `{"format":"jobaudit.registry/v1","logs":[null]}`,
		"no alive": `{"format":"jobaudit.registry/v1","logs":[{"name":"a","source":"b","keys":["x"]}]}`,
	} {
		file := filepath.Join(t.TempDir(), "registry.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c := run(t, "check", file)
		require.Equal(t, 3, c.code, name)
		require.Contains(t, c.err, "registry: ", name)
	}
	require.Equal(t, 3, run(t, "check", "no-such-file").code)
}

// TestAMirrorsHostThatPretendsThatALogLivesIsFoundByItsEvents: nobody signs a contact,
// and an event is signed.
func TestAMirrorsHostThatPretendsThatALogLivesIsFoundByItsEvents(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	target, key := filepath.Join(base, "web-1"), l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	registry := writeRegistry(t, base, target, key, "1m")
	text, err := os.ReadFile(registry)
	require.NoError(t, err)
	require.Contains(t, run(t, "check", strict(t, text, "1ns")).out, "its newest event is of")
	contact := filepath.Join(target, "contacts", fmt.Sprintf("%016d.%d", int64(1<<53)-time.Now().Unix(), time.Now().Unix()))
	require.NoError(t, os.MkdirAll(filepath.Dir(contact), 0o700))
	require.NoError(t, os.WriteFile(contact, []byte("it runs"), 0o600))
	require.Zero(t, run(t, "check", registry).code)
	c := run(t, "check", strict(t, text, "1ns"), "--json")
	require.Equal(t, 1, c.code)
	require.Equal(t, []string{"silent"}, kinds(t, c))
	require.Zero(t, run(t, "check", strict(t, text, "1000h")).code)
}

// strict writes a registry that asks for events.
func strict(t *testing.T, text []byte, written string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "registry.json")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), `"alive":`, fmt.Sprintf(`"written":%q,"alive":`, written), 1)), 0o600))
	return file
}

// writeLog writes a log of batches of some events, each of which ends with a commit line, and
// returns its directory.
func writeLog(t *testing.T, key string, batches ...int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "log")
	owner, err := filesink.LoadOrCreateKey(dir, key, "example.com/jobs")
	require.NoError(t, err)
	appendTo(t, dir, owner, batches...)
	return dir
}

func appendTo(t *testing.T, dir string, owner *filesink.Key, batches ...int) {
	t.Helper()
	s, err := filesink.Open(t.Context(), dir, owner, &filesink.Options{AnchorPath: dir + ".anchor", OnError: func(error) {}})
	require.NoError(t, err)
	for _, n := range batches {
		require.NoError(t, s.Append(t.Context(), sinktest.Records(n)))
	}
	require.NoError(t, s.Close())
}

// TestALogThatWasWrittenAgainWithItsKeyIsNoGrownOne: the old commit line in its old place proves
// nothing, whatever becomes of the stored hashes.
func TestALogThatWasWrittenAgainWithItsKeyIsNoGrownOne(t *testing.T) {
	for name, hashes := range map[string]func(dir, first string) error{
		"its own hashes": func(string, string) error { return nil },
		"no hashes":      func(dir, _ string) error { return os.Remove(filepath.Join(dir, "tree")) },
		"the old hashes": func(dir, first string) error {
			old, err := os.ReadFile(filepath.Join(first, "tree"))
			if err != nil {
				return err
			}
			now, err := os.ReadFile(filepath.Join(dir, "tree"))
			if err != nil {
				return err
			}
			copy(now, old)
			return os.WriteFile(filepath.Join(dir, "tree"), now, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			key, vkey, state := filepath.Join(base, "key"), filepath.Join(base, "vkey"), filepath.Join(base, "state")
			first := writeLog(t, key, 5, 8)
			require.NoError(t, os.WriteFile(vkey, []byte(run(t, "key", key).out), 0o600))
			check := func(dir string) call {
				return run(t, "check", writeRegistry(t, t.TempDir(), dir, vkey, "1000000h"), "--json", "--state", state)
			}
			c := check(first)
			require.Zero(t, c.code, c.out+c.err)
			kept, err := os.ReadFile(state)
			require.NoError(t, err)

			other := writeLog(t, key, 5, 8, 9)
			segment := filepath.Join("entries", "00000000000000000000.jsonl")
			commit := func(dir string) string {
				text, err := os.ReadFile(filepath.Join(dir, segment))
				require.NoError(t, err)
				lines := strings.SplitAfter(string(text), "\n")
				require.Contains(t, lines[14], `{"checkpoint"`) // behind 13 events and one other
				return lines[14]
			}
			text, err := os.ReadFile(filepath.Join(other, segment))
			require.NoError(t, err)
			forged := strings.Replace(string(text), commit(other), commit(first), 1)
			require.NoError(t, os.WriteFile(filepath.Join(other, segment), []byte(forged), 0o600))
			require.NoError(t, hashes(other, first))
			for range 2 {
				c = check(other)
				require.Equal(t, 1, c.code, c.out+c.err)
				require.Equal(t, []string{"forked"}, kinds(t, c))
				now, err := os.ReadFile(state)
				require.NoError(t, err)
				require.Equal(t, string(kept), string(now), "the old head is kept")
			}

			// And one that grew is not accused.
			owner, err := filesink.LoadOrCreateKey(first, key, "example.com/jobs")
			require.NoError(t, err)
			appendTo(t, first, owner, 1, 70)
			require.NoError(t, hashes(first, other))
			c = check(first)
			require.Zero(t, c.code, c.out+c.err)
			now, err := os.ReadFile(state)
			require.NoError(t, err)
			require.NotEqual(t, string(kept), string(now))
		})
	}
}

// TestWhatCheckFoundIsSaidWhateverItCannotDo: a target that is away, or a state that cannot be
// kept, hides no finding.
func TestWhatCheckFoundIsSaidWhateverItCannotDo(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	key := l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, filepath.Join(base, "web-2"), "--key", key, "--once", "--create").code)
	registry := writeRegistry(t, base, filepath.Join(base, "web-1"), key, "1000h")
	text, err := os.ReadFile(registry)
	require.NoError(t, err)
	away := filepath.Join(t.TempDir(), "away.json")
	require.NoError(t, os.WriteFile(away, []byte(strings.Replace(string(text), `"targets":[`, `"targets":["/no/such/target",`, 1)), 0o600))
	state := filepath.Join(t.TempDir(), "no", "such", "state")
	for name, args := range map[string][]string{
		"a target": {away}, "the state": {registry, "--state", state}, "both": {away, "--state", state},
	} {
		for _, asJSON := range []bool{false, true} {
			call := append([]string{"check"}, args...)
			if asJSON {
				call = append(call, "--json")
			}
			c := run(t, call...)
			require.Equal(t, 3, c.code, name)
			require.Contains(t, c.out, "missing", name)
			require.Contains(t, c.out, "unregistered", name)
			require.Contains(t, c.err, "/no/such/", name)
			if asJSON {
				require.ElementsMatch(t, []string{"missing", "unregistered"}, kinds(t, c))
			}
		}
	}
}

// TestAStateThatIsNoStateIsAnErrorAndNoEmptyOne: an empty one would forget the heads.
func TestAStateThatIsNoStateIsAnErrorAndNoEmptyOne(t *testing.T) {
	l := newLog(t).close(t)
	registry := writeRegistry(t, t.TempDir(), l.dir, l.verifier(t), "1000h")
	for _, text := range []string{"", "null", "[]", "7", `"x"`, `{"web-1":null}`, `{"web-1":7}`, `{"web-1":{}}`, `{} {}`, `{"web-1":""`} {
		state := filepath.Join(t.TempDir(), "state")
		require.NoError(t, os.WriteFile(state, []byte(text), 0o600))
		c := run(t, "check", registry, "--state", state)
		require.Equal(t, 3, c.code, "%q: %s", text, c.err)
		require.Contains(t, c.err, "state: ", text)
		kept, err := os.ReadFile(state)
		require.NoError(t, err)
		require.Equal(t, text, string(kept))
		if text == "" {
			continue // a position may be empty: it is made so
		}
		c = run(t, "export", l.dir, "--format", "jsonl", "--out", filepath.Join(t.TempDir(), "out"), "--position", state)
		require.Equal(t, 3, c.code, "%q: %s", text, c.err)
		require.Contains(t, c.err, "--position ", text)
		c = run(t, "exec", "--dir", l.dir, "--action", "backup", "--reason", "nightly", "--policy", state, "--", "true")
		require.NotZero(t, c.code, text)
		require.Contains(t, c.err, "policy", text)
	}
}

// TestAnEventThatIsNotUnderTheSignedHeadIsNoSignOfLife: without the key anybody can change
// the time of the newest event.
func TestAnEventThatIsNotUnderTheSignedHeadIsNoSignOfLife(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"its own hashes": func(string) error { return nil },
		"no hashes":      func(dir string) error { return os.Remove(filepath.Join(dir, "tree")) },
		"other hashes": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "tree"), make([]byte, 4096), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			key, vkey, state := filepath.Join(base, "key"), filepath.Join(base, "vkey"), filepath.Join(base, "state")
			dir := writeLog(t, key, 5, 8)
			require.NoError(t, os.WriteFile(vkey, []byte(run(t, "key", key).out), 0o600))
			registry := writeRegistry(t, t.TempDir(), dir, vkey, "1000000h")
			require.NoError(t, spoil(dir))
			c := run(t, "check", registry, "--state", state)
			require.Zero(t, c.code, c.out+c.err)
			text, err := os.ReadFile(registry)
			require.NoError(t, err)
			silent := strict(t, text, "1m")
			require.Equal(t, []string{"silent"}, kinds(t, run(t, "check", silent, "--state", state, "--json")))

			segment := filepath.Join(dir, "entries", "00000000000000000000.jsonl")
			lines, err := os.ReadFile(segment)
			require.NoError(t, err)
			now := time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")
			forged := regexp.MustCompile(`"time":"[^"]*"`).ReplaceAll(lines, []byte(`"time":"`+now+`"`))
			require.Len(t, forged, len(lines))
			require.NoError(t, os.WriteFile(segment, forged, 0o600))
			for _, file := range []string{registry, silent} {
				c := run(t, "check", file, "--state", state, "--json")
				require.Equal(t, 1, c.code, c.out+c.err)
				require.Equal(t, []string{"changed"}, kinds(t, c))
			}
		})
	}
}

// TestOfADatabaseAnEventThatIsNotUnderTheSignedHeadIsNoSignOfLife is the same of a database.
func TestOfADatabaseAnEventThatIsNotUnderTheSignedHeadIsNoSignOfLife(t *testing.T) {
	url := newDatabase(t)
	key, vkey := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "vkey")
	c := run(t, "key", key, "--create", "example.com/jobs")
	require.Zero(t, c.code, c.err)
	require.NoError(t, os.WriteFile(vkey, []byte(c.out), 0o600))
	stop := sequencer(t, url, key)
	sink, err := pgsink.Open(t.Context(), url, nil)
	require.NoError(t, err)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(8)))
	require.NoError(t, sink.Sequenced(t.Context()))
	require.NoError(t, sink.Close())
	stop()
	text, err := os.ReadFile(writeRegistry(t, t.TempDir(), url, vkey, "1m"))
	require.NoError(t, err)
	registry := strict(t, text, "1m")
	require.Equal(t, []string{"silent"}, kinds(t, run(t, "check", registry, "--json")))
	for _, hashes := range []string{"SELECT 1", "DELETE FROM jobaudit.hashes"} {
		execute(t, url, `SET session_replication_role = replica; `+hashes)
		require.Equal(t, []string{"silent"}, kinds(t, run(t, "check", registry, "--json")))
	}
	execute(t, url, `SET session_replication_role = replica; UPDATE jobaudit.events SET line = convert_to(regexp_replace(
		convert_from(line, 'UTF8'), '"time":"[^"]*"', to_char(now() AT TIME ZONE 'UTC', '"\"time\":\""YYYY-MM-DD"T"HH24:MI:SS.US"Z\""')), 'UTF8') WHERE idx = 7`)
	require.Equal(t, []string{"changed"}, kinds(t, run(t, "check", registry, "--json")))
}
