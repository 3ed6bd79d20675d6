package memsink_test

import (
	"context"
	"testing"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
	"github.com/jobaudit/jobaudit/sink/sinktest"
)

func TestConformance(t *testing.T) {
	sinktest.Run(t, func(context.Context) (sinktest.Medium, error) {
		return sinktest.Medium{
			Open: func(context.Context) (jobaudit.AuditSink, error) { return memsink.New(nil), nil },
		}, nil
	}, sinktest.Traits{Volatile: true, Unproven: true, NoFaults: true, Opaque: true})
}
