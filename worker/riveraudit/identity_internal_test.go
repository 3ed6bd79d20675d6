package riveraudit

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func carrier(t *testing.T) jobaudit.Carrier {
	t.Helper()
	rec, err := jobaudit.Open(t.Context(), memsink.New(nil), jobaudit.Source{System: "shop", Environment: "test"}, nil)
	require.NoError(t, err)
	trail, err := rec.Prepare(t.Context(), jobaudit.Submission{
		Action: "task", Principal: jobaudit.Principal{Kind: jobaudit.User, ID: "ada"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "a test"},
	})
	require.NoError(t, err)
	return trail.Carrier()
}

func TestTheCarrierTravelsBesideWhatTheMetadataHolds(t *testing.T) {
	c := carrier(t)
	for _, metadata := range []string{
		``, `null`, `{}`, ` { } `, `{"a":1}`, `{"a":{"jobaudit":"x"}}`, `{"jobaudit":"old","b":[1,{"c":"}"}]}`, `{"note":"jobaudit"}`,
	} {
		t.Run(metadata, func(t *testing.T) {
			got, err := withCarrier([]byte(metadata), c)
			require.NoError(t, err)
			fields := map[string]any{}
			require.NoError(t, json.Unmarshal(got, &fields))
			found, ok := carrierOf(got)
			require.True(t, ok)
			require.Equal(t, c.String(), found.String())
			if metadata != "" {
				before := map[string]any{}
				require.NoError(t, json.Unmarshal([]byte(metadata), &before))
				delete(before, metadataKey)
				delete(fields, metadataKey)
				require.Len(t, fields, len(before))
			}
		})
	}
	_, err := withCarrier([]byte(`[1]`), c)
	require.Error(t, err)
}

func TestMetadataOfOthersHasNoCarrier(t *testing.T) {
	for _, metadata := range []string{
		``, `{}`, `{"jobaudit":1}`, `{"jobaudit":"no carrier"}`, `{"a":{"jobaudit":"ja1.e30"}}`, `{"a":"jobaudit","b":"ja1.e30"}`, `{"jobaudit`, `{"jobaudit":`,
	} {
		_, ok := carrierOf([]byte(metadata))
		require.False(t, ok, metadata)
	}
}

func FuzzMember(f *testing.F) {
	for _, seed := range []string{`{"jobaudit": "x"}`, `{"a": {"jobaudit": "y"}, "jobaudit": "x"}`, `{"a": "\"", "jobaudit": "x\\"}`, `{"jobaudit": [1, "z"]}`, `{"\\": 1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		_, _ = member(object, metadataKey) // whatever it is
		fields := map[string]json.RawMessage{}
		if json.Unmarshal(object, &fields) != nil || len(fields) == 0 {
			return
		}
		// What PostgreSQL returns has no name twice.
		compact, err := json.Marshal(fields)
		require.NoError(t, err)
		value, ok := member(compact, metadataKey)
		raw := fields[metadataKey]
		require.Equal(t, len(raw) > 0 && raw[0] == '"', ok)
		if ok {
			reencoded, err := json.Marshal(raw)
			require.NoError(t, err)
			require.Equal(t, string(reencoded[1:len(reencoded)-1]), string(value))
		}
	})
}
