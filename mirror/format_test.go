package mirror_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/mirror"
)

// goldenKey is a key of this test's only.
const goldenKey = "PRIVATE+KEY+example.com/jobs+7207a624+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

// TestTheStoredBytesAreThoseOfTheFormat holds what docs/format.md, F9, says: bytes
// that were written once are read by every later version.
func TestTheStoredBytesAreThoseOfTheFormat(t *testing.T) {
	public, err := auditlog.VerifierKey(goldenKey)
	require.NoError(t, err)
	k := key{}
	k.signer, err = note.NewSigner(goldenKey)
	require.NoError(t, err)
	k.verifier, err = note.NewVerifier(public)
	require.NoError(t, err)
	l, store := newLog(t, k), newStore()
	l.batch("one", "two", "three")
	l.batch("four", "five")
	var r reports
	o := options(&r, k)
	o.Contact = -1
	require.NoError(t, newMirror(t, l, store, o).Sync(t.Context()))
	got := map[string]string{}
	for name, versions := range store.objects {
		got[name] = string(versions[0])
	}
	require.Equal(t, map[string]string{
		"branches/001":                    `{"format":"jobaudit.mirror/v1","branch":1,"origin":"example.com/jobs"}` + "\n",
		"001/chunks/00000000000000000000": "one\ntwo\nthree\n" + l.lines[3] + "\nfour\nfive\n" + l.lines[6] + "\n",
		"001/heads/9007199254740987.5":    goldenHead,
	}, got)
}

const goldenHead = `jobaudit.mirror/head/v1
zY1lN35vrXYAPixXSd59LsU29xUJtuW4o2dNNg5Y2Co=
zMKa4OAqd7D0V4wawXST15z0JiEEkprIBPkfxOesWvA=

example.com/jobs
5
gy5gl3aksFyiCO95a/1vLXz88A3dRq+0l9Sxte8ZqZQ=

— example.com/jobs cgemJIOiiuTLRa8AJ9Nf+CcH+qZ/bdIvYvBIlJCQYNt1wiuvo+uWSCorDpomhgpEVTSMAj9EY0IMtam2sXuA8d4DzgQ=
`

func FuzzObjects(f *testing.F) {
	k := newKey(f, origin)
	l := newLog(f, k)
	l.append(3, "event")
	l.append(2, "event")
	store := newStore()
	sync1(f, l, store, k)
	for _, versions := range store.objects {
		f.Add(versions[0])
	}
	f.Add([]byte("jobaudit.mirror/head/v1\n\n"))
	f.Add([]byte(`{"format":"jobaudit.mirror/v1","branch":1,"base":-1,"size":9007199254740993}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, versions := range store.objects {
			hostile := newStore()
			maps.Copy(hostile.objects, store.objects)
			hostile.objects[name] = [][]byte{data}
			r, err := mirror.OpenReader(t.Context(), hostile, &mirror.ReaderOptions{Keys: []note.Verifier{k.verifier}})
			if err != nil {
				continue
			}
			n := 0
			for line, err := range r.Lines(t.Context(), 0) {
				if err != nil {
					break
				}
				// Whatever stands there, nothing is read but the log.
				require.Equal(t, l.lines[n], string(line), fmt.Sprint(name))
				n++
			}
			_, _ = r.Head(t.Context())
			_ = versions
		}
	})
}
