//go:build cgo

package softhsm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/internal/tools/softhsm"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// library finds SoftHSM's library, of Debian's package softhsm2.
func library(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	require.Fail(t, "SoftHSM is not installed: apt-get install softhsm2")
	return ""
}

// token makes a token and logs in.
func token(t *testing.T) (*pkcs11.Ctx, pkcs11.SessionHandle) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
	ctx := pkcs11.New(library(t))
	require.NotNil(t, ctx)
	require.NoError(t, ctx.Initialize())
	t.Cleanup(func() { _ = ctx.Finalize(); ctx.Destroy() })
	slots, err := ctx.GetSlotList(true)
	require.NoError(t, err)
	require.NoError(t, ctx.InitToken(slots[0], "1234", "jobaudit"))
	slots, err = ctx.GetSlotList(true)
	require.NoError(t, err)
	session, err := ctx.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	require.NoError(t, err)
	require.NoError(t, ctx.Login(session, pkcs11.CKU_SO, "1234"))
	require.NoError(t, ctx.InitPIN(session, "5678"))
	require.NoError(t, ctx.Logout(session))
	require.NoError(t, ctx.Login(session, pkcs11.CKU_USER, "5678"))
	return ctx, session
}

func TestExtraALogIsSignedByAKeyThatDoesNotLeaveItsToken(t *testing.T) {
	size.Extra(t)
	ctx, session := token(t)
	signer, err := softhsm.Generate(ctx, session, "example.com/jobs")
	require.NoError(t, err)
	key, err := filesink.NewKey(signer, signer.VerifierKey())
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "log")
	opts := &filesink.Options{AnchorPath: filepath.Join(t.TempDir(), "anchor"), SegmentSize: 8 << 10}
	records := sinktest.Records(30)
	for n := 0; n < len(records); n += 10 {
		s, err := filesink.Open(t.Context(), dir, key, opts)
		require.NoError(t, err)
		for k := n; k < n+10; k += 2 {
			require.NoError(t, s.Append(t.Context(), records[k:k+2]))
		}
		require.NoError(t, s.Close())
	}
	verifier, err := note.NewVerifier(signer.VerifierKey())
	require.NoError(t, err)
	anchor, err := os.ReadFile(opts.AnchorPath)
	require.NoError(t, err)
	report, err := filesink.Verify(t.Context(), dir, &filesink.VerifyOptions{Keys: []note.Verifier{verifier}, Checkpoints: [][]byte{anchor}})
	require.NoError(t, err)
	require.Equal(t, auditlog.Anchored, report.Level)

	s, err := filesink.Open(t.Context(), dir, key, opts)
	require.NoError(t, err)
	require.NoError(t, ctx.CloseSession(session))
	var lost []jobaudit.Record = sinktest.Records(2)
	require.ErrorIs(t, s.Append(t.Context(), lost), filesink.ErrSigner, "the token is gone")
	_ = s.Close()
}

func TestAPublicKeyIsReadWrappedOrBare(t *testing.T) {
	bare := make([]byte, 32)
	for _, value := range [][]byte{bare, append([]byte{0x04, 0x20}, bare...)} {
		point, err := softhsm.Point(value)
		require.NoError(t, err)
		require.Equal(t, bare, []byte(point))
	}
	for _, value := range [][]byte{nil, bare[:31], append([]byte{0x04, 0x21}, bare...), append([]byte{0x04, 0x20}, append(bare, 0)...), append([]byte{0x03, 0x20}, bare...)} {
		_, err := softhsm.Point(value)
		require.Error(t, err)
	}
}
