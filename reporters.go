package jobaudit

import (
	"reflect"
	"slices"
	"sync"
)

// reporters are the Recorders that are open, by their sinks that report. A sink knows one
// function to report to: with this a Recorder that opens takes it from no other.
var reporters struct {
	mu    sync.Mutex // guards what follows
	sinks map[AuditSink][]*Recorder
}

// weakSink is a sink that reports when it does not give all that it promises.
type weakSink interface {
	Degraded(report func(error))
}

// listen has the sink's reports recorded.
func (r *Recorder) listen() {
	weak, ok := r.sink.(weakSink)
	switch {
	case !ok:
		return
	case !reflect.ValueOf(r.sink).Comparable():
		weak.Degraded(func(err error) { r.sinkDegraded(err) })
		return
	}
	reporters.mu.Lock()
	if reporters.sinks == nil {
		reporters.sinks = map[AuditSink][]*Recorder{}
	}
	reporters.sinks[r.sink] = append(reporters.sinks[r.sink], r)
	reporters.mu.Unlock()
	sink := r.sink
	weak.Degraded(func(err error) { sinkReports(sink, err) })
}

// sinkReports records what a sink reports, once: the log of all is the same.
func sinkReports(sink AuditSink, err error) {
	reporters.mu.Lock()
	open := slices.Clone(reporters.sinks[sink])
	reporters.mu.Unlock()
	for _, r := range slices.Backward(open) {
		if r.sinkDegraded(err) {
			return
		}
	}
}

// deafen ends what listen began.
func (r *Recorder) deafen() {
	if _, ok := r.sink.(weakSink); !ok || !reflect.ValueOf(r.sink).Comparable() {
		return
	}
	reporters.mu.Lock()
	defer reporters.mu.Unlock()
	left := slices.DeleteFunc(reporters.sinks[r.sink], func(other *Recorder) bool { return other == r })
	if reporters.sinks[r.sink] = left; len(left) == 0 {
		delete(reporters.sinks, r.sink)
	}
}
