package walk

import (
	"reflect"
	"slices"
	"strconv"
	"unicode/utf8"
)

// common writes the entries of a map of one of the types that most maps have,
// without reflection, and reports whether v is one.
func (w *walker) common(v reflect.Value) (ok bool, err error) {
	if w.env.Numbers {
		return false, nil
	}
	switch m := v.Interface().(type) {
	case map[string]string:
		return writeMap(w, m, (*walker).text)
	case map[string]int:
		return writeMap(w, m, func(w *walker, i int) error { return w.integer(int64(i)) })
	case map[string]int64:
		return writeMap(w, m, (*walker).integer)
	case map[string]float64:
		return writeMap(w, m, func(w *walker, f float64) error {
			w.float(f, 64)
			return nil
		})
	case map[string]bool:
		return writeMap(w, m, func(w *walker, b bool) error {
			w.buf = strconv.AppendBool(w.buf, b)
			return nil
		})
	}
	return false, nil
}

func (w *walker) integer(i int64) error {
	w.buf = strconv.AppendInt(w.buf, i, 10)
	return nil
}

// writeMap reports false, having written nothing, if a name is not written as it
// is: then two of them may become one.
func writeMap[V any](w *walker, m map[string]V, write func(*walker, V) error) (ok bool, err error) {
	var few [16]string
	names := few[:0]
	for name := range m {
		if reserved(name) || !utf8.ValidString(name) {
			return false, nil
		}
		names = append(names, name)
	}
	if len(names) > 1 {
		slices.Sort(names)
	}
	start := len(w.buf)
	for _, name := range names {
		if err := w.node(); err != nil {
			return true, err
		}
		if w.unsafe(name) {
			w.removed(reflect.ValueOf(m[name]), false)
			continue
		}
		w.comma(start)
		if err := w.name(name); err != nil {
			return true, err
		}
		if err := write(w, m[name]); err != nil {
			return true, err
		}
	}
	return true, nil
}
