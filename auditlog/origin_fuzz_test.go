package auditlog_test

import (
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// An origin that is accepted can name a key and stand in a checkpoint, and so
// can those of its successors, which are told from it.
func FuzzOrigin(f *testing.F) {
	for _, o := range []string{"example.com/jobs", "example.com/jobs/s2", "example.com/jobs/s1", "a/s9223372036854775807", "/s2", "x/s02", "jobaudit.index/v1", "ü.example/ä"} {
		f.Add(o)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		if auditlog.CheckOrigin(origin) != nil {
			return
		}
		first, n := auditlog.SplitOrigin(origin)
		require.GreaterOrEqual(t, n, 1)
		if n < 1<<30 {
			next := auditlog.SuccessorOrigin(origin)
			again, m := auditlog.SplitOrigin(next)
			require.Equal(t, first, again)
			require.Equal(t, n+1, m)
		}
		secret, _, err := auditlog.GenerateKey(origin)
		require.NoError(t, err)
		signer, err := note.NewSigner(secret)
		require.NoError(t, err)
		public, err := auditlog.VerifierKey(secret)
		require.NoError(t, err)
		verifier, err := note.NewVerifier(public)
		require.NoError(t, err)
		var tree auditlog.Tree
		c, err := tree.Sign(signer)
		require.NoError(t, err)
		_, err = auditlog.OpenCommit(auditlog.AppendCommit(nil, c), verifier)
		require.NoError(t, err)
	})
}
