package sinktest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jobaudit/jobaudit"
)

// contextKey is under what the canary case puts the secret into the context:
// what a context carries is no business of a sink's either.
type contextKey struct{}

func canary(ctx context.Context, b *bench) error {
	if b.medium.Bytes == nil {
		return errors.New("Medium.Bytes is nil, and Traits.Opaque is not set")
	}
	secret := "canary" + strings.ReplaceAll(newID().String(), "-", "")
	ctx = context.WithValue(ctx, contextKey{}, secret)
	stored, err := b.employ(ctx, secret)
	if err != nil {
		return err
	}
	if err := b.close(); err != nil {
		return err
	}
	return b.search(ctx, secret, stored)
}

// employ records a job that is given the secret and that nothing allows to
// keep it, and returns what must be found on the medium.
func (b *bench) employ(ctx context.Context, secret string) (string, error) {
	// A Recorder has contexts of its own. This one gets as far as the sink.
	if err := b.append(ctx, newAuthor().trail()...); err != nil {
		return "", err
	}
	where := jobaudit.Source{System: "sinktest", Environment: "test"}
	recorder, err := jobaudit.Open(ctx, b.sink, where, nil)
	if err != nil {
		return "", err
	}
	job := newID()
	err = recorder.Run(ctx, jobaudit.Submission{
		ID:        [16]byte(job),
		Action:    "use-a-secret",
		Inputs:    map[string]any{"token": secret, "list": []string{"x" + secret}},
		Principal: jobaudit.Principal{Kind: jobaudit.Service, ID: "sinktest"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "conformance"},
	}, func(context.Context) error { return nil })
	if err != nil {
		return "", err
	}
	if err := recorder.Close(ctx); err != nil {
		return "", err
	}
	return job.String(), nil
}

// search looks at everything on the medium. What was stored has to be there:
// otherwise Medium.Bytes shows something else, and the search is worth
// nothing.
func (b *bench) search(ctx context.Context, secret, stored string) error {
	found, size := false, 0
	for data, err := range b.medium.Bytes(ctx) {
		if err != nil {
			return fmt.Errorf("Medium.Bytes: %w", err)
		}
		size += len(data)
		found = found || bytes.Contains(data, []byte(stored))
		for _, form := range forms(secret) {
			if at := bytes.Index(data, []byte(form)); at >= 0 {
				return fmt.Errorf("a secret that no record holds lies on the medium, as %.16q… among %.200q", form, data[max(at-100, 0):])
			}
		}
	}
	if !found {
		return fmt.Errorf("Medium.Bytes shows %d bytes, but not the record %s that is stored; a medium that encodes records needs Traits.Opaque", size, stored)
	}
	return nil
}

// forms returns the forms in which a secret of letters and digits may lie
// about: raw, in hex, in base64 in its three alignments. Escaping for JSON or
// for URLs leaves such a secret alone.
func forms(secret string) []string {
	all := []string{secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for offset := range 3 {
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := encoding.EncodeToString(append(make([]byte, offset), secret...))
			// Only what the secret alone decides, not its neighbours.
			all = append(all, encoded[(offset*8+5)/6:(offset+len(secret))*8/6])
		}
	}
	return all
}
