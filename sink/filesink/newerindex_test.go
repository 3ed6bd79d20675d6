package filesink_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

// laterIndex gives an index the number of tables, and the pages, that a later version would,
// and signs it.
func laterIndex(t *testing.T, p place, file string, further int) {
	t.Helper()
	const page, tables = 4096, 16 + 24 + 32 + 16 + 64 + 16 + 1 + 4
	secret, err := os.ReadFile(p.keyPath())
	require.NoError(t, err)
	signer, err := note.NewSigner(strings.TrimSpace(string(secret)))
	require.NoError(t, err)
	index, err := os.ReadFile(file)
	require.NoError(t, err)
	data := index[:page*int(binary.LittleEndian.Uint32(index[len(index)-8:]))]
	require.EqualValues(t, 1, binary.LittleEndian.Uint32(data[tables:]))
	binary.LittleEndian.PutUint32(data[tables:], 2)
	data = append(data[:len(data):len(data)], make([]byte, further*page)...)
	var hashes []byte
	for at := 0; at < len(data); at += page {
		h := sha256.Sum256(data[at : at+page])
		hashes = append(hashes, h[:]...)
	}
	sum := sha256.Sum256(hashes)
	number := func(at int) uint64 { return binary.LittleEndian.Uint64(data[at:]) }
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("jobaudit.index/v1\n%s\n%d\n%d\n%s\n%d\n%s\n", signer.Name(), number(16), number(24),
		base64.StdEncoding.EncodeToString(data[40:72]), number(32), base64.StdEncoding.EncodeToString(sum[:]))}, signer)
	require.NoError(t, err)
	out := append(append(data, hashes...), signed...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(hashes)/sha256.Size))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(signed)))
	require.NoError(t, os.WriteFile(file, out, 0o640))
}

func TestAnIndexOfALaterVersionIsMissingAndAccusesNobody(t *testing.T) {
	for _, further := range []int{0, 1} {
		p := newPlace(t)
		records := sinktest.Records(9)
		p.write(t, nil, 3, records...)
		files, err := filepath.Glob(filepath.Join(p.dir, "index", "*.idx"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		laterIndex(t, p, files[0], further)
		report, err := filesink.Verify(t.Context(), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key}})
		require.NoError(t, err)
		require.Len(t, report.Notes, 1)
		require.Equal(t, filesink.KindIndex, report.Notes[0].Kind)
		require.Contains(t, report.Notes[0].Found, "later version")
		r, err := filesink.OpenReader(p.dir, p.key)
		require.NoError(t, err)
		requireRecords(t, records[:1], read(t, r, jobaudit.Query{JobID: records[0].JobID(), Limit: 1}))
		require.NoError(t, r.Close())
		p.write(t, nil, 3, sinktest.Records(3)...)
		_, err = filesink.Verify(t.Context(), p.dir, &filesink.VerifyOptions{Keys: []note.Verifier{p.key}})
		require.NoError(t, err)
	}
}
