package walk

import (
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"
	"unsafe"
)

// reading identifies what was read, and as what. It keeps that in memory, so that
// its address is not given to another value meanwhile.
type reading struct {
	at              unsafe.Pointer
	size            int
	typ             reflect.Type
	naming          Naming
	own, credential bool
}

// visited is what was read: few things are looked through one by one.
type visited struct {
	few  [4]reading
	n    int
	more map[reading]struct{}
}

// again reports whether the very same was read before.
func (t *texts) again(at unsafe.Pointer, size int, typ reflect.Type, own, credential bool) bool {
	return t.read.have(reading{at, size, typ, t.naming, own, credential})
}

func (s *visited) have(r reading) bool {
	for i := range s.few[:s.n] {
		if s.few[i].at == r.at && s.few[i] == r {
			return true
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = r
		s.n++
		return false
	}
	if _, ok := s.more[r]; ok {
		return true
	}
	if s.more == nil {
		s.more = map[reading]struct{}{}
	}
	s.more[r] = struct{}{}
	return false
}

// spelling returns what writes values of a type as a text, where that is known
// without calling a method of the application's. It does not write numbers that take
// long to write.
func spelling(t reflect.Type) func(v reflect.Value) (text string, ok bool) {
	switch t {
	case uuidType:
		return func(v reflect.Value) (string, bool) { return uuidOf(v).String(), true }
	case timeType:
		return func(v reflect.Value) (string, bool) {
			text, _ := v.Interface().(time.Time).MarshalText()
			return string(text), true
		}
	case reflect.TypeFor[big.Int]():
		return func(v reflect.Value) (string, bool) {
			n := pointer[big.Int](v)
			if n.BitLen() > maxBits {
				return "", false
			}
			return n.String(), true
		}
	case reflect.TypeFor[big.Rat]():
		return func(v reflect.Value) (string, bool) {
			n := pointer[big.Rat](v)
			if n.Num().BitLen() > maxBits || n.Denom().BitLen() > maxBits {
				return "", false
			}
			return n.String(), true
		}
	case reflect.TypeFor[big.Float]():
		return func(v reflect.Value) (string, bool) {
			n := pointer[big.Float](v)
			if exponent(n) > maxExponent || n.MinPrec() > maxBits {
				return "", false
			}
			return n.Text('g', -1), true
		}
	case reflect.TypeFor[netip.Addr]():
		return func(v reflect.Value) (string, bool) { return v.Interface().(netip.Addr).String(), true }
	case reflect.TypeFor[netip.AddrPort]():
		return func(v reflect.Value) (string, bool) { return v.Interface().(netip.AddrPort).String(), true }
	case reflect.TypeFor[netip.Prefix]():
		return func(v reflect.Value) (string, bool) { return v.Interface().(netip.Prefix).String(), true }
	case reflect.TypeFor[net.IP]():
		return func(v reflect.Value) (string, bool) { return v.Interface().(net.IP).String(), true }
	}
	return nil
}

const (
	maxBits     = 1 << 16 // of a number that is written
	maxExponent = 1 << 12 // of one of which a power of two has to be written to know its digits
)

// exponent returns how large the exponent of a number is, of either sign.
func exponent(n *big.Float) int {
	e := n.MantExp(nil)
	return max(e, -e)
}

// endless reports whether a value's own method would write it for minutes: 14 bytes of
// JSON are enough for such a number.
func endless(v reflect.Value) bool {
	return v.Type() == floatType && exponent(pointer[big.Float](v)) > maxBits
}

var floatType = reflect.TypeFor[big.Float]()

// pointer returns where a value is, or a copy of it.
func pointer[T any](v reflect.Value) *T {
	if v.CanAddr() {
		return v.Addr().Interface().(*T)
	}
	held := v.Interface().(T)
	return &held
}

// What is known of whether values of a type may hold a text.
const (
	textUnknown = iota
	textNone
	textSome
)

// holdsText reports whether a text could be reached from values of the type.
func (i *info) holdsText() bool {
	if known := atomic.LoadInt32(&i.text); known != textUnknown {
		return known == textSome
	}
	known := int32(textNone)
	if reaches(i.typ, map[reflect.Type]bool{}, spellsText) {
		known = textSome
	}
	atomic.StoreInt32(&i.text, known)
	return known == textSome
}

// spellsText reports whether values of the type may be texts, or anything.
func spellsText(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Interface:
		return true
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8 || t.Elem().Kind() == reflect.Int32
	case reflect.Array:
		return t.Elem().Kind() == reflect.Uint8
	}
	return false
}

// Marked reports whether values of the type may hold something that is marked, or tagged,
// as a credential.
func Marked(t reflect.Type) bool {
	return reaches(t, map[reflect.Type]bool{}, func(t reflect.Type) bool {
		if t.Kind() != reflect.Struct {
			return false
		}
		for f := range t.Fields() {
			if tag := tagOf(f); f.Type == markType || tag.verb == tagDrop && tag.class == ClassCredential {
				return true
			}
		}
		return false
	})
}

// Decodes reports whether values of the type may hold some that decode themselves from
// JSON, and that hold credentials.
func Decodes(t reflect.Type) bool {
	return reaches(t, map[reflect.Type]bool{}, func(t reflect.Type) bool {
		return (reflect.PointerTo(t).Implements(unjsonType) || reflect.PointerTo(t).Implements(untextType)) && !secret(t) && Marked(t)
	})
}

// reaches reports whether a type that is so can be reached from values of the type.
func reaches(t reflect.Type, seen map[reflect.Type]bool, so func(reflect.Type) bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	if so(t) {
		return true
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Array, reflect.Slice:
		return reaches(t.Elem(), seen, so)
	case reflect.Map:
		return reaches(t.Key(), seen, so) || reaches(t.Elem(), seen, so)
	case reflect.Struct:
		if t.PkgPath() == "sync" || t.PkgPath() == "sync/atomic" {
			return false
		}
		for f := range t.Fields() {
			if reaches(f.Type, seen, so) {
				return true
			}
		}
	}
	return false
}
