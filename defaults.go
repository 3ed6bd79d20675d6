package jobaudit

import (
	"context"
	"fmt"
	"net/netip"
)

// complete fills what a submission leaves empty with what Options.Defaults says
// of its context.
func (r *Recorder) complete(ctx context.Context, s *Submission) (err error) {
	if r.opts.Defaults == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("Options.Defaults panicked with a %T", p)
		}
	}()
	d := r.opts.Defaults(ctx)
	setDefault(&s.ID, d.ID)
	setDefault(&s.Action, d.Action)
	if s.Inputs == nil {
		s.Inputs = d.Inputs
	}
	setDefault(&s.Principal, d.Principal)
	setDefault(&s.OrgID, d.OrgID)
	if len(s.OnBehalfOf) == 0 {
		s.OnBehalfOf = d.OnBehalfOf
	}
	setDefault(&s.Upstream, d.Upstream)
	setDefault(&s.Trigger, d.Trigger)
	setDefault(&s.CorrelationID, d.CorrelationID)
	setDefault(&s.RequestID, d.RequestID)
	setDefault(&s.TraceParent, d.TraceParent)
	setDefault(&s.Resource, d.Resource)
	setDefault(&s.Target, d.Target)
	if s.SourceIP == (netip.Addr{}) {
		s.SourceIP = d.SourceIP
	}
	setDefault(&s.Queue, d.Queue)
	setDefault(&s.Detached, d.Detached)
	setDefault(&s.RetryOf, d.RetryOf)
	return nil
}
