package watchdog_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// stamp is the form of times in events.
const stamp = "2006-01-02T15:04:05.000000Z"

// author writes the events of one execution of one job by hand, so that what a
// worker has written can be kept from the log, and its clock be wrong.
type author struct {
	stream, job, execution uuid.UUID
	org                    string
	id                     uuid.UUID // of the next event; default: a new one

	seq  int
	prev jobaudit.Hash
}

func newAuthor() *author {
	return &author{stream: uuid.Must(uuid.NewV7()), job: uuid.Must(uuid.NewV7()), execution: uuid.Must(uuid.NewV7()), org: "acme"}
}

// next returns the record of the stream's next event. data is JSON, or empty.
func (a *author) next(at time.Time, typ jobaudit.EventType, state jobaudit.JobState, data string) jobaudit.Record {
	var b strings.Builder
	id := a.id
	if id == uuid.Nil {
		id = uuid.Must(uuid.NewV7())
	}
	fmt.Fprintf(&b, `{"schemaVersion":"1.0.0","id":"%s","type":"%s","phase":"%s","time":"%s","stream":{"id":"%s","seq":%d`,
		id, typ, typ.Phase(), at.UTC().Format(stamp), a.stream, a.seq+1)
	if a.seq > 0 {
		fmt.Fprintf(&b, `,"prev":"%s"`, a.prev)
	}
	fmt.Fprintf(&b, `},"job":{"id":"%s","state":"%s","attempt":1`, a.job, state)
	inputs := `,"inputs":null`
	if typ != jobaudit.JobSubmitted {
		inputs = ""
		fmt.Fprintf(&b, `,"executionId":"%s"`, a.execution)
	}
	fmt.Fprintf(&b, `,"rootId":"%s"},"correlationId":"%s","requestId":"%s"`, a.job, a.job, a.job)
	fmt.Fprintf(&b, `,"who":{"principal":{"kind":"user","id":"ada","assurance":"verified"},"orgId":"%s"},"what":{"action":"reindex"%s}`, a.org, inputs)
	b.WriteString(`,"where":{"system":"s","environment":"test","host":"h","instance":"i","version":"v"},"why":{"trigger":"manual","reason":"r"}`)
	if data != "" {
		fmt.Fprintf(&b, `,"data":%s`, data)
	}
	r, err := jobaudit.ParseRecord([]byte(b.String() + "}"))
	if err != nil {
		panic(fmt.Sprint(err, b.String()))
	}
	a.seq, a.prev = a.seq+1, r.Hash()
	return r
}
