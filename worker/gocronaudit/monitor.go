package gocronaudit

import (
	"errors"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"
)

// monitor is called by gocron for ticks that do not run, and for much else, which it
// passes on.
type monitor struct {
	gocron.Monitor
	gocron.SchedulerMonitor
	audit *Audit
}

// ConcurrencyLimitReached is called for a tick that LimitModeReschedule drops.
func (m *monitor) ConcurrencyLimitReached(limitType string, job gocron.Job) {
	if s := m.audit.schedule(job.ID()); s != nil {
		reason := "its scheduler runs no more jobs at the same time"
		if limitType == "singleton" {
			reason = "its scheduler runs it once at a time" + s.inTheWay()
		}
		s.skip(reason)
	}
	m.SchedulerMonitor.ConcurrencyLimitReached(limitType, job)
}

// IncrementJob is called, besides, for a tick that gets no lock or has no leader.
func (m *monitor) IncrementJob(id uuid.UUID, name string, tags []string, status gocron.JobStatus) {
	if s := m.audit.schedule(id); s != nil && status == gocron.Skip {
		reason := "this instance does not lead, or has no lock"
		if err := s.lockError(); err != nil {
			reason = "this instance has no lock: " + err.Error()
		}
		s.skip(reason)
	}
	m.Monitor.IncrementJob(id, name, tags, status)
}

// JobFailed is called for a run that fails, which is on record, and for a tick
// that a listener refuses.
func (m *monitor) JobFailed(job gocron.Job, err error) {
	s := m.audit.schedule(job.ID())
	if s != nil && !errors.Is(err, gocron.ErrPanicRecovered) && !s.returned(err) {
		s.skip("refused before it ran: " + err.Error())
	}
	m.SchedulerMonitor.JobFailed(job, err)
}

// noMonitor does nothing.
type noMonitor struct{}

func (noMonitor) IncrementJob(uuid.UUID, string, []string, gocron.JobStatus)           {}
func (noMonitor) RecordJobTiming(_, _ time.Time, _ uuid.UUID, _ string, _ []string)    {}
func (noMonitor) SchedulerStarted()                                                    {}
func (noMonitor) SchedulerStopped()                                                    {}
func (noMonitor) SchedulerShutdown()                                                   {}
func (noMonitor) JobRegistered(gocron.Job)                                             {}
func (noMonitor) JobUnregistered(gocron.Job)                                           {}
func (noMonitor) JobStarted(gocron.Job)                                                {}
func (noMonitor) JobRunning(gocron.Job)                                                {}
func (noMonitor) JobFailed(gocron.Job, error)                                          {}
func (noMonitor) JobCompleted(gocron.Job)                                              {}
func (noMonitor) JobExecutionTime(gocron.Job, time.Duration)                           {}
func (noMonitor) JobSchedulingDelay(_ gocron.Job, scheduledTime, actualTime time.Time) {}
func (noMonitor) ConcurrencyLimitReached(string, gocron.Job)                           {}
