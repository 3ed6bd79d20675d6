package riveraudit

import (
	"sync"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/jobaudit/jobaudit"
)

// attempt is one execution of a job in this process, from its start until
// River's verdict is on record.
type attempt struct {
	trail *jobaudit.Trail
	job   int64
	at    time.Time // when River fetched the job: no number, but unique

	mu          sync.Mutex // guards what follows
	returned    time.Time  // zero while it runs
	err         error      // what it returned
	endRecorded bool       // that it failed or was put off is on record
}

func fetchedAt(job *rivertype.JobRow) time.Time {
	if job.AttemptedAt == nil {
		return time.Time{}
	}
	return *job.AttemptedAt
}

func (x *attempt) end(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.returned, x.err = time.Now(), err
}

// attempts are the newest executions of this process, by River's job number.
type attempts struct {
	mu   sync.Mutex // guards byID
	byID map[int64]*attempt
}

func (s *attempts) put(x *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[x.job] = x
}

// of returns the execution that a row of River's names, if it is ours.
func (s *attempts) of(job *rivertype.JobRow) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.byID[job.ID]; x != nil && x.at.Equal(fetchedAt(job)) {
		return x
	}
	return nil
}

func (s *attempts) drop(x *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[x.job] == x {
		delete(s.byID, x.job)
	}
}

// waiting returns the numbers of the jobs whose execution has returned before
// a moment and still lacks River's verdict.
func (s *attempts) waiting(before time.Time) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []int64
	for id, x := range s.byID {
		x.mu.Lock()
		if !x.returned.IsZero() && x.returned.Before(before) {
			ids = append(ids, id)
		}
		x.mu.Unlock()
	}
	return ids
}

// keys let one goroutine at a time settle a job.
type keys struct {
	mu   sync.Mutex // guards held
	held map[int64]*key
}

type key struct {
	mu    sync.Mutex
	users int // guarded by keys.mu
}

func (s *keys) lock(id int64) (unlock func()) {
	s.mu.Lock()
	k := s.held[id]
	if k == nil {
		k = &key{}
		s.held[id] = k
	}
	k.users++
	s.mu.Unlock()
	k.mu.Lock()
	return func() {
		k.mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(s.held, id)
		}
	}
}
