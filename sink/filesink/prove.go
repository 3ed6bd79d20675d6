package filesink

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jobaudit/jobaudit/auditlog"
)

// Prove makes the proof that the log holds an event, for somebody who has its
// verifier key and nothing else (see [auditlog.OpenProof]). It is made against
// the newest durable head.
func (s *Sink) Prove(ctx context.Context, id uuid.UUID) (auditlog.Proof, error) {
	v := s.current()
	for _, p := range v.parts() {
		at, found, err := p.find(ctx, s.dir, id)
		if err != nil {
			return auditlog.Proof{}, fmt.Errorf("filesink: prove: %w", err)
		}
		if !found {
			continue
		}
		f, err := s.dir.Open(segmentPath(p.first))
		if err != nil {
			return auditlog.Proof{}, fmt.Errorf("filesink: prove: %w", err)
		}
		defer f.Close()
		leaf, err := readLine(f, nil, at.off, p.size)
		if err != nil {
			return auditlog.Proof{}, fmt.Errorf("filesink: prove: %w", err)
		}
		return auditlog.Prove(v.head, at.leaf, leaf, s.cache.hashes())
	}
	return auditlog.Proof{}, fmt.Errorf("filesink: prove: no record %s is stored", id)
}
