package auditlog_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"
)

func TestAProofConvincesWhoeverHasTheKeyAndNoLog(t *testing.T) {
	key := newKey(t, origin)
	for _, size := range []int{1, 2, 7, 33} {
		l := newLog(t, key)
		l.batch(size)
		for i, leaf := range l.leaves {
			proof, err := auditlog.Prove(l.head(), int64(i), []byte(leaf), l.hashes())
			require.NoError(t, err)
			text, err := proof.MarshalText()
			require.NoError(t, err)
			got, err := auditlog.OpenProof(text, key.Verifier)
			require.NoError(t, err)
			require.Equal(t, leaf, string(got.Leaf()))
			require.EqualValues(t, i, got.Index())
			require.Equal(t, l.head(), got.Checkpoint())
		}
	}
}

func TestAProofIsReadableByOthers(t *testing.T) {
	l := newLog(t, newKey(t, origin))
	l.batch(11)
	proof, err := auditlog.Prove(l.head(), 6, []byte(l.leaves[6]), l.hashes())
	require.NoError(t, err)
	text, err := proof.MarshalText()
	require.NoError(t, err)
	own, signed, ok := strings.Cut(string(text), "\n\n")
	require.True(t, ok)
	require.Equal(t, string(l.head().Signed()), signed)
	lines := strings.Split(own, "\n")
	require.Equal(t, []string{
		"c2sp.org/tlog-proof@v1",
		"extra " + base64.StdEncoding.EncodeToString([]byte(l.leaves[6])),
		"index 6",
	}, lines[:3])
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		h, err := tlog.ParseHash(line)
		require.NoError(t, err)
		path = append(path, h)
	}
	h := l.head().Head()
	require.NoError(t, tlog.CheckRecord(path, h.Size, h.Root, 6, tlog.RecordHash([]byte(l.leaves[6]))))
}

func TestAProofOfSomethingElseIsRefused(t *testing.T) {
	key := newKey(t, origin)
	l := newLog(t, key)
	l.batch(11)
	_, err := auditlog.Prove(l.head(), 6, []byte(l.leaves[5]), l.hashes())
	require.ErrorIs(t, err, auditlog.ErrProof)
	for _, index := range []int64{-1, 11, 1 << 62} {
		_, err = auditlog.Prove(l.head(), index, []byte(l.leaves[5]), l.hashes())
		require.Error(t, err)
	}
	_, err = auditlog.Prove(auditlog.Checkpoint{}, 0, []byte("x"), l.hashes())
	require.Error(t, err)

	proof, err := auditlog.Prove(l.head(), 6, []byte(l.leaves[6]), l.hashes())
	require.NoError(t, err)
	text, err := proof.MarshalText()
	require.NoError(t, err)
	s := string(text)
	_, err = auditlog.OpenProof(text, newKey(t, origin).Verifier)
	require.ErrorIs(t, err, auditlog.ErrUnknownKey)

	own, signed, _ := strings.Cut(s, "\n\n")
	lines := strings.Split(own, "\n")
	with := func(change func(lines []string) []string) string {
		return strings.Join(change(append([]string(nil), lines...)), "\n") + "\n\n" + signed
	}
	for name, tc := range map[string]struct {
		text string
		err  error
	}{
		"another index":   {strings.Replace(s, "index 6", "index 7", 1), auditlog.ErrProof},
		"beyond the tree": {strings.Replace(s, "index 6", "index 11", 1), auditlog.ErrProof},
		"leading zero":    {strings.Replace(s, "index 6", "index 06", 1), auditlog.ErrFormat},
		"another leaf":    {with(func(l []string) []string { l[1] = "extra eA=="; return l }), auditlog.ErrProof},
		"empty leaf":      {with(func(l []string) []string { l[1] = "extra "; return l }), auditlog.ErrFormat},
		"no leaf":         {with(func(l []string) []string { return append(l[:1], l[2:]...) }), auditlog.ErrFormat},
		"shorter path":    {with(func(l []string) []string { return l[:len(l)-1] }), auditlog.ErrProof},
		"longer path":     {with(func(l []string) []string { return append(l, someRoot) }), auditlog.ErrProof},
		"endless path": {with(func(l []string) []string {
			return append(l, strings.Split(strings.Repeat(someRoot+" ", 90), " ")[:90]...)
		}), auditlog.ErrFormat},
		"other version":   {strings.Replace(s, "@v1", "@v2", 1), auditlog.ErrFormat},
		"no checkpoint":   {own + "\n", auditlog.ErrFormat},
		"other tree size": {strings.Replace(s, "\n11\n", "\n12\n", 1), auditlog.ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auditlog.OpenProof([]byte(tc.text), key.Verifier)
			require.ErrorIs(t, err, tc.err)
		})
	}
}

func TestConsistencyIsProvenAndForksAreNot(t *testing.T) {
	key := newKey(t, origin)
	l, fork := newLog(t, key), newLog(t, key)
	empty, err := l.tree.Sign(key.Signer)
	require.NoError(t, err)
	for range 9 {
		l.batch(3)
		fork.commit("a", "b", "c")
	}
	heads := append([]auditlog.Checkpoint{empty}, l.heads...)
	for i, older := range heads {
		for _, newer := range heads[i:] {
			proof, err := auditlog.ProveConsistency(older, newer, l.hashes())
			require.NoError(t, err)
			require.NoError(t, auditlog.CheckConsistency(proof, older, newer))
		}
	}
	for _, pair := range [][2]auditlog.Checkpoint{
		{fork.heads[2], l.head()},
		{fork.head(), l.head()},
		{l.head(), l.heads[3]},
		{l.head(), empty},
	} {
		_, err := auditlog.ProveConsistency(pair[0], pair[1], l.hashes())
		got, ok := errors.AsType[*auditlog.HeadError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, pair[0].Head(), got.Outside)
		require.Equal(t, pair[1].Head(), got.Log)
		require.Equal(t, pair[0].Head().Size > pair[1].Head().Size, got.Ahead())
	}
	require.Error(t, auditlog.CheckConsistency(tlog.TreeProof{{}}, empty, l.head()))
}

// memAnchor keeps a head in memory.
type memAnchor struct {
	signed []byte
	puts   int
	err    error
}

func (a *memAnchor) Put(_ context.Context, c auditlog.Checkpoint) error {
	if a.err != nil {
		return a.err
	}
	a.signed = c.Signed()
	a.puts++
	return nil
}

func (a *memAnchor) Latest(context.Context) ([]byte, error) {
	if a.signed == nil {
		return nil, auditlog.ErrNoHead
	}
	return a.signed, a.err
}

func TestAnAnchorMovesOnAndNeverBack(t *testing.T) {
	key := newKey(t, origin)
	l := newLog(t, key)
	for range 4 {
		l.batch(5)
	}
	ctx, anchor := t.Context(), &memAnchor{}
	_, err := auditlog.CheckAnchor(ctx, anchor, l.head(), key.Verifier, l.hashes())
	require.ErrorIs(t, err, auditlog.ErrNoHead)
	for _, c := range l.heads[:3] {
		require.NoError(t, auditlog.AdvanceAnchor(ctx, anchor, c, key.Verifier, l.hashes()))
		require.NoError(t, auditlog.AdvanceAnchor(ctx, anchor, c, key.Verifier, l.hashes()))
	}
	require.Equal(t, 3, anchor.puts)
	kept, err := auditlog.CheckAnchor(ctx, anchor, l.head(), key.Verifier, l.hashes())
	require.NoError(t, err, "behind the log is normal")
	require.Equal(t, l.heads[2], kept)

	err = auditlog.AdvanceAnchor(ctx, anchor, l.heads[1], key.Verifier, l.hashes())
	got, ok := errors.AsType[*auditlog.HeadError](err)
	require.True(t, ok, "%v", err)
	require.True(t, got.Ahead(), "the log was rolled back")

	fork := newLog(t, key)
	for range 6 {
		fork.commit("1", "2", "3", "4", "5")
	}
	err = auditlog.AdvanceAnchor(ctx, anchor, fork.head(), key.Verifier, fork.hashes())
	got, ok = errors.AsType[*auditlog.HeadError](err)
	require.True(t, ok, "longer, and yet another history: %v", err)
	require.False(t, got.Ahead())

	_, err = auditlog.CheckAnchor(ctx, anchor, l.head(), newKey(t, origin).Verifier, l.hashes())
	require.ErrorIs(t, err, auditlog.ErrUnknownKey)
	require.Equal(t, 3, anchor.puts)

	anchor.err = errors.New("out of reach")
	require.ErrorIs(t, auditlog.AdvanceAnchor(ctx, anchor, l.head(), key.Verifier, l.hashes()), anchor.err)
}
