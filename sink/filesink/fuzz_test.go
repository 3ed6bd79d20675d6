package filesink_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
	"github.com/stretchr/testify/require"
)

// What the indexes read of a line is what the decoder reads of it.
func FuzzLineHeader(f *testing.F) {
	for _, r := range sinktest.Records(5) {
		f.Add(r.Bytes())
		for _, inputs := range []string{
			`{"correlationId":"01a2008c-1904-7029-9c10-e56d99689d5f"}`, `{"correlationId":1}`,
			`{"\"correlationId":"x"}`, `"\"correlationId\":\"x\""`, `["correlationId"]`, `{"correlationID":"x"}`,
		} {
			f.Add(bytes.Replace(r.Bytes(), []byte(`"what":{`), []byte(`"what":{"inputs":`+inputs+`,`), 1))
			f.Add(bytes.Replace(r.Bytes(), []byte(`"correlationId":`), []byte(`"more":`+inputs+`,"correlationId" : `), 1))
		}
	}
	for _, r := range sinktest.Records(1) { // in another order
		before, after, _ := bytes.Cut(r.Bytes(), []byte(`"type":`))
		typ, after, _ := bytes.Cut(after, []byte(`,`))
		f.Add(bytes.Join([][]byte{before, after[:len(after)-1], []byte(`,"type":`), typ, []byte(`}`)}, nil))
	}
	f.Add([]byte(`{"id":"\\","job":{"x":[{"id":"no"}]`))
	f.Add([]byte(`{ "job" : {"id":"x"} , "correlationId":1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		id, job, correlation := filesink.ReadLineHeader(line)
		r, err := jobaudit.ParseRecord(line)
		if err != nil {
			filesink.CorrelationOf(line)
			filesink.TellsOf(line)
			return // then they only must not panic
		}
		e := r.Event()
		require.Equal(t, e.ID, id)
		if bytes.Index(line, []byte(`"job":`)) < bytes.Index(line, []byte(`"correlationId":`)) { // as docs/format.md, F2 has it
			require.Equal(t, e.Job.ID, job)
		}
		of, execution, tells := filesink.TellsOf(line)
		if e.Type == jobaudit.JobStarted || e.Type == jobaudit.JobSubmitted || e.Type == jobaudit.JobHeartbeat {
			require.True(t, tells || e.Job.ID == uuid.Nil)
		}
		if tells {
			require.Equal(t, e.Job.ID, of)
			require.Equal(t, e.Job.ExecutionID, execution)
		}
		require.Equal(t, e.CorrelationID, correlation)
		require.Equal(t, e.CorrelationID, filesink.CorrelationOf(line))
		require.True(t, json.Valid(line))
	})
}

// An index file that is not one is an error and never an answer.
func FuzzIndex(f *testing.F) {
	var ids []uuid.UUID
	for _, r := range sinktest.Records(400) {
		ids = append(ids, r.ID())
	}
	key := newPlace(f).key
	good := filesink.EncodeIndex(ids, key)
	f.Add(good, uint(0), byte(0))
	f.Add(good[:4096], uint(0), byte(0))
	f.Add(good, uint(5000), byte(1))
	f.Add([]byte{}, uint(0), byte(0))
	f.Fuzz(func(t *testing.T, file []byte, at uint, flip byte) {
		file = bytes.Clone(file)
		if len(file) > 0 {
			file[at%uint(len(file))] ^= flip
		}
		for i, id := range ids[:50] {
			offsets, err := filesink.LookUp(file, id, key)
			if err == nil && bytes.Equal(file, good) {
				require.Equal(t, []uint32{uint32(i)}, offsets)
			}
			require.LessOrEqual(t, len(offsets), len(ids))
		}
	})
}

func TestAnIndexFindsEachOfItsEventsAndNoOther(t *testing.T) {
	var ids []uuid.UUID
	for _, r := range sinktest.Records(1000) {
		ids = append(ids, r.ID())
	}
	key := newPlace(t).key
	file := filesink.EncodeIndex(ids, key)
	for i, id := range ids {
		offsets, err := filesink.LookUp(file, id, key)
		require.NoError(t, err)
		require.Equal(t, []uint32{uint32(i)}, offsets)
	}
	offsets, err := filesink.LookUp(file, uuid.New(), key)
	require.NoError(t, err)
	require.Empty(t, offsets)
	file[5000]++
	_, err = filesink.LookUp(file, ids[0], key)
	require.Error(t, err)
}
