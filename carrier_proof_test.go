package jobaudit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// withKeys opens a recorder that has these carrier keys, by ID, and signs with the
// first.
func withKeys(t testing.TB, sink jobaudit.AuditSink, proof bool, ids ...string) *jobaudit.Recorder {
	t.Helper()
	opts := &jobaudit.Options{Heartbeat: -1, RequireCarrierProof: proof, CarrierKeys: map[string][]byte{}}
	for _, id := range ids {
		opts.CarrierKeys[id] = secret(id[len(id)-1])
		opts.CarrierKey = ids[0]
	}
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, opts)
	require.NoError(t, err)
	return r
}

func carried(t testing.TB, r *jobaudit.Recorder) jobaudit.Carrier {
	t.Helper()
	s := goldenSubmission()
	s.ID = uuid.Nil
	trail, err := r.Submit(t.Context(), s)
	require.NoError(t, err)
	return trail.Carrier()
}

// mutated returns the text with one fault of a kind that queues, and people who
// copy, make.
func mutated(rng *rand.Rand, text string) string {
	b := []byte(text)
	at := rng.IntN(len(b))
	switch rng.IntN(9) {
	case 0: // a bit
		b[at] ^= 1 << rng.IntN(8)
	case 1: // a byte
		b[at] = byte(rng.IntN(256))
	case 2: // a letter that could stand there
		b[at] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."[rng.IntN(65)]
	case 3: // the end is missing
		b = b[:at]
	case 4: // the beginning is missing
		b = b[at+1:]
	case 5: // something in the middle is missing
		b = append(b[:at:at], b[min(at+1+rng.IntN(8), len(b)):]...)
	case 6: // something stands twice
		b = append(b[:at:at], b[max(at-1-rng.IntN(8), 0):]...)
	case 7: // two are swapped
		other := rng.IntN(len(b))
		b[at], b[other] = b[other], b[at]
	case 8: // the case of the letters
		b = bytes.ToLower(b)
	}
	return string(b)
}

// One in nine damaged Carriers was accepted once, as another job's.
func TestNoDamagedCarrierIsAccepted(t *testing.T) {
	sink := memsink.New(nil)
	rng := rand.New(rand.NewPCG(18, 5))
	var texts []string
	for _, r := range []*jobaudit.Recorder{withKeys(t, sink, false), withKeys(t, sink, false, "k1")} {
		texts = append(texts, carried(t, r).String())
		s := plainSubmission()
		trail, err := r.Submit(t.Context(), s)
		require.NoError(t, err)
		texts = append(texts, trail.Carrier().String())
	}
	mutations, same, enough := 0, 0, size.Times(50_000, 5_000)
	for mutations < enough {
		text := texts[rng.IntN(len(texts))]
		bad := mutated(rng, text)
		if bad == text {
			same++
			continue
		}
		mutations++
		if c, err := jobaudit.ParseCarrier(bad); err == nil {
			t.Fatalf("a damaged Carrier is accepted:\n%s\n%s", text, c)
		}
	}
	t.Logf("%d damaged Carriers, 0 accepted", mutations)
}

func TestASignedCarrierProvesWhoMadeIt(t *testing.T) {
	sink := memsink.New(nil)
	web, worker := withKeys(t, sink, false, "k1"), withKeys(t, sink, true, "k1")
	c := carried(t, web)
	trail, err := worker.Resume(t.Context(), c, nil)
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	require.NoError(t, trail.Succeed(t.Context()))
	events := sink.Trail(trail.JobID())
	for _, e := range events[1:] {
		require.Equal(t, "k1", e.Who.Proof.Carrier)
		require.Equal(t, events[0].Stream.ID, e.Who.Proof.Submission, "it names the stream of the submission")
		require.False(t, e.Who.Principal.Verified, "it stays a claim, of a holder of the key")
	}
	require.Zero(t, events[0].Who.Proof)

	// And so does the next worker's, which the queue got from this one.
	next, err := worker.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, next.CancelBy(t.Context(), auditor, "no longer wanted"), "in another process's eyes it still runs")
	last := sink.Trail(trail.JobID())
	require.Zero(t, last[len(last)-1].Who.Proof, "who cancels speaks for themselves")
}

func TestAProofIsWrittenAsItsGoldenFileSays(t *testing.T) {
	jobaudit.WithoutEnvironment(t)
	sink := memsink.New(nil)
	r, err := jobaudit.Open(t.Context(), sink, goldenSource, &jobaudit.Options{
		Heartbeat: -1, Now: ticking(), NewID: counted(), CarrierKeys: map[string][]byte{"2026-1": secret(1)},
	})
	require.NoError(t, err)
	trail, err := r.Resume(t.Context(), carried(t, r), goldenSubmission().Inputs)
	require.NoError(t, err)
	require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
	record, err := sink.Wait(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobStarted}})
	require.NoError(t, err)
	jobaudit.Golden(t, "acts/job.started.json", append(record.Bytes(), '\n'))
}

// forged changes what a Carrier says and corrects the checksum, as anyone who writes
// to the queue can.
func forged(c jobaudit.Carrier, from, to string) string {
	parts := strings.Split(c.String(), ".")
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
	parts[1] = base64.RawURLEncoding.EncodeToString(bytes.ReplaceAll(raw, []byte(from), []byte(to)))
	return resealed(parts[:len(parts)-1])
}

func resealed(parts []string) string {
	text := strings.Join(parts, ".")
	sum := sha256.Sum256([]byte("jobaudit carrier\n" + text))
	return text + "." + base64.RawURLEncoding.EncodeToString(sum[:9])
}

func TestWhoWritesToTheQueueCannotSpeakForAnotherTenant(t *testing.T) {
	sink := memsink.New(nil)
	web, worker, lenient := withKeys(t, sink, false, "k1"), withKeys(t, sink, true, "k1"), withKeys(t, sink, false, "k1")
	c := carried(t, web)
	parts := strings.Split(c.String(), ".")
	for name, text := range map[string]string{
		"another principal":           forged(c, `"u-1"`, `"root@corp"`),
		"another tenant":              forged(c, `"acme"`, `"victim"`),
		"another key's name":          resealed([]string{parts[0], parts[1], "k2", parts[3]}),
		"a MAC of nothing":            resealed([]string{parts[0], parts[1], parts[2], "AAAAAAAAAAAAAAAAAAAAAA"}),
		"no signature":                resealed(parts[:2]),
		"the form without a checksum": "ja1." + parts[1],
		"a program without a key":     carried(t, withKeys(t, sink, false)).String(),
		"a program with another key":  carried(t, withKeys(t, sink, false, "k9")).String(),
	} {
		parsed, err := jobaudit.ParseCarrier(text)
		require.NoError(t, err, name)
		_, err = worker.Resume(t.Context(), parsed, nil)
		requireField(t, err, "carrier")

		trail, err := lenient.Resume(t.Context(), parsed, nil)
		if err != nil {
			requireField(t, err, "carrier")
			continue
		}
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		events := sink.Trail(trail.JobID())
		require.Zero(t, events[len(events)-1].Who.Proof, "%s: where it is accepted it proves nothing", name)

		// What proves nothing is not signed on its way to the next queue.
		again, err := jobaudit.ParseCarrier(trail.Carrier().String())
		require.NoError(t, err)
		_, err = worker.Resume(t.Context(), again, nil)
		requireField(t, err, "carrier")
	}
	for _, text := range []string{forged(c, `"u-1"`, `"root@corp"`), forged(c, `"acme"`, `"victim"`)} {
		parsed, err := jobaudit.ParseCarrier(text)
		require.NoError(t, err)
		_, err = lenient.Resume(t.Context(), parsed, nil)
		requireField(t, err, "carrier")
	}
}

func TestCarrierKeysRotate(t *testing.T) {
	sink := memsink.New(nil)
	before, between, after := withKeys(t, sink, true, "k1"), withKeys(t, sink, true, "k2", "k1"), withKeys(t, sink, true, "k2")
	old, young := carried(t, before), carried(t, between)
	for _, c := range []jobaudit.Carrier{old, young} {
		_, err := between.Resume(t.Context(), c, nil)
		require.NoError(t, err)
	}
	_, err := after.Resume(t.Context(), young, nil)
	require.NoError(t, err)
	_, err = after.Resume(t.Context(), old, nil)
	requireField(t, err, "carrier")
}

func TestCarriersOfTheFirstFormStillOpen(t *testing.T) {
	c, err := jobaudit.ParseCarrier(packed(leastCarrier))
	require.NoError(t, err)
	sink := memsink.New(nil)
	_, err = withKeys(t, sink, false, "k1").Resume(t.Context(), c, nil)
	require.NoError(t, err)
	_, err = withKeys(t, sink, true, "k1").Resume(t.Context(), c, nil)
	requireField(t, err, "carrier")
}

// What a reader found in the log did not come through a queue.
func TestARecordsCarrierIsAcceptedWhereProofIsRequired(t *testing.T) {
	sink := memsink.New(nil)
	r := withKeys(t, sink, true, "k1")
	c := carried(t, r)
	for record, err := range sink.Records(t.Context(), jobaudit.Query{Types: []jobaudit.EventType{jobaudit.JobSubmitted}}) {
		require.NoError(t, err)
		trail, err := r.Resume(t.Context(), record.Carrier(), nil)
		require.NoError(t, err)
		require.NoError(t, trail.Start(t.Context(), jobaudit.Execution{}))
		again, err := jobaudit.ParseCarrier(record.Carrier().String())
		require.NoError(t, err)
		_, err = r.Resume(t.Context(), again, nil)
		requireField(t, err, "carrier")
	}
	require.NotEmpty(t, c.String())
}

func TestCarrierKeysThatAreNoneAreRefused(t *testing.T) {
	for field, opts := range map[string]*jobaudit.Options{
		"Options.CarrierKeys":         {CarrierKeys: map[string][]byte{"k1": secret(1)[:31]}},
		"Options.CarrierKey":          {CarrierKeys: map[string][]byte{"k1": secret(1), "k2": secret(2)}},
		"Options.RequireCarrierProof": {RequireCarrierProof: true},
	} {
		_, err := jobaudit.Open(t.Context(), memsink.New(nil), goldenSource, opts)
		requireField(t, err, field)
	}
	for _, id := range []string{"", "a.b", "a b", "\n", strings.Repeat("k", 33), "é"} {
		_, err := jobaudit.Open(t.Context(), memsink.New(nil), goldenSource, &jobaudit.Options{CarrierKeys: map[string][]byte{id: secret(1)}})
		requireField(t, err, "Options.CarrierKeys")
	}
}

// It took twelve seconds for 5,000 principals once, and had no end for an action
// of 4,000 bytes.
func TestACarrierIsBoundedBeforeItIsMade(t *testing.T) {
	sink := memsink.New(nil)
	r := withKeys(t, sink, false, "k1")
	s := plainSubmission()
	for range 50_000 {
		s.OnBehalfOf = append(s.OnBehalfOf, jobaudit.Principal{Kind: jobaudit.Service, ID: strings.Repeat("p", 256)})
	}
	trail, err := r.Submit(t.Context(), s)
	require.NoError(t, err)
	require.Less(t, testing.AllocsPerRun(1, func() { trail.Carrier() }), 2_000.0)
	resumed, err := r.Resume(t.Context(), trail.Carrier(), nil)
	require.NoError(t, err)
	require.NoError(t, resumed.Start(t.Context(), jobaudit.Execution{}))
	events := sink.Trail(trail.JobID())
	e := events[len(events)-1]
	require.EqualValues(t, 50_000, int64(len(e.Who.OnBehalfOf))+e.Who.More, "none is forgotten uncounted")
}

func TestACarrierOfAJobInsideAJobIsSigned(t *testing.T) {
	sink := memsink.New(nil)
	r := withKeys(t, sink, true, "k1")
	require.NoError(t, r.Run(t.Context(), plainSubmission(), func(ctx context.Context) error {
		child, err := r.Submit(ctx, plainSubmission())
		require.NoError(t, err)
		_, err = r.Resume(t.Context(), child.Carrier(), nil)
		return err
	}))
}
