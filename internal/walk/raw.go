package walk

import (
	"bytes"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

// raw writes JSON that is already encoded: strings and names in the record's
// form, numbers and order as they are.
func (w *walker) raw(raw []byte) error {
	if len(raw) == 0 {
		w.buf = append(w.buf, "null"...)
		return nil
	}
	switch err := Check(raw); err {
	case nil:
	case ErrJSON:
		w.malformed(raw)
		return nil
	default:
		return err
	}
	w.nodes-- // the same value
	return w.rawValue(raw)
}

// malformed writes a marker for what should be JSON and is not.
func (w *walker) malformed(raw []byte) {
	w.drop(ruleJSON)
	if w.env.Removed != nil {
		w.env.Removed.To.AddBytes(raw, false)
	}
}

func (w *walker) rawValue(raw []byte) error {
	if err := w.node(); err != nil {
		return err
	}
	raw = bytes.Trim(raw, " \t\r\n")
	switch raw[0] {
	case '{':
		return w.rawObject(raw)
	case '[':
		return w.rawArray(raw)
	case '"':
		return w.rawText(raw)
	}
	start := len(w.buf)
	w.buf = append(w.buf, raw...)
	if w.env.Numbers {
		w.whole(start)
	}
	return nil
}

// rawText writes a string of raw JSON that has been checked. Without escapes it
// is written in the record's form already.
func (w *walker) rawText(raw []byte) error {
	if w.env.Guard != nil || w.env.Kept != nil || bytes.IndexByte(raw, '\\') >= 0 {
		return w.text(jsonscan.Unquote(raw))
	}
	if len(raw) > MaxBytes-len(w.buf) {
		return ErrLimit
	}
	w.buf = append(w.buf, raw...)
	return nil
}

func (w *walker) rawObject(raw []byte) error {
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '{')
	start := len(w.buf)
	for name, member := range jsonscan.Object(raw) {
		if w.unsafe(name) {
			w.removedRaw(member, nil, false)
			continue
		}
		w.comma(start)
		if err := w.name(EscapeName(name)); err != nil {
			return err
		}
		if err := w.rawValue(member); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, '}')
	w.leave()
	return nil
}

func (w *walker) rawArray(raw []byte) error {
	if err := w.enter(); err != nil {
		return err
	}
	w.buf = append(w.buf, '[')
	start := len(w.buf)
	for element := range jsonscan.Array(raw) {
		w.comma(start)
		if err := w.rawValue(element); err != nil {
			return err
		}
	}
	w.buf = append(w.buf, ']')
	w.leave()
	return nil
}

// numeric reports whether s is a JSON number.
func numeric(s string) bool {
	if s == "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return false
	}
	last := s[len(s)-1]
	return last >= '0' && last <= '9' && jsonscan.Check([]byte(s)) == nil
}
