package jobaudit

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/delivery"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)

func testID(n byte) uuid.UUID {
	id := uuid.MustParse("01980000-0000-7000-8000-000000000000")
	id[15] = n
	return id
}

func testSubmission() Submission {
	return Submission{
		Action: "sweep", Principal: Principal{Kind: Service, ID: "watchdog", Verified: true},
		OnBehalfOf: []Principal{{Kind: User, ID: "u-1"}},
		Trigger:    Trigger{Kind: OnEvent, Reason: "no sign of life"},
	}
}

// testEnvelope is what the events of a small job have in common.
func testEnvelope() *envelope { return envelopeOf(testSubmission()) }

func envelopeOf(s Submission) *envelope {
	env := &envelope{jobID: testID(1), rootID: testID(1), correlationID: testID(1), requestID: testID(1)}
	env.describe(&s, Source{System: "deployer", Environment: "test", Host: "host-1", Instance: "deployer-1", Version: "v1.2.3"},
		(*Registry)(nil).sanitizer("sweep"))
	return env
}

// minted returns the draft as the first record of a stream.
func minted(env *envelope, d draft) Record {
	r, _, _ := env.encode(&d).Place(delivery.Position{Stream: testID(0xf0), Seq: 1}, nil)
	return r
}

// rareDrafts are drafts of the types that take a failure to be written, or
// another author than a Recorder.
func rareDrafts() map[EventType]draft {
	base := draft{
		id: testID(2), time: testTime, state: Running, attempt: 2, executionID: testID(3), causationID: testID(4),
	}
	drafts := map[EventType]draft{}
	add := func(typ EventType, change func(*draft)) {
		d := base
		d.typ = typ
		change(&d)
		drafts[typ] = d
	}
	verdict := uuid.MustParse("01980000-0000-8000-8000-000000000005")
	add(AttemptLost, func(d *draft) {
		d.id = verdict
		d.queue = Ref{System: "river", ID: "42"}
		d.data.err = &errorData{code: CodeAbandoned, message: text{value: "no sign of life within the announced deadline"}}
		d.data.evidence = &evidenceData{
			last: testID(4), lastType: JobLogged, lastTime: testTime.Add(-90 * time.Second),
			heartbeat: testID(9), heartbeatTime: testTime.Add(-100 * time.Second), deadline: testTime.Add(-10 * time.Second),
			stream: testID(0xf1), host: "host-2", instance: "deployer-7",
		}
	})
	add(AttemptLate, func(d *draft) {
		d.state = Success
		d.data.err = &errorData{code: CodeError, message: text{value: "HTTP 502"}, typ: "*url.Error"}
	})
	add(AuditLost, func(d *draft) {
		d.data.lost = &lostData{
			count: 12, types: []EventType{JobLogged, JobHeartbeat}, from: testTime, to: testTime.Add(time.Second),
		}
	})
	add(AuditDegraded, func(d *draft) {
		d.state = ""
		d.data.degraded = &degradedData{stream: testID(6), event: testID(7), count: 2, reason: text{value: "conflict"}}
	})
	add(AuditProbed, func(d *draft) { d.state = "" })
	return drafts
}

// rareEnvelope is the envelope for a rare draft.
func rareEnvelope(typ EventType) *envelope {
	env := testEnvelope()
	if typ == AuditDegraded || typ == AuditProbed {
		r := &Recorder{incarnation: testID(0xf0), where: Source{
			System: "deployer", Environment: "test", Host: "host-1", Instance: "deployer-1", Version: "v1.2.3",
		}, sanitizer: (*Registry)(nil).sanitizer("")}
		env = r.envelope(typ)
	}
	return env
}

func TestRareTypesAreWrittenAsTheirGoldenFilesSay(t *testing.T) {
	for typ, d := range rareDrafts() {
		t.Run(string(typ), func(t *testing.T) {
			if typ == AuditDegraded || typ == AuditProbed {
				d.attempt, d.executionID, d.causationID = 0, uuid.Nil, uuid.Nil
			}
			Golden(t, "events/"+string(typ)+".json", append(minted(rareEnvelope(typ), d).Bytes(), '\n'))
		})
	}
}

func TestEveryTypeHasAGoldenFile(t *testing.T) {
	want := []EventType{AuditOpened, AuditClosed, AuditPolicy, AuditDegraded, AuditErased, AuditProbed}
	want = slices.AppendSeq(want, maps.Keys(transitions))
	require.ElementsMatch(t, want, slices.Collect(maps.Keys(goldenRecords(t))))
}
