package verifier_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/verifier"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// sample is a log that the quick start wrote.
type sample struct {
	dir, key string
	anchor   []byte
}

// quickStart runs the program that the README begins with, over a small folder.
func quickStart(t *testing.T) sample {
	t.Helper()
	work := filepath.Join(t.TempDir(), "work")
	require.NoError(t, os.Mkdir(work, 0o700))
	for i := range 3 {
		require.NoError(t, os.WriteFile(filepath.Join(work, fmt.Sprint(i)), []byte("text"), 0o600))
	}
	dir := filepath.Join(t.TempDir(), "log")
	quick := exec.CommandContext(t.Context(), "go", "run", "../../../examples/quickstart", "-dir", dir, work)
	out, err := quick.CombinedOutput()
	require.NoError(t, err, "%s", out)
	secret, err := os.ReadFile(dir + ".key")
	require.NoError(t, err)
	key, err := auditlog.VerifierKey(string(bytes.TrimSpace(secret)))
	require.NoError(t, err)
	anchor, err := os.ReadFile(dir + ".key.anchor")
	require.NoError(t, err)
	return sample{dir, key, anchor}
}

func (s sample) segment(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, "entries", "00000000000000000000.jsonl"))
	require.NoError(t, err)
	return content
}

// of returns the same log with another content of its only segment.
func (s sample) of(t *testing.T, content []byte) sample {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "entries"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "entries", "00000000000000000000.jsonl"), content, 0o600))
	return sample{dir, s.key, s.anchor}
}

// both verifies the log with both programs, and returns what they say.
func (s sample) both(t *testing.T, heads ...[]byte) (byPage verifier.Result, pageErr error, byCode filesink.Report, codeErr error) {
	t.Helper()
	key, err := note.NewVerifier(s.key)
	require.NoError(t, err)
	byPage, pageErr = verifier.Verify(s.dir, s.key, heads...)
	byCode, codeErr = filesink.Verify(t.Context(), s.dir, &filesink.VerifyOptions{
		Keys: []note.Verifier{key}, Checkpoints: heads, ParseAll: true,
	})
	return byPage, pageErr, byCode, codeErr
}

func TestTheQuickStartsLogIsVerifiedFromThePageAlone(t *testing.T) {
	s := quickStart(t)
	page, err, code, codeErr := s.both(t, s.anchor)
	require.NoError(t, err)
	require.NoError(t, codeErr)
	require.Equal(t, "L2", page.Level)
	require.Equal(t, code.Level.String(), page.Level)
	require.EqualValues(t, code.Records, page.Events)
	require.EqualValues(t, code.Commits, page.Commits)
	require.EqualValues(t, code.Jobs, page.Jobs)
	require.EqualValues(t, code.Head.Root, page.Root)
}

// What the page lets pass and the code does not, or the other way round, is an
// error in one of them.
func TestThePageAndTheCodeAgreeOnDamagedLogs(t *testing.T) {
	s := quickStart(t)
	whole := s.segment(t)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	lines = lines[:len(lines)-1] // SplitAfter ends with an empty one
	random := rand.New(rand.NewPCG(9, 9))
	rounds := 96
	if testing.Short() {
		rounds = 24
	}
	refused := 0
	for round := range rounds {
		damaged, what := damage(random, round, whole, lines)
		for _, heads := range [][][]byte{nil, {s.anchor}} {
			_, err, _, codeErr := s.of(t, damaged).both(t, heads...)
			require.Equal(t, codeErr != nil, err != nil, "%s, %d heads: the page says %v, the code %v", what, len(heads), err, codeErr)
			if err != nil {
				refused++
			}
		}
	}
	t.Logf("%d damaged logs, each with and without a head from outside: %d times refused", rounds, refused)
	require.Greater(t, refused, rounds)
}

// damage changes a log in one of several ways.
func damage(random *rand.Rand, round int, whole []byte, lines [][]byte) (damaged []byte, what string) {
	i, k := random.IntN(len(lines)), random.IntN(len(lines))
	if round%2 == 1 { // near the end, where much is a torn tail
		i = len(lines) - 1 - random.IntN(4)
	}
	switch round % 8 {
	case 0, 1, 2, 3:
		at, bit := random.IntN(len(whole)), random.IntN(8)
		if round%2 == 1 {
			at = len(whole) - 1 - random.IntN(600)
		}
		damaged = bytes.Clone(whole)
		damaged[at] ^= 1 << bit
		return damaged, fmt.Sprintf("bit %d of byte %d", bit, at)
	case 4:
		changed := slices.Clone(lines)
		changed[i], changed[k] = changed[k], changed[i]
		return bytes.Join(changed, nil), fmt.Sprintf("lines %d and %d swapped", i, k)
	case 5:
		return bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil), fmt.Sprintf("line %d deleted", i)
	case 6:
		return bytes.Join(slices.Insert(slices.Clone(lines), k, lines[i]), nil), fmt.Sprintf("line %d inserted at %d", i, k)
	default:
		first := bytes.Index(whole, []byte(`{"checkpoint":`))
		first += bytes.IndexByte(whole[first:], '\n') + 1
		at := first + random.IntN(len(whole)-first)
		return whole[:at], fmt.Sprintf("cut after %d bytes", at)
	}
}
