package riveraudit

import (
	"context"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ErrorHandler returns the error handler for river.Config's ErrorHandler. It asks
// next, if that is not nil, and records the attempt's end, before River decides
// what becomes of the job. Of a panic's value only the type is recorded.
func (a *Audit) ErrorHandler(next river.ErrorHandler) river.ErrorHandler {
	return &handler{audit: a, next: next}
}

type handler struct {
	audit *Audit
	next  river.ErrorHandler
}

func (h *handler) HandleError(ctx context.Context, job *rivertype.JobRow, err error) (result *river.ErrorHandlerResult) {
	defer func() { h.audit.attemptFailed(ctx, job, err, cancels(result)) }() // next may panic: River goes on then
	if h.next == nil {
		return nil
	}
	return h.next.HandleError(ctx, job, err)
}

func (h *handler) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) (result *river.ErrorHandlerResult) {
	defer func() {
		h.audit.attemptFailed(ctx, job, &panicked{Type: fmt.Sprintf("%T", value)}, cancels(result))
	}()
	if h.next == nil {
		return nil
	}
	return h.next.HandlePanic(ctx, job, value, trace)
}

func cancels(result *river.ErrorHandlerResult) bool { return result != nil && result.SetCancelled }
