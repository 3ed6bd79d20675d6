package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// verifier writes a log's verifier key to a file, as an auditor has it.
func (l *aLog) verifier(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vkey")
	require.NoError(t, os.WriteFile(file, []byte(run(t, "key", l.key).out), 0o600))
	return file
}

func TestAMirrorIsReadLikeTheLog(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	target := filepath.Join(t.TempDir(), "mirror")
	key := l.verifier(t)
	c := run(t, "mirror", l.dir, target, "--key", key, "--once")
	require.Equal(t, 3, c.code)
	require.Contains(t, c.err, "--create")
	c = run(t, "mirror", l.dir, target, "--key", key, "--once", "--create")
	require.Zero(t, c.code, c.err)
	require.Contains(t, c.out, "mirrored up to size")
	l.close(t)
	c = run(t, "mirror", l.dir, target, "--key", key, "--once", "--max-lag", "0", "--json")
	require.Zero(t, c.code, c.err)
	var status struct {
		Mirrored struct{ Size int64 }
		Lag      int64
	}
	require.NoError(t, json.Unmarshal([]byte(c.out), &status))
	require.Positive(t, status.Mirrored.Size)
	require.Zero(t, status.Lag)

	for _, args := range [][]string{{"list", "--json"}, {"show", l.parent.String()}, {"tail", "-n", "3"}, {"checkpoint"}, {"list", "--job", l.failed.String()}} {
		of := func(source string) call {
			return run(t, append([]string{args[0], source}, args[1:]...)...)
		}
		require.Equal(t, of(l.dir).out, of(target).out, args)
		require.Equal(t, of(l.dir).out, of("mirror:"+target+"#1").out, args)
		require.NotEmpty(t, of(target).out)
	}
	c = run(t, "verify", target, "--key", key, "--anchor", l.anchor())
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "verified L2")
	require.Contains(t, run(t, "verify", target, "--key", key).out, "verified L1")
	id := l.events(t)[2].ID().String()
	proof := filepath.Join(t.TempDir(), "proof")
	c = run(t, "prove", target, id, "--key", key, "-o", proof)
	require.Zero(t, c.code, c.err)
	c = run(t, "check-proof", proof, "--key", key)
	require.Zero(t, c.code, c.out+c.err)
}

func TestAMirrorThatCannotBeIsNotMade(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	var others []string
	for i, origin := range []string{"example.com/other", "example.com/jobs"} { // another name, and another key of a name
		file := filepath.Join(base, fmt.Sprint("key", i))
		others = append(others, strings.TrimSpace(run(t, "key", file, "--create", origin).out))
	}
	for _, key := range others {
		for _, once := range [][]string{{"--once"}, nil} {
			target := filepath.Join(base, "new", "mirror")
			c := run(t, append([]string{"mirror", l.dir, target, "--create", "--key", key}, once...)...)
			require.Equal(t, 3, c.code, c.out)
			require.Contains(t, c.err, "by none of the given keys")
			require.NoDirExists(t, filepath.Dir(target))
		}
	}
}

func TestABranchThatNoSuccessorMadeIsAFindingAndNotRestored(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	target, key := filepath.Join(base, "mirror"), l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	first, err := os.ReadFile(filepath.Join(target, "branches", "001"))
	require.NoError(t, err)
	var branch map[string]any
	require.NoError(t, json.Unmarshal(first, &branch))
	branch["branch"], branch["base"], branch["by"], branch["reason"] = 2, 1, "ada", "restored from a snapshot"
	forged, err := json.Marshal(branch)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(target, "branches", "002"), append(forged, '\n'), 0o600))

	for _, args := range [][]string{{"list", target}, {"jobs", target}, {"show", target, l.parent.String()}, {"list", target, target + "#1"}} {
		require.Contains(t, run(t, args...).err, "not verified: branch 2 of 2 is shown", args)
	}
	require.NotContains(t, run(t, "list", target+"#1").err, "branch")
	c := run(t, "verify", target, "--key", key)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.out, "branch 2 leaves branch 1")
	require.NotContains(t, c.out, "accepted by ada")
	c = run(t, "restore", target, filepath.Join(base, "restored"), "--key", key, "--anchor", l.anchor())
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "holds all that the anchors tell of")
	require.Contains(t, c.err, "branches/002")
}

func TestAMirrorThatLostAChunkDoesNotVerify(t *testing.T) {
	l := newLog(t).close(t)
	target := filepath.Join(t.TempDir(), "mirror")
	key := l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	chunk := filepath.Join(target, "001", "chunks", "00000000000000000000")
	b, err := os.ReadFile(chunk)
	require.NoError(t, err)
	b[100] ^= 1
	require.NoError(t, os.WriteFile(chunk, b, 0o600))
	c := run(t, "verify", target, "--key", key)
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.out, "truncated")
	require.Contains(t, c.err, "001/chunks/00000000000000000000")
}

// TestAMirrorThatLacksEventsIsNotShownOrRestoredAsAShorterLog: its own key must not
// sign what it has signed otherwise before.
func TestAMirrorThatLacksEventsIsNotShownOrRestoredAsAShorterLog(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	target, key := filepath.Join(base, "mirror"), l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	want := run(t, "list", l.dir, "--json").out
	anchor := filepath.Join(base, "anchor") // of what the first chunk holds
	signed, err := os.ReadFile(l.anchor())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(anchor, signed, 0o600))
	owner, err := filesink.LoadOrCreateKey(l.dir, l.key, "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), l.dir, owner, nil)
	require.NoError(t, err)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(2)))
	require.NoError(t, sink.Close())
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once").code)
	chunks, err := filepath.Glob(filepath.Join(target, "001", "chunks", "*"))
	require.NoError(t, err)
	require.Len(t, chunks, 2)
	require.NoError(t, os.Remove(chunks[1]))

	for _, args := range [][]string{{"list", target, "--json"}, {"tail", target}, {"jobs", target}, {"export", target, "--format", "jsonl"}, {"show", target, l.parent.String()}} {
		c := run(t, append(args, "--key", key)...)
		require.Equal(t, 3, c.code, args)
		require.Contains(t, c.err, "are missing in the mirror", args)
		if args[0] == "list" {
			require.Equal(t, want, c.out)
		}
		c = run(t, args...) // nobody has proven that they were ever there
		require.Zero(t, c.code, c.err)
		require.Equal(t, 1, strings.Count(c.err, "are missing in the mirror"), args)
		require.Contains(t, c.err, "--key VKEY tells which")
		if args[0] == "list" {
			require.Equal(t, want, c.out)
		}
	}
	restored := filepath.Join(base, "restored")
	c := run(t, "restore", target, restored, "--key", key, "--anchor", anchor)
	require.NotZero(t, c.code)
	require.Contains(t, c.err, "are missing in the mirror")
	require.Contains(t, c.err, "as a successor only")
	require.Equal(t, want, run(t, "list", restored, "--json").out)
	require.FileExists(t, filepath.Join(restored, "copy"))
}

// forgedHead makes what nobody can tell from a head of the log without its key: that of
// another log of the same name, which is longer.
func forgedHead(t *testing.T) (name string, content []byte) {
	t.Helper()
	base := t.TempDir()
	dir, key := filepath.Join(base, "log"), filepath.Join(base, "key")
	owner, err := filesink.LoadOrCreateKey(dir, key, "example.com/jobs")
	require.NoError(t, err)
	sink, err := filesink.Open(t.Context(), dir, owner, nil)
	require.NoError(t, err)
	require.NoError(t, sink.Append(t.Context(), sinktest.Records(300)))
	require.NoError(t, sink.Close())
	c := run(t, "mirror", dir, filepath.Join(base, "mirror"), "--key", key, "--once", "--create")
	require.Zero(t, c.code, c.err)
	heads, err := filepath.Glob(filepath.Join(base, "mirror", "001", "heads", "*.300"))
	require.NoError(t, err)
	require.Len(t, heads, 1)
	content, err = os.ReadFile(heads[0])
	require.NoError(t, err)
	return filepath.Base(heads[0]), content
}

// TestWhoPutsAHeadIntoAMirrorStopsNoCommand: with the key it is passed by, and without
// one all that is there is shown.
func TestWhoPutsAHeadIntoAMirrorStopsNoCommand(t *testing.T) {
	t.Parallel()
	forged, head := forgedHead(t)
	for what, put := range map[string]struct {
		name    string
		content []byte
		said    bool
	}{
		"an empty object": {name: "0000000000000001.9007199254740991"},
		"a forged head":   {name: forged, content: head, said: true},
	} {
		t.Run(what, func(t *testing.T) {
			l := newLog(t)
			other, otherKey, _ := l.otherLog(t)
			l.close(t)
			target, key := filepath.Join(t.TempDir(), "mirror"), l.verifier(t)
			require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
			require.NoError(t, os.WriteFile(filepath.Join(target, "001", "heads", put.name), put.content, 0o600))

			for _, args := range [][]string{
				{"list", target, "--json"}, {"jobs", target}, {"tail", target, "--json"}, {"show", target, l.parent.String()}, {"checkpoint", target},
				{"export", target, "--format", "jsonl"}, {"list", target, other, "--json"}, {"jobs", target, "--action", "nothing-like-it"},
			} {
				of := append([]string{args[0], l.dir}, args[2:]...)
				want := run(t, of...)
				require.Zero(t, want.code, want.err)
				c := run(t, args...)
				require.Zero(t, c.code, "%v: %s", args, c.err)
				require.Equal(t, want.out, c.out, args)
				if put.said {
					require.Equal(t, 1, strings.Count(c.err, "are missing in the mirror"), "%v: %s", args, c.err)
				} else {
					require.NotContains(t, c.err, "missing", args)
				}
				c = run(t, append(args, "--key", key)...)
				require.Zero(t, c.code, "%v: %s", args, c.err)
				require.Equal(t, want.out, c.out, args)
				require.NotContains(t, c.err, "missing", args)
				require.Contains(t, c.err, put.name, args)
			}
			for _, args := range [][]string{
				{"verify", target, other, "--key", key, "--key", otherKey, "--anchor", l.anchor()}, {"verify", target, "--key", key},
				{"prove", target, "--job", l.parent.String(), "--key", key, "-o", "-"},
				{"report", target, "--job", l.parent.String(), "--key", key, "--html", filepath.Join(t.TempDir(), "page.html")},
				{"review", target, "--since", "1d", "--log-key", key},
			} {
				c := run(t, args...)
				require.NotContains(t, []int{2, 3}, c.code, "%v: %s", args, c.err)
				require.NotContains(t, c.err, "missing", args)
			}
		})
	}
}

// TestWhoPutsAHeadIntoAMirrorEndsNoFollowing: what comes is shown, and what is missing
// is said once.
func TestWhoPutsAHeadIntoAMirrorEndsNoFollowing(t *testing.T) {
	t.Parallel() // it waits most of the time
	forged, head := forgedHead(t)
	for _, command := range [][]string{{"tail", "-f", "-n", "1000", "--json"}, {"export", "--follow", "--format", "jsonl"}} {
		t.Run(command[0], func(t *testing.T) {
			l := newLog(t)
			target, key := filepath.Join(t.TempDir(), "mirror"), l.verifier(t)
			require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
			require.NoError(t, os.WriteFile(filepath.Join(target, "001", "heads", forged), head, 0o600))
			cmd := exec.CommandContext(t.Context(), program, append(command, target)...)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			var said strings.Builder
			cmd.Stderr = &said
			require.NoError(t, cmd.Start())
			lines := bufio.NewReader(out)
			seen := 0
			for range 3 {
				require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once").code)
				c := run(t, "list", target, "--json", "--key", key)
				require.Zero(t, c.code, c.err)
				all := strings.SplitAfter(c.out, "\n")
				for all = all[:len(all)-1]; seen < len(all); seen++ { // what is durable is mirrored
					line, err := lines.ReadString('\n')
					require.NoError(t, err)
					require.Equal(t, all[seen], line)
				}
				l.job(t, t.Context(), "more", func(context.Context, *jobaudit.Trail) error { return nil })
			}
			require.Greater(t, seen, 10)
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
			require.NoError(t, cmd.Wait())
			require.Equal(t, 1, strings.Count(said.String(), "are missing in the mirror"), said.String())
			l.close(t)
		})
	}
}

func TestARestoredLogGoesOnUnderItsKeyOnlyIfNothingIsMissing(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	target, key := filepath.Join(base, "mirror"), l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	want := run(t, "list", l.dir, "--json").out

	whole := filepath.Join(base, "whole")
	c := run(t, "restore", target, whole, "--key", key, "--anchor", l.anchor())
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "may go on as example.com/jobs")
	require.Equal(t, want, run(t, "list", whole, "--json").out)
	owner, err := filesink.LoadOrCreateKey(whole, l.key, "example.com/jobs")
	require.NoError(t, err)
	s, err := filesink.Open(t.Context(), whole, owner, nil)
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), sinktest.Records(1)))
	require.NoError(t, s.Close()) // the anchor is ahead of the mirror now

	behind := filepath.Join(base, "behind")
	c = run(t, "restore", target, behind, "--key", key, "--anchor", l.anchor())
	require.Equal(t, 1, c.code, c.out+c.err)
	require.Contains(t, c.out, "goes on as a successor, example.com/jobs/s2")
	_, err = filesink.Open(t.Context(), behind, owner, &filesink.Options{AnchorPath: filepath.Join(base, "a"), AllowMissingAnchor: true})
	require.ErrorIs(t, err, filesink.ErrCopy)

	unknown := filepath.Join(base, "unknown")
	c = run(t, "restore", target, unknown, "--key", key)
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "as a successor")
}

func TestASuccessorsBranchIsAcceptedAndBothAreShown(t *testing.T) {
	l := newLog(t)
	base := t.TempDir()
	target, key := filepath.Join(base, "mirror"), l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	backup := filepath.Join(base, "backup")
	require.Zero(t, run(t, "copy", l.dir, backup, "--key", key).code)
	l.job(t, t.Context(), "after-the-backup", func(context.Context, *jobaudit.Trail) error { return nil })
	l.close(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once").code)

	c := run(t, "mirror", backup, target, "--key", key, "--once")
	require.Equal(t, 1, c.code, c.out)
	require.Contains(t, c.out, "the log is shorter than its mirror")

	old, err := filesink.LoadOrCreateKey(backup, l.key, "example.com/jobs")
	require.NoError(t, err)
	next, err := filesink.LoadOrCreateKey(backup, filepath.Join(base, "key2"), "example.com/jobs/s2")
	require.NoError(t, err)
	s, err := filesink.Open(t.Context(), backup, next, &filesink.Options{Predecessor: old.Verifier()})
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), sinktest.Records(1)))
	require.NoError(t, s.Close())

	keys := []string{"--key", key, "--key", filepath.Join(base, "key2")}
	require.Equal(t, 2, run(t, append([]string{"mirror", backup, target, "--accept"}, keys...)...).code)
	c = run(t, append([]string{"mirror", backup, target, "--accept", "--by", "ada", "--reason", "restored on purpose"}, keys...)...)
	require.Zero(t, c.code, c.out+c.err)
	require.Contains(t, c.out, "branch 2 begins at size")
	c = run(t, append([]string{"verify", target}, keys...)...)
	require.Contains(t, c.out, "accepted by ada")
	require.NotContains(t, run(t, "list", target).out, "after-the-backup")
	require.Contains(t, run(t, "list", target+"#1").out, "after-the-backup")
}

// TestWhoFollowsAMirrorMissesNothingOfAnAcceptedBranch: it begins before the place that was read
// in the branch that it leaves.
func TestWhoFollowsAMirrorMissesNothingOfAnAcceptedBranch(t *testing.T) {
	t.Parallel() // it waits most of the time
	for _, command := range [][]string{{"tail", "-f", "-n", "1000", "--json"}, {"export", "--follow", "--format", "jsonl"}} {
		t.Run(command[0], func(t *testing.T) {
			l := newLog(t)
			base := t.TempDir()
			target, key := filepath.Join(base, "mirror"), l.verifier(t)
			backup := filepath.Join(base, "backup")
			require.Zero(t, run(t, "copy", l.dir, backup, "--key", key).code)
			l.job(t, t.Context(), "after-the-backup", func(context.Context, *jobaudit.Trail) error { return nil })
			l.close(t)
			require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
			old := l.events(t)

			cmd := exec.CommandContext(t.Context(), program, append(command, target)...)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewReader(out)
			until := func(id uuid.UUID) (said string) {
				for !strings.Contains(said, id.String()) {
					line, err := lines.ReadString('\n')
					require.NoError(t, err, said)
					said += line
				}
				return said
			}
			until(old[len(old)-1].ID())

			owner, err := filesink.LoadOrCreateKey(backup, l.key, "example.com/jobs")
			require.NoError(t, err)
			next, err := filesink.LoadOrCreateKey(backup, filepath.Join(base, "key2"), "example.com/jobs/s2")
			require.NoError(t, err)
			s, err := filesink.Open(t.Context(), backup, next, &filesink.Options{Predecessor: owner.Verifier()})
			require.NoError(t, err)
			records := sinktest.Records(20)
			require.NoError(t, s.Append(t.Context(), records))
			require.NoError(t, s.Close())
			c := run(t, "mirror", backup, target, "--key", key, "--key", filepath.Join(base, "key2"), "--accept", "--by", "ada", "--reason", "restored on purpose")
			require.Zero(t, c.code, c.out+c.err)
			said := until(records[len(records)-1].ID())
			for i, r := range records {
				require.Contains(t, said, r.ID().String(), "event %d of the branch", i)
			}
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
			require.NoError(t, cmd.Wait())
		})
	}
}

// TestARestoreThatFailsSaysWhichEventsAreMissing: also when nothing of the log is left.
func TestARestoreThatFailsSaysWhichEventsAreMissing(t *testing.T) {
	l := newLog(t).close(t)
	base := t.TempDir()
	target, key := filepath.Join(base, "mirror"), l.verifier(t)
	require.Zero(t, run(t, "mirror", l.dir, target, "--key", key, "--once", "--create").code)
	require.NoError(t, os.RemoveAll(filepath.Join(target, "001", "chunks")))
	c := run(t, "restore", target, filepath.Join(base, "restored"), "--key", key)
	require.NotZero(t, c.code, c.out)
	require.Contains(t, c.err, "events 0 to ")
	require.Contains(t, c.err, "are missing in the mirror")
}
