package walk

import (
	"cmp"
	"reflect"
	"slices"
	"strconv"
)

// common writes the entries of a map of one of the types that most maps have,
// without reflection, and reports whether v is one.
func (w *walker) common(v reflect.Value) (ok bool, err error) {
	switch m := v.Interface().(type) {
	case map[string]string:
		return true, writeMap(w, m, (*walker).text)
	case map[string]int:
		return true, writeMap(w, m, func(w *walker, i int) error { return w.integer(int64(i)) })
	case map[string]int64:
		return true, writeMap(w, m, (*walker).integer)
	case map[string]float64:
		return true, writeMap(w, m, func(w *walker, f float64) error {
			w.float(f, 64)
			return nil
		})
	case map[string]bool:
		return true, writeMap(w, m, func(w *walker, b bool) error {
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

func writeMap[V any](w *walker, m map[string]V, write func(*walker, V) error) error {
	base := len(w.entries)
	for name := range m {
		w.entries = append(w.entries, entry{name: EscapeName(name), key: name})
	}
	own := w.entries[base:]
	if len(own) > 1 {
		slices.SortFunc(own, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	}
	start := len(w.buf)
	for i := range own {
		e := &own[i]
		if err := w.node(); err != nil {
			return err
		}
		if i > 0 && own[i-1].name == e.name || i+1 < len(own) && own[i+1].name == e.name { // two that became one
			w.count++
			continue
		}
		if w.unsafe(e.name) {
			continue
		}
		w.comma(start)
		if err := w.name(e.name); err != nil {
			return err
		}
		if err := write(w, m[e.key]); err != nil {
			return err
		}
	}
	return nil
}
