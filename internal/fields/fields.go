// Package fields describes a JSON format as a table of its fields with their
// limits and ranges, and reads and writes JSON by such a table. What binds who
// writes and who reads stands in one place: what [Writer] lets through,
// [Reader] accepts.
package fields

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// Kind is what stands in a field.
type Kind uint8

// The kinds. A Text is a free text, or the marker that stands for one that was
// too long or was dropped; Raw is any JSON value.
const (
	String Kind = iota
	Text
	UUID
	Hash
	Time
	Integer
	Bool
	Raw
	Object
	List
)

// Field is a row of the table: a member of an object, or the element of a list.
// A table does not change once it is made.
type Field struct {
	Name string
	Kind Kind
	// Min and Max bound the value of an Integer. Max bounds the bytes that a
	// String, a Text or a Raw value takes, without quotation marks, and the
	// elements of a List; 0 means no bound there.
	Min, Max int64
	// Required fields are there, always.
	Required bool
	// Words are the only values of a String, for readers too.
	Words []string
	// Identifier, Answer and Versions bind only who writes: the value is not
	// cut, and is UTF-8 without control characters; it holds something to see; a
	// UUID has one of the versions. What was stored before such a rule stays
	// readable.
	Identifier bool
	Answer     bool
	Versions   string
	// Of are an Object's members, in their order, or a List's element.
	Of []*Field

	key string // a member's name as [Writer] writes it behind another one
}

// Member returns the object's member of that name, nil if the table has none.
func (f *Field) Member(name string) *Field {
	if f == nil {
		return nil
	}
	for _, m := range f.Of {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// All calls visit for the field and all that is below it, with its path. The
// element of a list has the list's path.
func (f *Field) All(path string, visit func(path string, f *Field)) {
	visit(path, f)
	for _, m := range f.Of {
		below := path
		switch {
		case m.Name == "":
		case path == "":
			below = m.Name
		default:
			below += "." + m.Name
		}
		m.All(below, visit)
	}
}

// CheckString says what is wrong with a value that is to be written, or returns
// "". A free text is only ever wrong if it is required and nothing of it can be
// seen: it is cut to its limit, and what is not UTF-8 in it replaced.
func (f *Field) CheckString(value string) (problem string) {
	switch {
	case value == "" && !f.Required:
		return ""
	case value == "":
		return "is required"
	case f.Identifier && !printable(value) && !utf8.ValidString(value):
		return "is not valid UTF-8"
	case f.Identifier && f.tooLong(value):
		return "is longer than " + itoa(f.Max) + " bytes"
	case f.Identifier && !printable(value) && strings.ContainsFunc(value, isControl):
		return "holds a control character"
	case f.Answer && !Visible(value):
		return "has nothing to see in it"
	}
	return ""
}

func (f *Field) tooLong(value string) bool {
	return int64(6*len(value)) > f.Max && int64(jsonenc.StringLen(value)) > f.Max // no byte takes more than six
}

// printable reports whether a value is ASCII without control characters, as most
// are.
func printable(value string) bool {
	for i := range len(value) {
		if value[i]-' ' > '~'-' ' {
			return false
		}
	}
	return true
}

// isControl reports whether a character acts on the text around it instead of
// standing for itself: a control character, or one of the direction of writing.
func isControl(r rune) bool {
	return unicode.IsControl(r) || r >= utf8.RuneSelf && unicode.Is(unicode.Bidi_Control, r)
}

// Visible reports whether a text holds at least one character that can be seen.
func Visible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		if r < utf8.RuneSelf {
			return r > ' ' && r < 0x7f
		}
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && r != '\u2800' && // a Braille pattern without dots
			!unicode.In(r, unicode.Zs, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	})
}

// CheckUUID says what is wrong with a UUID that is to be written, or returns "":
// RFC 9562 knows the versions 1 to 8 of one variant, and the contract's readers
// refuse others. The nil UUID is one that is missing.
func (f *Field) CheckUUID(id uuid.UUID) (problem string) {
	version := id[6] >> 4
	switch {
	case id == uuid.Nil && f.Required:
		return "is required"
	case id == uuid.Nil:
		return ""
	case id[8]>>6 != 2 || version < 1 || version > 8:
		return "is a UUID of no version from 1 to 8 (RFC 9562)"
	case f.Versions != "" && strings.IndexByte(f.Versions, '0'+version) < 0:
		return "is a UUID of another version than " + f.Versions
	}
	return ""
}

// CheckInteger says what is wrong with a number that is to be written, or
// returns "".
func (f *Field) CheckInteger(n int64) (problem string) {
	if n < f.Min || n > f.Max {
		return "is out of range: it must be from " + itoa(f.Min) + " to " + itoa(f.Max)
	}
	return ""
}
