package filesink_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

func FuzzSegmentName(f *testing.F) {
	for _, name := range []string{"00000000000000000000.jsonl", "-0000000000000000001.jsonl", "99999999999999999999.jsonl", "00009007199254740992.jsonl", "00009007199254740993.jsonl", ".jsonl"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		first, ok := filesink.ParseSegmentName(name)
		if !ok {
			return
		}
		require.Equal(t, name, filesink.SegmentName(first), "one name for one segment")
		require.True(t, first >= 0 && first <= 1<<53)
	})
}

// Lines are the same from both ends, and no line is lost behind one that is too
// long.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nbb\n\nccc\n"), uint16(0))
	f.Add([]byte("a\n"), uint16(5))
	f.Add([]byte(""), uint16(9))
	f.Fuzz(func(t *testing.T, text []byte, long uint16) {
		if long%3 == 1 { // some lines around the limit, over several blocks
			text = slices.Concat(text, []byte("\n"), bytes.Repeat([]byte("x"), int(long)*40), []byte("\n"), text)
		}
		if len(text) > 0 {
			text = append(text[:len(text):len(text)], '\n')
		}
		var want []string
		at := 0
		for line := range bytes.Lines(text) {
			s := fmt.Sprint(at, ": ", string(line[:len(line)-1]))
			if len(line)-1 > auditlog.MaxLeaf {
				s = fmt.Sprint(at, ": a line of more than ", auditlog.MaxLeaf, " bytes")
			}
			want = append(want, s)
			at += len(line)
		}
		require.Equal(t, want, filesink.LinesForward(text))
		backward := filesink.LinesBackward(text)
		slices.Reverse(backward)
		require.Equal(t, want, backward)
	})
}

func FuzzSalvage(f *testing.F) {
	for _, r := range sinktest.Records(5) {
		f.Add(r.Bytes())
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		event, stream, job := filesink.Salvage(line)
		for _, id := range []fmt.Stringer{event, stream, job} {
			require.True(t, id.String() == strings.Repeat("0", 8)+"-0000-0000-0000-000000000000" || bytes.Contains(line, []byte(id.String())), "it is read and not made up")
		}
	})
}

func FuzzKey(f *testing.F) {
	secret, _, err := auditlog.GenerateKey(origin)
	require.NoError(f, err)
	f.Add(origin, secret)
	f.Add(origin, secret[:len(secret)-5])
	f.Add("", "PRIVATE+KEY+++")
	f.Fuzz(func(t *testing.T, name, text string) {
		key, err := filesink.ParseKey(name, text)
		if err != nil {
			var refused *filesink.KeyError
			require.ErrorAs(t, err, &refused)
			if len(text) > 60 {
				require.NotContains(t, err.Error(), text[30:], "an error tells nothing of a secret")
			}
			return
		}
		require.Equal(t, name, key.Name())
		v, err := note.NewVerifier(key.String())
		require.NoError(t, err)
		require.Equal(t, v.KeyHash(), key.KeyHash())
	})
}

// FuzzAnchor: whatever an anchor holds, the log is opened or refused.
func FuzzAnchor(f *testing.F) {
	p := newPlace(f)
	p.write(f, nil, 3, sinktest.Records(3)...)
	whole := load(f, p.dir)
	good, err := os.ReadFile(p.anchorPath())
	require.NoError(f, err)
	for _, b := range [][]byte{good, good[:len(good)/2], {}, bytes.Repeat([]byte("x"), 70<<10), append(bytes.Clone(good), good...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, anchor []byte) {
		whole.store(t, p.dir)
		require.NoError(t, os.WriteFile(p.anchorPath(), anchor, 0o600))
		s, err := filesink.Open(t.Context(), p.dir, p.key, nil)
		if err == nil {
			require.NoError(t, s.Close())
			return
		}
		_, refused := errors.AsType[*filesink.RefusedError](err)
		require.True(t, refused || len(anchor) > 64<<10, "%v", err)
	})
}

// FuzzDirectory: whatever a file of a log's directory holds, and whatever its
// name, nobody panics, and what is opened is read.
func FuzzDirectory(f *testing.F) {
	p := newPlace(f)
	p.write(f, &filesink.Options{SegmentSize: 4 << 10}, 3, sinktest.Records(9)...)
	whole := load(f, p.dir)
	for name, b := range whole {
		f.Add(name, b)
		f.Add(name, b[:len(b)/2])
	}
	f.Add("entries/-0000000000000000001.jsonl", []byte("x\n"))
	f.Add("entries/99999999999999999999.jsonl", []byte("x\n"))
	f.Add("format", []byte("2"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if !filepath.IsLocal(name) || strings.ContainsAny(name, "\x00\\") || strings.Count(name, "/") > 1 || len(name) > 100 {
			return
		}
		whole.store(t, p.dir)
		_ = os.WriteFile(filepath.Join(p.dir, name), content, 0o600) // where it can be
		_, _ = p.findingsMaybe(t)
		if r, err := filesink.OpenReader(p.dir, p.key.Verifier()); err == nil {
			for _, err := range r.Records(t.Context(), jobaudit.Query{}) {
				if _, one := errors.AsType[*jobaudit.UnreadableError](err); err != nil && !one {
					break
				}
			}
			_ = r.Close()
		}
		opts := &filesink.Options{OnError: func(error) {}, AllowMissingAnchor: true, AnchorPath: filepath.Join(t.TempDir(), "anchor")}
		if s, err := filesink.Open(t.Context(), p.dir, p.key, opts); err == nil {
			_ = s.Close()
		}
	})
}

// findingsMaybe verifies; whether there is anything to verify is not asked.
func (p place) findingsMaybe(t testing.TB) (filesink.Report, error) {
	return filesink.Verify(t.Context(), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key.Verifier()}})
}
