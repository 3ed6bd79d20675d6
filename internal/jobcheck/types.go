package jobcheck

import (
	"encoding/binary"

	"github.com/jobaudit/jobaudit"
)

// eventCode is a type of events in one byte. codeUnknown stands for all that
// this version does not know; they change nothing.
type eventCode uint8

const (
	codeUnknown eventCode = iota
	codeSubmitted
	codeDeduplicated
	codeAuthorized
	codeDenied
	codeStarted
	codeHeartbeat
	codeLogged
	codeSnapshot
	codeSucceeded
	codeFailed
	codeCancelled
	codeCorrected
	codeAttemptStarted
	codeAttemptFailed
	codeAttemptDeferred
	codeAttemptLost
	codeAttemptSuperseded
	codeAttemptLate
	codeOpened
	codeClosed
	codePolicy
	codeDegraded
	codeErased
	codeProbed
	codeLost
	codeCount
)

// stateCode is a job's state. stateNone is that of a job of which nothing has
// been read.
type stateCode uint8

const (
	stateNone stateCode = iota
	statePending
	stateRunning
	stateSuccess
	stateFailed
	stateCancelled
)

func (s stateCode) String() string {
	return [...]string{"none", "pending", "running", "success", "failed", "cancelled"}[s]
}

// moves is what a type of events does to a job in each state (docs/format.md, F1): the
// state that it enters, or one of the effects below.
type moves struct{ none, pending, running, done move }

type move uint8

// The moves below effects are states to enter.
const (
	toPending   = move(statePending)
	toRunning   = move(stateRunning)
	toSuccess   = move(stateSuccess)
	toFailed    = move(stateFailed)
	toCancelled = move(stateCancelled)
)

const (
	keep      move = iota + 16 // the state stays
	duplicate                  // a second submission
	late                       // behind the end
	illegal                    // there is no such transition
)

// code is what is to be known of a type.
type code struct {
	typ jobaudit.EventType
	// front is the text from the type to the time in a record.
	front string
	noJob bool
	moves moves
	// starts and ends say that an execution begins or ends by it. outcome is
	// the state that it leads to wherever that is possible.
	starts, ends bool
	outcome      stateCode
}

var (
	keeps = moves{keep, keep, keep, keep}
	runs  = moves{toRunning, toRunning, keep, late}
)

// codes is indexed by eventCode.
var codes = [codeCount]code{
	codeUnknown: {moves: keeps},

	codeSubmitted:    {typ: jobaudit.JobSubmitted, moves: moves{toPending, duplicate, duplicate, duplicate}},
	codeDeduplicated: {typ: jobaudit.JobDeduplicated, moves: moves{toCancelled, toCancelled, illegal, late}, outcome: stateCancelled},
	codeAuthorized:   {typ: jobaudit.JobAuthorized, moves: keeps},
	codeDenied:       {typ: jobaudit.JobDenied, moves: moves{toCancelled, toCancelled, keep, late}},
	codeStarted:      {typ: jobaudit.JobStarted, moves: runs, starts: true},
	codeHeartbeat:    {typ: jobaudit.JobHeartbeat, moves: keeps},
	codeLogged:       {typ: jobaudit.JobLogged, moves: keeps},
	codeSnapshot:     {typ: jobaudit.JobSnapshot, moves: keeps},
	codeSucceeded:    {typ: jobaudit.JobSucceeded, moves: moves{illegal, illegal, toSuccess, late}, ends: true, outcome: stateSuccess},
	codeFailed:       {typ: jobaudit.JobFailed, moves: moves{illegal, illegal, toFailed, late}, ends: true, outcome: stateFailed},
	codeCancelled:    {typ: jobaudit.JobCancelled, moves: moves{toCancelled, toCancelled, toCancelled, late}, ends: true, outcome: stateCancelled},
	codeCorrected:    {typ: jobaudit.JobCorrected, moves: keeps},

	codeAttemptStarted:    {typ: jobaudit.AttemptStarted, moves: runs, starts: true},
	codeAttemptFailed:     {typ: jobaudit.AttemptFailed, moves: keeps, ends: true},
	codeAttemptDeferred:   {typ: jobaudit.AttemptDeferred, moves: keeps, ends: true},
	codeAttemptLost:       {typ: jobaudit.AttemptLost, moves: keeps, ends: true},
	codeAttemptSuperseded: {typ: jobaudit.AttemptSuperseded, moves: keeps, ends: true},
	codeAttemptLate:       {typ: jobaudit.AttemptLate, moves: keeps, ends: true},

	codeOpened:   {typ: jobaudit.AuditOpened, moves: keeps, noJob: true},
	codeClosed:   {typ: jobaudit.AuditClosed, moves: keeps, noJob: true},
	codePolicy:   {typ: jobaudit.AuditPolicy, moves: keeps, noJob: true},
	codeDegraded: {typ: jobaudit.AuditDegraded, moves: keeps, noJob: true},
	codeErased:   {typ: jobaudit.AuditErased, moves: keeps, noJob: true},
	codeProbed:   {typ: jobaudit.AuditProbed, moves: keeps, noJob: true},
	codeLost:     {typ: jobaudit.AuditLost, moves: keeps},
}

// fronts is a hash table of codes by what their fronts begin with, with free
// slots after those that are taken.
var fronts [1 << frontBits]eventCode

const frontBits = 8

// frontSlot is for text of at least 12 bytes. The shortest front has more.
func frontSlot(text []byte) uint64 {
	return binary.LittleEndian.Uint64(text[4:]) * 0x9e3779b97f4a7c15 >> (64 - frontBits)
}

func init() {
	for i := range codes {
		c := &codes[i]
		if c.front = string(c.typ) + `","time":"`; c.typ.Phase() != "" {
			c.front = string(c.typ) + `","phase":"` + string(c.typ.Phase()) + `","time":"`
		}
		if eventCode(i) == codeUnknown {
			continue
		}
		slot := frontSlot([]byte(c.front))
		for fronts[slot] != codeUnknown {
			slot = (slot + 1) % uint64(len(fronts))
		}
		fronts[slot] = eventCode(i)
	}
}

// frontOf returns the type whose front a text begins with.
func frontOf(text []byte) eventCode {
	if len(text) < 12 {
		return codeUnknown
	}
	for slot := frontSlot(text); ; slot = (slot + 1) % uint64(len(fronts)) {
		c := fronts[slot]
		if c == codeUnknown || has(text, codes[c].front) {
			return c
		}
	}
}

func codeOf(typ []byte) eventCode {
	switch jobaudit.EventType(typ) {
	case jobaudit.JobSubmitted:
		return codeSubmitted
	case jobaudit.JobDeduplicated:
		return codeDeduplicated
	case jobaudit.JobAuthorized:
		return codeAuthorized
	case jobaudit.JobDenied:
		return codeDenied
	case jobaudit.JobStarted:
		return codeStarted
	case jobaudit.JobHeartbeat:
		return codeHeartbeat
	case jobaudit.JobLogged:
		return codeLogged
	case jobaudit.JobSnapshot:
		return codeSnapshot
	case jobaudit.JobSucceeded:
		return codeSucceeded
	case jobaudit.JobFailed:
		return codeFailed
	case jobaudit.JobCancelled:
		return codeCancelled
	case jobaudit.JobCorrected:
		return codeCorrected
	case jobaudit.AttemptStarted:
		return codeAttemptStarted
	case jobaudit.AttemptFailed:
		return codeAttemptFailed
	case jobaudit.AttemptDeferred:
		return codeAttemptDeferred
	case jobaudit.AttemptLost:
		return codeAttemptLost
	case jobaudit.AttemptSuperseded:
		return codeAttemptSuperseded
	case jobaudit.AttemptLate:
		return codeAttemptLate
	case jobaudit.AuditOpened:
		return codeOpened
	case jobaudit.AuditClosed:
		return codeClosed
	case jobaudit.AuditPolicy:
		return codePolicy
	case jobaudit.AuditDegraded:
		return codeDegraded
	case jobaudit.AuditErased:
		return codeErased
	case jobaudit.AuditProbed:
		return codeProbed
	case jobaudit.AuditLost:
		return codeLost
	}
	return codeUnknown
}

// step returns what an event of this type does to a job in a state.
func (c eventCode) step(s stateCode) move {
	m := &codes[c].moves
	switch s {
	case stateNone:
		return m.none
	case statePending:
		return m.pending
	case stateRunning:
		return m.running
	}
	return m.done
}
