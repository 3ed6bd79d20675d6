package auditlog_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

func sign(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	require.NoError(t, err)
	return signed
}

const someRoot = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="

func TestACheckpointIsOpenedOnlyByItsKey(t *testing.T) {
	key, other, witness := newKey(t, origin), newKey(t, origin), newKey(t, "witness.example/w")
	l := newLog(t, key)
	l.batch(3)

	c, err := auditlog.OpenCheckpoint(l.head().Signed(), key.Verifier)
	require.NoError(t, err)
	require.Equal(t, l.head(), c)

	_, err = auditlog.OpenCheckpoint(l.head().Signed(), other.Verifier)
	require.ErrorIs(t, err, auditlog.ErrUnknownKey)
	_, err = auditlog.OpenCheckpoint(l.head().Signed(), witness.Verifier)
	require.ErrorIs(t, err, auditlog.ErrOrigin)

	forged := strings.Replace(string(l.head().Signed()), "\n3\n", "\n4\n", 1)
	_, err = auditlog.OpenCheckpoint([]byte(forged), key.Verifier)
	require.ErrorIs(t, err, auditlog.ErrSignature)

	body := origin + "\n3\n" + someRoot + "\n"
	c, err = auditlog.OpenCheckpoint(sign(t, body+"an extension\nanother\n", witness.Signer, key.Signer), key.Verifier)
	require.NoError(t, err, "extension lines and cosignatures are allowed")
	require.EqualValues(t, 3, c.Head().Size)
}

func TestACheckpointBodyHasOneForm(t *testing.T) {
	key := newKey(t, origin)
	for name, body := range map[string]string{
		"no root":           origin + "\n3\n",
		"leading zero":      origin + "\n03\n" + someRoot + "\n",
		"plus sign":         origin + "\n+3\n" + someRoot + "\n",
		"negative":          origin + "\n-3\n" + someRoot + "\n",
		"too many leaves":   origin + "\n9223372036854775807\n" + someRoot + "\n",
		"short root":        origin + "\n3\n" + someRoot[:40] + "\n",
		"long root":         origin + "\n3\n" + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n",
		"trailing bits":     origin + "\n3\n" + strings.Replace(someRoot, "2I=", "2J=", 1) + "\n",
		"empty extension":   origin + "\n3\n" + someRoot + "\n\nx\n",
		"empty tree's root": origin + "\n0\n" + someRoot + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auditlog.OpenCheckpoint(sign(t, body, key.Signer), key.Verifier)
			require.ErrorIs(t, err, auditlog.ErrFormat)
		})
	}
}

func TestACommitLineHasOneForm(t *testing.T) {
	key := newKey(t, origin)
	l := newLog(t, key)
	l.batch(2)
	line := string(auditlog.AppendCommit(nil, l.head()))
	require.True(t, auditlog.IsCommit([]byte(line)))
	c, err := auditlog.OpenCommit([]byte(line), key.Verifier)
	require.NoError(t, err)
	require.Equal(t, l.head(), c)

	two := sign(t, l.head().Head().Origin+"\n2\n"+someRoot+"\n", key.Signer, newKey(t, "witness.example/w").Signer)
	for name, bad := range map[string]string{
		"space":            strings.Replace(line, `":"`, `": "`, 1),
		"trailing space":   line + " ",
		"line feed":        line + "\n",
		"escaped letter":   strings.Replace(line, "e", `\u0065`, 1),
		"escaped in text":  strings.Replace(line, "example", `\u0065xample`, 1),
		"escaped slash":    strings.Replace(line, "com/", `com\/`, 1),
		"raw line feed":    strings.ReplaceAll(line, `\n`, "\n"),
		"second field":     strings.Replace(line, `"}`, `","x":1}`, 1),
		"cut":              line[:len(line)-1],
		"prefix only":      `{"checkpoint":`,
		"one quote":        `{"checkpoint":"}`,
		"open escape":      `{"checkpoint":"\"}`,
		"second signature": `{"checkpoint":"` + strings.ReplaceAll(string(two), "\n", `\n`) + `"}`,
		"trailing bits":    strings.Replace(line, `=\n"}`, `\n"}`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auditlog.OpenCommit([]byte(bad), key.Verifier)
			require.Error(t, err)
			require.ErrorIs(t, err, auditlog.ErrFormat)
		})
	}
}

func TestNoByteOfACommitLineCanChangeUnseen(t *testing.T) {
	key := newKey(t, origin)
	l := newLog(t, key)
	l.batch(2)
	line := auditlog.AppendCommit(nil, l.head())
	for i := range line {
		for bit := range 8 {
			line[i] ^= 1 << bit
			_, err := auditlog.OpenCommit(line, key.Verifier)
			require.Error(t, err, "byte %d bit %d: %s", i, bit, line)
			line[i] ^= 1 << bit
		}
	}
}

func TestOriginsAreURLsWithoutSchema(t *testing.T) {
	for _, good := range []string{"example.com/jobs", "jobs", "localhost:8080/a/b", "bücher.example/jobs", "example.com/s2"} {
		require.NoError(t, auditlog.CheckOrigin(good), good)
	}
	for _, bad := range []string{"", "https://example.com", "/jobs", "a b", "a+b", "a\nb", "a\u00a0b", "a\"b", `a\b`, "a?b", "a#b", "u@h", "a\xff", "a%zz", strings.Repeat("a", 257)} {
		err := auditlog.CheckOrigin(bad)
		got, ok := errors.AsType[*auditlog.OriginError](err)
		require.True(t, ok, "%q", bad)
		require.NotEmpty(t, got.Reason)
		_, _, err = auditlog.GenerateKey(bad)
		require.Error(t, err)
	}
}

func TestSuccessorsAreNumbered(t *testing.T) {
	for _, tc := range []struct {
		origin, first string
		number        int
		next          string
	}{
		{"example.com/jobs", "example.com/jobs", 1, "example.com/jobs/s2"},
		{"example.com/jobs/s2", "example.com/jobs", 2, "example.com/jobs/s3"},
		{"example.com/jobs/s9", "example.com/jobs", 9, "example.com/jobs/s10"},
		{"example.com/jobs/s1", "example.com/jobs/s1", 1, "example.com/jobs/s1/s2"},
		{"example.com/jobs/s02", "example.com/jobs/s02", 1, "example.com/jobs/s02/s2"},
		{"example.com/jobs/s+2", "example.com/jobs/s+2", 1, "example.com/jobs/s+2/s2"},
		{"example.com/s", "example.com/s", 1, "example.com/s/s2"},
		{"/s2", "/s2", 1, "/s2/s2"},
	} {
		first, number := auditlog.SplitOrigin(tc.origin)
		require.Equal(t, tc.first, first)
		require.Equal(t, tc.number, number)
		require.Equal(t, tc.next, auditlog.SuccessorOrigin(tc.origin))
	}
}

func TestTheVerifierKeyFollowsFromTheSignerKey(t *testing.T) {
	for range 50 {
		skey, vkey, err := auditlog.GenerateKey(origin)
		require.NoError(t, err)
		got, err := auditlog.VerifierKey(skey)
		require.NoError(t, err)
		require.Equal(t, vkey, got)

		_, err = auditlog.VerifierKey(vkey)
		require.ErrorIs(t, err, auditlog.ErrFormat)
		_, err = auditlog.VerifierKey(skey[:len(skey)-4])
		require.ErrorIs(t, err, auditlog.ErrFormat)
		require.NotContains(t, err.Error(), skey[len(skey)-20:])
	}
}
