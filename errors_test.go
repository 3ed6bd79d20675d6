package jobaudit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func TestAConstantTextStaysThoughTheCauseIsDropped(t *testing.T) {
	const secret = "s3cr3t-x7y8z9"
	sink := memsink.New(nil)
	rec, err := jobaudit.Open(t.Context(), sink, jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	s := jobaudit.Submission{
		Action: "ship", Inputs: []jobaudit.Secret[string]{jobaudit.NewSecret(secret)}, Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "ordered"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "customer-1"},
	}
	cause := errors.New("login with " + secret)
	fail := func(fn func() error) jobaudit.ErrorDetail {
		s.ID[0]++
		s.ID[6], s.ID[8] = 0x70, 0x80
		require.Panics(t, func() {
			err := rec.Run(t.Context(), s, func(context.Context) error { return fn() })
			panic(err)
		})
		sink.ExpectAbsent(t, secret)
		for r, err := range sink.Records(t.Context(), jobaudit.Query{JobID: s.ID, Types: []jobaudit.EventType{jobaudit.JobFailed}}) {
			require.NoError(t, err)
			return *r.Event().Data.Error
		}
		return jobaudit.ErrorDetail{}
	}
	refused := jobaudit.ConstantError("the shop refused", cause)
	require.ErrorIs(t, refused, cause)
	require.Equal(t, "the shop refused: login with "+secret, refused.Error())
	detail := fail(func() error { return fmt.Errorf("%s: %w", secret, refused) })
	require.Equal(t, "the shop refused", detail.Message)
	require.Equal(t, "*errors.errorString", detail.Type)
	require.Equal(t, "the shop refused", fail(func() error { panic(refused) }).Message)
	require.NotContains(t, fail(func() error { return cause }).Message, "shop")
	require.Equal(t, "nothing to hide", fail(func() error { return jobaudit.ConstantError("nothing to hide", nil) }).Message)
}

// Who sends records again unless a sink refuses them must not take a record
// that could not be read for a refusal.
func TestAnUnreadableRecordIsNoRefusal(t *testing.T) {
	_, parse := jobaudit.ParseRecord([]byte(`{"schemaVersion":"1.0.0","time":0}`))
	require.Error(t, parse)
	var err error = &jobaudit.UnreadableError{Place: "entries/0.jsonl line 3", Err: parse}
	require.ErrorContains(t, err, "entries/0.jsonl line 3")
	_, refused := errors.AsType[*jobaudit.RecordError](err)
	require.False(t, refused)
	field, ok := errors.AsType[*jobaudit.FieldError](err)
	require.True(t, ok)
	require.Equal(t, "time", field.Field)
	require.NotErrorIs(t, err, jobaudit.ErrConflict)
}
