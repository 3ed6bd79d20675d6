package jobaudit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// Secret holds a value that only [Secret.Reveal] gives back. Wherever else it
// turns up (fmt with any verb, log/slog, JSON, text, gob, templates, a map's
// key, a field that is not exported) there is a mask. In a record it is the
// marker of a dropped leaf, even where a policy keeps it.
//
// It decodes from JSON like a T, so that inputs may declare one; it refuses
// its own mask. The zero Secret holds the zero T. Two Secrets are equal only
// if one is a copy of the other. A Secret may be copied and used from several
// goroutines as far as T may.
//
// It protects from accidents, not from code that wants the value: unsafe,
// a debugger and a memory dump see it.
type Secret[T any] struct {
	_ walk.Mark
	// Whatever prints unexported fields follows pointers and structs, but
	// cannot look into a function.
	box *box[T]
}

type box[T any] struct{ reveal func() T }

// mask is what every rendering of a Secret is.
const mask = "[secret]"

// NewSecret returns a Secret that holds value.
func NewSecret[T any](value T) Secret[T] {
	return Secret[T]{box: &box[T]{reveal: func() T { return value }}}
}

// Reveal returns the value.
func (s Secret[T]) Reveal() T {
	if s.box == nil {
		var zero T
		return zero
	}
	return s.box.reveal()
}

// held is Reveal for those who do not know T.
func (s Secret[T]) held() any { return s.Reveal() }

// String returns the mask.
func (Secret[T]) String() string { return mask }

// Format writes the mask, whatever the verb and its flags.
func (Secret[T]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// LogValue returns the mask.
func (Secret[T]) LogValue() slog.Value { return slog.StringValue(mask) }

// MarshalJSON returns the mask as a JSON string.
func (Secret[T]) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// MarshalText returns the mask.
func (Secret[T]) MarshalText() ([]byte, error) { return []byte(mask), nil }

// GobEncode returns the mask. There is no way back.
func (Secret[T]) GobEncode() ([]byte, error) { return []byte(mask), nil }

// UnmarshalJSON decodes a T. A mask is an error: what was masked is lost.
func (s *Secret[T]) UnmarshalJSON(data []byte) error {
	if string(data) == `"`+mask+`"` {
		return errors.New("a secret that was masked before")
	}
	var value T
	if json.Unmarshal(data, &value) != nil {
		return errors.New("a secret of another type") // the cause may quote it
	}
	*s = NewSecret(value)
	return nil
}
