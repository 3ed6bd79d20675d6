package fields_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/fields"
)

// schema is what the test understands of a JSON Schema.
type schema struct {
	Ref        string             `json:"$ref"`
	Defs       map[string]*schema `json:"$defs"`
	Type       string             `json:"type"`
	Pattern    string             `json:"pattern"`
	Const      any                `json:"const"`
	Enum       []any              `json:"enum"`
	MinLength  int64              `json:"minLength"`
	MaxLength  int64              `json:"maxLength"`
	Minimum    *int64             `json:"minimum"`
	Maximum    *int64             `json:"maximum"`
	MaxItems   int64              `json:"maxItems"`
	Required   []string           `json:"required"`
	Properties map[string]*schema `json:"properties"`
	Items      *schema            `json:"items"`
	If         *schema            `json:"if"`
	Then       *schema            `json:"then"`
}

// UnmarshalJSON reads the schemas true and false as ones that say nothing.
func (s *schema) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		return nil
	}
	type plain schema
	return json.Unmarshal(data, (*plain)(s))
}

func eventSchema(t *testing.T) *schema {
	t.Helper()
	content, err := os.ReadFile("../../docs/schema/event.schema.json")
	require.NoError(t, err)
	var s schema
	require.NoError(t, json.Unmarshal(content, &s))
	return &s
}

// compare says where the schema and the table differ, below a path.
func compare(root, s *schema, f *fields.Field, path string) (faults []string) {
	name := s.Ref
	for s.Ref != "" {
		s = root.Defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	}
	fault := func(format string, args ...any) {
		faults = append(faults, path+": "+fmt.Sprintf(format, args...))
	}
	switch f.Kind {
	case fields.Object:
		faults = append(faults, compareMembers(root, s, f, path)...)
	case fields.List:
		if s.Type != "array" || s.MaxItems != f.Max {
			fault("is a list of at most %d", f.Max)
			break
		}
		faults = append(faults, compare(root, s.Items, f.Of[0], path+"[]")...)
	case fields.String:
		limited := s.MaxLength == f.Max || s.Enum != nil || s.Const != nil
		if !limited || f.Answer && s.Enum == nil && s.MinLength < 1 {
			fault("is a string of at most %d", f.Max)
		}
		for _, word := range s.Enum {
			if f.Words != nil && !slices.Contains(f.Words, word.(string)) {
				fault("has the word %v", word)
			}
		}
		if f.Words != nil && len(s.Enum) != len(f.Words) {
			fault("has the words %v", f.Words)
		}
	case fields.Text:
		if s.If == nil || s.If.Type != "string" || s.Then.MaxLength != f.Max {
			fault("is a text of at most %d", f.Max)
		}
	case fields.Integer:
		least, most := int64(math.MinInt64), int64(math.MaxInt64)
		if s.Minimum != nil {
			least = *s.Minimum
		}
		if s.Maximum != nil {
			most = *s.Maximum
		}
		// A count of what was left out is not written if nothing was.
		if s.Type != "integer" || most != f.Max || least != f.Min && !(f.Min == 0 && least == 1 && (!f.Required || f.Name == "count")) {
			fault("is from %d to %d", f.Min, f.Max)
		}
	case fields.UUID:
		for version := range 16 {
			id := uuid.UUID{6: byte(version << 4), 8: 0x80}
			if regexp.MustCompile(s.Pattern).MatchString(id.String()) != (f.CheckUUID(id) == "") {
				fault("may be of version %d", version)
			}
		}
	case fields.Time:
		for text, ok := range map[string]bool{"1970-01-01T00:00:00.000000Z": true, "9999-12-31T23:59:59.999999Z": true, "1969-12-31T23:59:59.999999Z": false} {
			if regexp.MustCompile(s.Pattern).MatchString(text) != ok {
				fault("may be %s: %t", text, ok)
			}
		}
	case fields.Hash:
		if name != "#/$defs/hash" {
			fault("is a hash")
		}
	case fields.Bool:
		if s.Type != "boolean" {
			fault("is true or false")
		}
	case fields.Raw:
		if name != "#/$defs/content" && s.Type != "object" {
			fault("is any value")
		}
	}
	return faults
}

func compareMembers(root, s *schema, f *fields.Field, path string) (faults []string) {
	var required, names []string
	for _, m := range f.Of {
		below := strings.TrimPrefix(path+"."+m.Name, ".")
		names = append(names, m.Name)
		if m.Required {
			required = append(required, m.Name)
		}
		if s.Properties[m.Name] == nil {
			faults = append(faults, below+": is not in the schema")
			continue
		}
		faults = append(faults, compare(root, s.Properties[m.Name], m, below)...)
	}
	for name := range s.Properties {
		if !slices.Contains(names, name) {
			faults = append(faults, path+"."+name+": is not in the table")
		}
	}
	for _, name := range required {
		if !slices.Contains(s.Required, name) {
			faults = append(faults, path+"."+name+": is required")
		}
	}
	return faults
}

// The encoder and the decoder go by the table; others go by the schema.
func TestTheTableAndTheSchemaSayTheSame(t *testing.T) {
	s := eventSchema(t)
	for _, fault := range compare(s, s, fields.Event(), "") {
		t.Error(fault)
	}
	rows := 0
	fields.Event().All("", func(string, *fields.Field) { rows++ })
	require.Greater(t, rows, 100)
}

func TestADifferenceBetweenTableAndSchemaIsFound(t *testing.T) {
	for name, change := range map[string]func(s *schema){
		"a field that is missing": func(s *schema) { delete(s.Properties["job"].Properties, "queue") },
		"a field that is new":     func(s *schema) { s.Properties["new"] = &schema{} },
		"another limit":           func(s *schema) { s.Defs["identifier"].MaxLength++ },
		"another range":           func(s *schema) { *s.Properties["job"].Properties["attempt"].Maximum++ },
		"another length of lists": func(s *schema) { s.Properties["who"].Properties["onBehalfOf"].MaxItems++ },
		"another word":            func(s *schema) { s.Properties["job"].Properties["state"].Enum[0] = "waiting" },
		"a field that may be missing": func(s *schema) {
			s.Required = slices.DeleteFunc(s.Required, func(n string) bool { return n == "time" })
		},
		"another version of UUIDs": func(s *schema) { s.Defs["uuid7"].Pattern = s.Defs["uuid"].Pattern },
	} {
		s := eventSchema(t)
		change(s)
		require.NotEmpty(t, compare(s, s, fields.Event(), ""), name)
	}
}

// What the writer lets through the reader accepts, at each limit; what the
// reader refuses the writer does, beyond it.
func TestWriterAndReaderHaveTheSameLimits(t *testing.T) {
	tables := map[string]*fields.Field{"event": fields.Event(), "carrier": fields.Carrier(), "recovery": fields.Recovery()}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		tables[name].All("", func(path string, f *fields.Field) {
			table := &fields.Field{Kind: fields.Object, Of: []*fields.Field{f}}
			field := f.Name
			if field == "" {
				return // the table itself, or the element of a list
			}
			for value, ok := range limits(f) {
				w := fields.NewWriter([]byte{'{'}, table)
				write(&w, field, value)
				line := append(w.Dst, '}')
				r := fields.NewReader(table, nil, "")
				r.Object(line, func(_, raw []byte) { read(r, f, raw) })
				require.Equal(t, ok, w.Err() == nil, "%s %s: the writer says %v of %.80v", name, path, w.Err(), value)
				require.Equal(t, ok, r.Err() == nil, "%s %s: the reader says %v of %.80v", name, path, r.Err(), value)
				if !ok {
					require.Equal(t, field, r.Err().Path)
				}
			}
		})
	}
}

// limits are values at a field's limits, and beyond: false.
func limits(f *fields.Field) map[any]bool {
	values := map[any]bool{}
	switch f.Kind {
	case fields.String:
		if f.Words != nil {
			values[f.Words[0]], values["other"] = true, false
			break
		}
		for unit, size := range map[string]int64{"x": 1, `"`: 2, "€": 3, "\x01": 6} {
			values[strings.Repeat(unit, int(f.Max/size))] = true
			values[strings.Repeat(unit, int(f.Max/size)+1)] = false
		}
	case fields.Integer:
		values[f.Min], values[f.Max] = true, true
		if f.Min > math.MinInt64 {
			values[f.Min-1] = false
		}
		if f.Max < math.MaxInt64 {
			values[f.Max+1] = false
		}
	case fields.Raw:
		if f.Max > 0 {
			values[rawJSON(f.Max)], values[rawJSON(f.Max+1)] = true, false
		}
	}
	return values
}

// rawValue is JSON as it stands.
type rawValue string

func rawJSON(size int64) rawValue { return rawValue(`"` + strings.Repeat("x", int(size)-2) + `"`) }

func write(w *fields.Writer, name string, value any) {
	switch v := value.(type) {
	case string:
		w.String(name, v)
	case int64:
		w.Integer(name, v)
	case rawValue:
		w.Raw(name, []byte(v))
	}
}

func read(r *fields.Reader, f *fields.Field, raw []byte) {
	switch f.Kind {
	case fields.String:
		r.String(raw)
	case fields.Integer:
		r.Integer(raw)
	case fields.Raw:
		r.Raw(raw)
	}
}

func TestAFreeTextIsCutAndReadAtItsLimit(t *testing.T) {
	f := &fields.Field{Name: "t", Kind: fields.Text, Max: 1_024}
	table := &fields.Field{Kind: fields.Object, Of: []*fields.Field{f}}
	parse := func(line string) *fields.Error {
		r := fields.NewReader(table, nil, "")
		r.Object([]byte(line), func(_, raw []byte) { r.Text(raw) })
		return r.Err()
	}
	for _, text := range []string{"", "x", strings.Repeat("x", 1_024), strings.Repeat("x", 1_025), strings.Repeat("\x01", 9_999), "\xff"} {
		for _, rule := range []string{"", "jwt", strings.Repeat("r", 9_999)} {
			w := fields.NewWriter([]byte{'{'}, table)
			w.Text("t", text, rule)
			require.Nil(t, w.Err())
			require.Nil(t, parse(string(w.Dst)+"}"), "%.80s", w.Dst)
		}
	}
	require.NotNil(t, parse(`{"t":"`+strings.Repeat("x", 1_025)+`"}`))
	require.NotNil(t, parse(`{"t":{"$jobaudit":"truncated","size":1,"head":"`+strings.Repeat("x", 1_025)+`"}}`))
}

func TestAWriterNeverWritesWhatTheTableDoesNotHave(t *testing.T) {
	w := fields.NewWriter([]byte{'{'}, fields.Event())
	w.String("nonsense", "x")
	require.Equal(t, &fields.Error{Path: "nonsense", Problem: "is not in the table"}, w.Err())

	w = fields.NewWriter([]byte{'{'}, fields.Event())
	w.Open("who")
	w.Open("principal")
	w.String("id", strings.Repeat("x", 300))
	w.Close()
	w.Close()
	require.Equal(t, "who.principal.id", w.Err().Path)
}

func TestOnlyWhatCanBeSeenIsAnAnswer(t *testing.T) {
	for text, want := range map[string]bool{
		"x": true, "é": true, "🚀": true, "日": true, "a b": true, "\u200bx": true, "-": true,
		"": false, " ": false, "\t\n": false, "\u00a0": false, "\u200b\u200d": false, "\u3164": false, "\u2800": false,
		"\u115f": false, "\ufe0f": false, "\u034f": false, "\u2028": false, "\x00": false, "\x7f": false, "\u00ad": false,
	} {
		require.Equal(t, want, fields.Visible(text), "%q", text)
	}
}

func TestUUIDsAreOfTheVersionsThatRFC9562Has(t *testing.T) {
	f := &fields.Field{Kind: fields.UUID, Required: true}
	for version := range 16 {
		for variant := range 4 {
			id := uuid.UUID{0: 1, 6: byte(version << 4), 8: byte(variant << 6)}
			require.Equal(t, version >= 1 && version <= 8 && variant == 2, f.CheckUUID(id) == "", id)
		}
	}
	require.NotEmpty(t, f.CheckUUID(uuid.Nil))
	require.NotEmpty(t, f.CheckUUID(uuid.Max))
}

// A member is found wherever it stands in the table, and whatever was written
// before it: in the table's order, against it, or twice.
func TestMembersAreWrittenInAnyOrder(t *testing.T) {
	table := fields.Event()
	names := []string{"schemaVersion", "time", "job", "traceparent", "data"}
	for i := range 200 {
		order := rand.New(rand.NewPCG(1, uint64(i))).Perm(len(names))
		w := fields.NewWriter([]byte{'{'}, table)
		var want strings.Builder
		for n, at := range append(order, order[0]) {
			if n > 0 {
				want.WriteByte(',')
			}
			w.Open(names[at])
			w.Close()
			fmt.Fprintf(&want, "%q:{}", names[at])
		}
		require.Equal(t, want.String(), string(w.Dst[1:]))
		require.Nil(t, w.Err())
		w.Enter("nothing of that name")
		require.Equal(t, "nothing of that name", w.Err().Path)
	}
}

func TestAUUIDIsReadInItsOneForm(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for range 2000 {
		text := []byte(uuid.New().String())
		for range random.IntN(3) {
			text[random.IntN(len(text))] = "0aAfgG-{}: \x00\xff"[random.IntN(13)]
		}
		want, err := uuid.ParseBytes(text)
		one := err == nil && strings.ToLower(string(text)) == string(text)
		got, ok := fields.ParseUUID(text)
		require.Equal(t, one, ok, "%q", text)
		if ok {
			require.Equal(t, want, got)
		}
	}
	id := uuid.New().String()
	for _, other := range []string{"", id[:35], id + "0", "{" + id[:34] + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), "{" + id + "}"} {
		_, ok := fields.ParseUUID(other)
		require.False(t, ok, "%q", other)
	}
}
