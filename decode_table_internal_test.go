package jobaudit

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// fullEvent is an event with everything in it that the table has; replace gives
// other values, by their paths.
func fullEvent(f *fields.Field, path string, replace map[string]string) string {
	if v, ok := replace[path]; ok && f.Kind != fields.List {
		return v
	}
	switch f.Kind {
	case fields.Object:
		var members []string
		for _, m := range f.Of {
			below := strings.TrimPrefix(path+"."+m.Name, ".")
			members = append(members, `"`+m.Name+`":`+fullEvent(m, below, replace))
		}
		return "{" + strings.Join(members, ",") + "}"
	case fields.List:
		n := 2
		if path == replace["list"] {
			n = int(f.Max) + 1
		}
		elements := make([]string, n)
		for i := range elements {
			elements[i] = fullEvent(f.Of[0], path, replace)
		}
		return "[" + strings.Join(elements, ",") + "]"
	case fields.String:
		if f.Words != nil {
			return `"` + f.Words[0] + `"`
		}
		return `"` + strings.Repeat("x", 100) + `"`
	case fields.Text:
		return `"` + strings.Repeat("x", 100) + `"`
	case fields.UUID:
		return `"01980000-0000-7000-8000-000000000001"`
	case fields.Hash:
		return `"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="`
	case fields.Time:
		return `"9999-12-31T23:59:59.999999Z"`
	case fields.Integer:
		return fmt.Sprint(f.Max)
	case fields.Bool:
		return "true"
	}
	return `{"x":1}`
}

// wellFormed gives the values that are checked for more than their size.
func wellFormed(more map[string]string) map[string]string {
	replace := map[string]string{
		"schemaVersion": `"1.0.0"`, "type": `"job.submitted"`, "phase": `"submission"`, "where.sourceIp": `"::1"`,
		"data.evidence.last.type": `"job.started"`, "stream": `{"id":"01980000-0000-7000-8000-000000000001","seq":1}`,
	}
	maps.Copy(replace, more)
	return replace
}

// The decoder goes by the table in every field: what is beyond its limit or
// range, or of another kind, is refused by its name.
func TestTheDecoderGoesByTheTableInEveryField(t *testing.T) {
	line := fullEvent(fields.Event(), "", wellFormed(nil))
	_, err := ParseRecord([]byte(line))
	require.NoError(t, err, "%s", line)

	refused := func(path, value string) {
		replace := wellFormed(map[string]string{path: value})
		if strings.HasPrefix(path, "stream.") {
			delete(replace, "stream")
			replace["stream.seq"] = "2"
			replace["stream.after"] = `{"stream":"01980000-0000-7000-8000-000000000001","seq":1,"hash":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`
			if strings.HasPrefix(path, "stream.after.") {
				delete(replace, "stream.after")
			}
			replace[path] = value
		}
		_, err := ParseRecord([]byte(fullEvent(fields.Event(), "", replace)))
		var field *FieldError
		require.ErrorAs(t, err, &field, "%s = %.60s", path, value)
		named := strings.Join(strings.FieldsFunc(field.Field, func(r rune) bool { return r == '.' }), ".")
		named = strings.NewReplacer(".0", "", ".1", "").Replace(named)
		require.Equal(t, path, named, "%s = %.60s: %s", path, value, field)
	}
	rows := 0
	fields.Event().All("", func(path string, f *fields.Field) {
		rows++
		switch {
		case path == "":
			return
		case f.Kind == fields.String && f.Max > 0:
			refused(path, `"`+strings.Repeat("x", int(f.Max)+1)+`"`)
		case f.Kind == fields.Text:
			refused(path, `"`+strings.Repeat("x", int(f.Max)+1)+`"`)
			refused(path, `{"$jobaudit":"truncated","size":1,"head":"`+strings.Repeat("x", max(int(f.Max), 1_024))+`"}`)
		case f.Kind == fields.Integer:
			refused(path, "1e3")
			if f.Max < 1<<62 {
				refused(path, fmt.Sprint(f.Max+1))
				refused(path, fmt.Sprint(f.Min-1))
			}
		case f.Kind == fields.Raw && f.Max > fields.MaxContent:
			return // the whole event would be too large
		case f.Kind == fields.Raw:
			refused(path, `"`+strings.Repeat("x", int(f.Max))+`"`)
			return
		case f.Kind == fields.Time:
			refused(path, `"1969-12-31T23:59:59.999999Z"`)
		case f.Kind == fields.List:
			_, err := ParseRecord([]byte(fullEvent(fields.Event(), "", wellFormed(map[string]string{"list": path}))))
			require.ErrorContains(t, err, path+": has more than 16 elements")
			return
		}
		refused(path, `[null]`)
	})
	require.Greater(t, rows, 100)
}

// Rules on what a text holds bind who writes. What was stored before there were
// such rules is read.
func TestWhatWasStoredBeforeARuleOnTextsStaysReadable(t *testing.T) {
	for _, text := range []string{"", " ", "a\u0000b", "\u202e"} {
		encoded, err := json.Marshal(text)
		require.NoError(t, err)
		replace := wellFormed(nil)
		fields.Event().All("", func(path string, f *fields.Field) {
			if f.Kind == fields.String && f.Words == nil && replace[path] == "" || f.Kind == fields.Text {
				replace[path] = string(encoded)
			}
		})
		record, err := ParseRecord([]byte(fullEvent(fields.Event(), "", replace)))
		require.NoError(t, err, "%q", text)
		require.Equal(t, text, record.Event().Who.Principal.ID)
	}
}
