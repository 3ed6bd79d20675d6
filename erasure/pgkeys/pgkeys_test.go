package pgkeys_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/erasure"
	"github.com/jobaudit/jobaudit/erasure/pgkeys"
	"github.com/jobaudit/jobaudit/internal/tools/pgserver"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

var url string

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() { // on machines without PostgreSQL
		os.Exit(m.Run())
	}
	server, err := pgserver.Start(context.Background())
	if err != nil {
		panic(err)
	}
	url = server.URL("postgres")
	code := m.Run()
	if err := server.Stop(); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func needsServer(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it needs a PostgreSQL server of its own")
	}
}

func open(t *testing.T) *pgkeys.Keys {
	t.Helper()
	needsServer(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, pgkeys.Migrate(t.Context(), conn))
	require.NoError(t, conn.Close(t.Context()))
	keys, err := pgkeys.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keys.Close()) })
	return keys
}

func TestAKeyIsOneForAllProcessesAndGoneWhenErased(t *testing.T) {
	one, two := open(t), open(t)
	for _, subject := range []string{"ann", "NUL \x00", "'; DROP TABLE jobaudit_keys.keys; --", "\xff"} {
		s, err := erasure.Seal(one, subject, "Ann Example")
		require.NoError(t, err)
		text, err := erasure.Open(two, s.String())
		require.NoError(t, err)
		require.Equal(t, "Ann Example", text)
		a, err := one.SubjectKey(subject)
		require.NoError(t, err)
		b, err := two.SubjectKey(subject)
		require.NoError(t, err)
		require.Equal(t, a, b)

		ids, err := two.Erase(subject)
		require.NoError(t, err)
		require.Equal(t, []string{a.ID}, ids)
		_, err = erasure.Open(one, s.String())
		require.ErrorIs(t, err, erasure.ErrErased)
		ids, err = one.Erase(subject)
		require.NoError(t, err)
		require.Empty(t, ids)
		again, err := one.SubjectKey(subject)
		require.NoError(t, err)
		require.NotEqual(t, a, again, "a new key cannot read what is erased")
	}
	_, err := one.KeyByID("\x00")
	require.Error(t, err)
	_, err = erasure.Seal(one, "", "text")
	require.ErrorIs(t, err, erasure.ErrSubject)
}

func TestManyProcessesAgreeOnEachKeyWhileKeysAreErased(t *testing.T) {
	stores := []*pgkeys.Keys{open(t), open(t), open(t)}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			keys := stores[i%len(stores)]
			for n := range 20 {
				subject := fmt.Sprint("subject ", n%5)
				if i == 0 && n%4 == 0 {
					if _, err := keys.Erase(subject); err != nil {
						t.Error(err)
					}
				}
				if _, err := keys.SubjectKey(subject); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for n := range 5 {
		var all []erasure.Key
		for _, keys := range stores {
			key, err := keys.SubjectKey(fmt.Sprint("subject ", n))
			require.NoError(t, err)
			all = append(all, key)
		}
		require.Equal(t, all[0], all[1])
		require.Equal(t, all[0], all[2])
	}
}

func TestARecorderErasesAPerson(t *testing.T) {
	keys := open(t)
	sink := memsink.New(nil)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	name, err := erasure.Seal(keys, "customer-1", "Ann Q. Example")
	require.NoError(t, err)
	require.NoError(t, rec.Erase(t.Context(), keys, "customer-1", "ticket 4711"))
	_, err = erasure.Open(keys, name.String())
	require.ErrorIs(t, err, erasure.ErrErased)
	require.NoError(t, rec.Close(t.Context()))
}

func TestWithoutTheTableOpenFails(t *testing.T) {
	needsServer(t)
	_, err := pgkeys.Open(t.Context(), url+" dbname=template1")
	require.Error(t, err)
	_, err = pgkeys.Open(t.Context(), "nonsense")
	require.Error(t, err)
	require.Contains(t, pgkeys.MigrationSQL(), "jobaudit_keys.keys")
}

func TestADatabaseThatIsGoneIsAnErrorAndNoErasure(t *testing.T) {
	needsServer(t)
	keys, err := pgkeys.Open(t.Context(), url)
	require.NoError(t, err)
	require.NoError(t, keys.Close())
	_, err = keys.KeyByID("00")
	require.Error(t, err)
	require.NotErrorIs(t, err, erasure.ErrErased)
	_, err = keys.SubjectKey("ann")
	require.Error(t, err)
	_, err = keys.Erase("ann")
	require.Error(t, err)
}
