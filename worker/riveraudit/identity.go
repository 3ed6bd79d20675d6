package riveraudit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
)

// metadataKey is the one key that is ours in a River job's metadata. It holds a
// Carrier's text.
const metadataKey = "jobaudit"

// withCarrier returns metadata, which is a JSON object or empty, with c in it.
func withCarrier(metadata []byte, c jobaudit.Carrier) ([]byte, error) {
	text := c.String() // ASCII without quotation marks
	rest := bytes.TrimSpace(metadata)
	if len(rest) == 0 || bytes.Equal(rest, []byte("null")) {
		rest = []byte("{}")
	}
	if bytes.Contains(rest, []byte(metadataKey)) || rest[0] != '{' {
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal(rest, &fields); err != nil {
			return nil, fmt.Errorf("the job's metadata: %w", err)
		}
		fields[metadataKey] = json.RawMessage(strconv.Quote(text))
		return json.Marshal(fields)
	}
	rest = bytes.TrimLeft(rest[1:], " \t\r\n")
	out := make([]byte, 0, len(text)+len(rest)+len(metadataKey)+8)
	out = append(out, `{"`+metadataKey+`":"`...)
	out = append(append(out, text...), '"')
	if rest[0] != '}' {
		out = append(out, ',')
	}
	return append(out, rest...), nil
}

// carrierOf returns the Carrier in a River job's metadata; ok is false if there
// is none that can be read.
func carrierOf(metadata []byte) (c jobaudit.Carrier, ok bool) {
	text, ok := member(metadata, metadataKey)
	if !ok {
		return c, false
	}
	c, err := jobaudit.ParseCarrier(string(text))
	return c, err == nil
}

// member returns the string that stands under a name in a JSON object, as it is
// written there. The object is one that PostgreSQL has parsed; the string holds
// no escapes if it is a Carrier.
func member(object []byte, name string) (value []byte, ok bool) {
	depth, found := 0, false
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := stringEnd(object, i+1)
			if end < 0 {
				return nil, false
			}
			text := object[i+1 : end]
			if i = end; found {
				return text, depth == 1
			}
			if depth == 1 && string(text) == name {
				rest := bytes.TrimLeft(object[end+1:], " ")
				found = len(rest) > 0 && rest[0] == ':'
			}
		case ',':
			found = false // its value is no string
		}
	}
	return nil, false
}

// stringEnd returns where the JSON string ends whose content begins at i, or -1.
func stringEnd(text []byte, i int) int {
	for i < len(text) {
		n := bytes.IndexAny(text[i:], `"\`)
		if n < 0 {
			return -1
		}
		if i += n; text[i] == '"' {
			return i
		}
		i += 2
	}
	return -1
}

// foundID is the ID of a job that is in River's table and was never submitted
// through us. Each process that finds it gives it the same one. The time of its creation
// tells it from a job with its number in a table that was created again.
func (a *Audit) foundID(job *rivertype.JobRow) uuid.UUID {
	return derivedID("job", a.opts.System, strconv.FormatInt(job.ID, 10), job.CreatedAt.UTC().Format(time.RFC3339Nano))
}

// retryID is the ID of the job that takes the place of one that had ended when
// River was asked to run it again.
func retryID(ended uuid.UUID) uuid.UUID { return derivedID("retry", ended.String()) }

// derivedID is a UUIDv8 of its parts.
func derivedID(parts ...string) uuid.UUID {
	sum := sha256.Sum256([]byte("jobaudit river\n" + strings.Join(parts, "\n")))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // the variant of RFC 9562
	return id
}

// queueRef is how the record names a job of River's table from its first start.
func (a *Audit) queueRef(job *rivertype.JobRow) jobaudit.Ref {
	return jobaudit.Ref{System: a.opts.System, ID: strconv.FormatInt(job.ID, 10)}
}

// inputsOf returns a job's arguments as inputs.
func inputsOf(args []byte) any {
	if len(args) == 0 {
		return nil
	}
	return json.RawMessage(args)
}

// opened is a Trail for a job of River's table.
type opened struct {
	trail    *jobaudit.Trail
	carrier  jobaudit.Carrier // that the row holds; empty if found
	found    bool             // the job was never submitted through us: the Trail is a prepared one
	inserted time.Time        // when the job was inserted; zero if River does not tell
	retried  *jobaudit.Trail  // of the ended job whose place it takes, if it does
}

func (a *Audit) open(ctx context.Context, job *rivertype.JobRow) (o opened, err error) {
	o.inserted = job.CreatedAt
	if c, ok := carrierOf(job.Metadata); ok {
		o.carrier = c
		o.trail, err = a.rec.Resume(ctx, c, inputsOf(job.EncodedArgs))
		return o, err
	}
	o.found = true
	o.trail, err = a.rec.Prepare(ctx, jobaudit.Submission{
		ID: a.foundID(job), Action: job.Kind, Inputs: inputsOf(job.EncodedArgs), Principal: a.opts.Service,
		Trigger: jobaudit.Trigger{
			Kind:   jobaudit.OnEvent,
			Reason: "found in River's table without an audit record, created there at " + job.CreatedAt.UTC().Format(time.RFC3339),
		},
		Queue: a.queueRef(job), Detached: true,
	})
	return o, err
}

// claimedID is submittedID, also if the row's Carrier is refused.
func (a *Audit) claimedID(job *rivertype.JobRow) uuid.UUID {
	if c, ok := carrierOf(job.Metadata); ok {
		return c.JobID()
	}
	return a.foundID(job)
}

// submittedID returns the ID under which a job of River's table was submitted.
// Each caller gets the same one.
func (a *Audit) submittedID(ctx context.Context, job *rivertype.JobRow) (uuid.UUID, error) {
	if c, ok := carrierOf(job.Metadata); ok {
		trail, err := a.rec.Resume(ctx, c, nil)
		if err != nil {
			return uuid.Nil, err
		}
		return trail.JobID(), nil
	}
	return a.foundID(job), nil
}

// JobID returns the ID of the job that is on record for a row of River's table.
// If that job had ended when River was asked to run it again, it is the ID of
// the job that took its place, as far as the logs tell.
func (a *Audit) JobID(ctx context.Context, job *rivertype.JobRow) (uuid.UUID, error) {
	if a.logs.None() {
		return a.submittedID(ctx, job)
	}
	s, err := a.read(ctx, job)
	if err != nil {
		return uuid.Nil, err
	}
	return s.trail.JobID(), nil
}
