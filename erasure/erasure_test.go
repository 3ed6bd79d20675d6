package erasure_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/erasure"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// stores returns an empty store of each kind.
func stores(t *testing.T) map[string]erasure.KeyStore {
	files, err := erasure.OpenFileKeys(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, files.Close()) })
	return map[string]erasure.KeyStore{"memory": new(erasure.MemoryKeys), "files": files}
}

func TestWhatIsSealedIsReadWithTheKeyAndNotWithoutIt(t *testing.T) {
	for name, keys := range stores(t) {
		t.Run(name, func(t *testing.T) {
			a, err := erasure.Seal(keys, "ann", "Ann Example")
			require.NoError(t, err)
			b, err := erasure.Seal(keys, "ann", "Ann Example")
			require.NoError(t, err)
			bob, err := erasure.Seal(keys, "bob", "Ann Example")
			require.NoError(t, err)
			require.NotEqual(t, a, b, "equal texts do not look equal")
			require.NotContains(t, a.String(), "Ann")
			for _, s := range []erasure.Sealed{a, b, bob} {
				text, err := erasure.Open(keys, s.String())
				require.NoError(t, err)
				require.Equal(t, "Ann Example", text)
			}

			ids, err := keys.Erase("ann")
			require.NoError(t, err)
			require.Len(t, ids, 1)
			require.Contains(t, a.String(), ids[0])
			for _, s := range []erasure.Sealed{a, b} {
				_, err = erasure.Open(keys, s.String())
				require.ErrorIs(t, err, erasure.ErrErased)
			}
			_, err = erasure.Open(keys, bob.String())
			require.NoError(t, err)
			ids, err = keys.Erase("ann")
			require.NoError(t, err)
			require.Empty(t, ids)
			again, err := erasure.Seal(keys, "ann", "Ann")
			require.NoError(t, err, "who comes back gets another key")
			require.NotContains(t, again.String(), strings.Split(a.String(), ":")[2])
		})
	}
}

func TestASealedValueThatWasChangedIsNotOpened(t *testing.T) {
	keys := new(erasure.MemoryKeys)
	s, err := erasure.Seal(keys, "ann", "Ann Example")
	require.NoError(t, err)
	other, err := erasure.Seal(keys, "bob", "Bob Example")
	require.NoError(t, err)
	parts, others := strings.Split(s.String(), ":"), strings.Split(other.String(), ":")
	swapped := strings.Join([]string{parts[0], parts[1], others[2], parts[3]}, ":")
	for _, bad := range []string{"", "sealed:1:", "sealed:1:x:y", swapped, s.String()[:len(s.String())-1], s.String() + "A", strings.Replace(s.String(), ":1:", ":2:", 1), "Ann"} {
		_, err := erasure.Open(keys, bad)
		require.ErrorIs(t, err, erasure.ErrMalformed, "%q", bad)
	}
	changed := []byte(s.String())
	changed[len(changed)-10] ^= 1
	_, err = erasure.Open(keys, string(changed))
	require.Error(t, err)
}

func TestACredentialIsNeverSealed(t *testing.T) {
	_, err := erasure.Seal(new(erasure.MemoryKeys), "ann", "gh"+"p_"+strings.Repeat("aB3dE6gH9", 4))
	require.ErrorIs(t, err, erasure.ErrCredential)
}

func TestKeysInFilesSurviveAndAreSharedAndAreGoneWhenErased(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	one, err := erasure.OpenFileKeys(dir)
	require.NoError(t, err)
	s, err := erasure.Seal(one, "ann", "Ann")
	require.NoError(t, err)
	two, err := erasure.OpenFileKeys(dir)
	require.NoError(t, err)
	a, err := one.SubjectKey("ann")
	require.NoError(t, err)
	b, err := two.SubjectKey("ann")
	require.NoError(t, err)
	require.Equal(t, a, b)
	bob, err := two.SubjectKey("bob")
	require.NoError(t, err)
	same, err := one.SubjectKey("bob")
	require.NoError(t, err)
	require.Equal(t, bob, same, "a key that another process made")

	info, err := os.Stat(filepath.Join(dir, a.ID+".key"))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	_, err = two.Erase("ann")
	require.NoError(t, err)
	_, err = erasure.Open(one, s.String())
	require.ErrorIs(t, err, erasure.ErrErased)
	fresh, err := one.SubjectKey("ann")
	require.NoError(t, err)
	require.NotEqual(t, a.ID, fresh.ID, "an erased key does not come back from memory")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "zz.key"), []byte("{"), 0o600))
	_, err = erasure.OpenFileKeys(dir)
	require.ErrorContains(t, err, "damaged")
	require.NoError(t, one.Close())
	_, err = one.SubjectKey("carl")
	require.Error(t, err)
	_, err = erasure.Seal(one, "carl", "Carl")
	require.Error(t, err)
	require.NoError(t, two.Close())
}

func TestOneStoreServesManyGoroutines(t *testing.T) {
	for _, keys := range stores(t) {
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for range 5 {
					s, err := erasure.Seal(keys, fmt.Sprint("subject ", i%4), "text")
					if err != nil {
						t.Error(err)
					}
					if _, err := erasure.Open(keys, s.String()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
}

type order struct{ ID, Customer, Name string }

type keptOrder struct {
	ID   string
	Name erasure.Sealed
}

func TestAnErasedPersonIsUnreadableAndEveryHashStillVerifies(t *testing.T) {
	keys := new(erasure.MemoryKeys)
	g, err := jobaudit.NewRegistry(nil, jobaudit.NewRedactor("ship", "1", jobaudit.Inputs(func(in order) (keptOrder, error) {
		name, err := erasure.Seal(keys, in.Customer, in.Name)
		return keptOrder{in.ID, name}, err
	})))
	require.NoError(t, err)
	sink := memsink.New(nil)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, &jobaudit.Options{Redactors: g})
	require.NoError(t, err)
	name, err := erasure.Seal(keys, "customer-1", "Ann Q. Example")
	require.NoError(t, err)
	s := jobaudit.Submission{
		Action: "ship", Inputs: order{"o-1", "customer-1", "Ann Q. Example"}, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "ordered"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "customer-1", Name: name.String()},
	}
	require.NoError(t, rec.Run(t.Context(), s, func(ctx context.Context) error {
		job, _ := jobaudit.FromContext(ctx)
		job.Log(ctx, "for Ann Q. Example")
		return nil
	}))
	sealed := func() (all []string) {
		for r, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}) {
			require.NoError(t, err)
			again, err := jobaudit.ParseRecord(r.Bytes())
			require.NoError(t, err)
			require.Equal(t, r.Hash(), again.Hash())
			e := r.Event()
			inputs := string(e.What.Inputs)
			all = append(all, e.Who.Principal.Name, inputs[strings.Index(inputs, "sealed:"):len(inputs)-2])
		}
		return all
	}
	require.Len(t, sealed(), 2)
	for _, value := range sealed() {
		text, err := erasure.Open(keys, value)
		require.NoError(t, err)
		require.Equal(t, "Ann Q. Example", text)
	}
	require.NoError(t, rec.Erase(t.Context(), keys, "customer-1", "asked for by customer-1"))
	for _, value := range sealed() {
		_, err := erasure.Open(keys, value)
		require.ErrorIs(t, err, erasure.ErrErased)
	}
	require.NoError(t, rec.Close(t.Context()))
	require.ErrorIs(t, rec.Erase(t.Context(), keys, "customer-1", ""), jobaudit.ErrClosed)
	sink.ExpectAbsent(t, "Ann Q. Example")
	for r := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditErased}}) {
		e := r.Event()
		require.Len(t, e.Data.Erased.Keys, 1)
		require.Contains(t, name.String(), e.Data.Erased.Keys[0])
		require.NotContains(t, string(r.Bytes()), "customer-1", "not even in the reason")
	}
}

func TestWhatCouldNotBeErasedOrReadIsNotSealed(t *testing.T) {
	for name, keys := range stores(t) {
		_, err := erasure.Seal(keys, "", "Ann Example")
		require.ErrorIs(t, err, erasure.ErrSubject, name)
		for _, size := range []int{709, 1_000, 100_000} {
			_, err = erasure.Seal(keys, "ann", strings.Repeat("é ", size/2+1))
			require.ErrorIs(t, err, erasure.ErrTooLong, name)
		}
		s, err := erasure.Seal(keys, "ann", strings.Repeat("a ", 354))
		require.NoError(t, err)
		require.LessOrEqual(t, len(s.String()), 1_024)
	}
}

// A short subject stands in other words by chance.
func TestTheReasonOfAnErasureIsKeptIfItOnlyLooksLikeTheSubject(t *testing.T) {
	for _, c := range []struct {
		subject, reason string
		kept            bool
	}{
		{"7", "ticket 4711", true}, {"42", "GDPR art. 17, request 1427", true}, {"ann", "as planned, ticket 4711", true}, {"4711", "ticket 47110", true}, {"bob", "bobsleigh", true},
		{"7", "ticket 7", false}, {"42", "id=42&x", false}, {"ann", "asked by Ann.", false}, {"4711", "ticket 4711, done", false}, {"bob", "user:BOB", false}, {"é", "é", false}, {"ann-1", "for (ANN-1)", false},
	} {
		sink := memsink.New(nil)
		rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
		require.NoError(t, err)
		require.NoError(t, rec.Erase(t.Context(), new(erasure.MemoryKeys), c.subject, c.reason))
		require.NoError(t, rec.Close(t.Context()))
		for r := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.AuditErased}}) {
			require.Equal(t, c.kept, strings.Contains(string(r.Bytes()), c.reason), "%q %q", c.subject, c.reason)
		}
	}
}

// The reason of an erasure tells neither who it was about nor what was sealed.
func TestTheReasonOfAnErasureTellsNothingOfTheSubject(t *testing.T) {
	const subject = "customer-4711-x"
	for _, around := range []string{"asked by %s", "ASKED BY %s", "see ?id=%s", "%s"} {
		for _, form := range []string{subject, strings.ToUpper(subject), base64.StdEncoding.EncodeToString([]byte(subject)), hex.EncodeToString([]byte(subject)), "sealed"} {
			keys := new(erasure.MemoryKeys)
			name, err := erasure.Seal(keys, subject, "Ann Example")
			require.NoError(t, err)
			if form == "sealed" {
				form = name.String()
			}
			sink := memsink.New(nil)
			rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
			require.NoError(t, err)
			require.NoError(t, rec.Erase(t.Context(), keys, subject, fmt.Sprintf(around, form)))
			require.Error(t, rec.Erase(t.Context(), keys, "", "ticket 4711"))
			require.NoError(t, rec.Close(t.Context()))
			sink.ExpectAbsent(t, form)
		}
	}
}
