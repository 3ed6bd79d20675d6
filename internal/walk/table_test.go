package walk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// removals notes what a walk says it removes.
type removals struct {
	texts, credentials []string
	incomplete         bool
}

func (r *removals) Add(text string, credential bool) {
	if credential {
		r.credentials = append(r.credentials, text)
	} else {
		r.texts = append(r.texts, text)
	}
}

func (r *removals) AddNamed(text string) { r.Add(text, true) }

func (r *removals) AddWhole(text string) { r.Add(text, false) }

func (r *removals) AddBytes(raw []byte, credential bool) { r.Add(string(raw), credential) }

func (r *removals) SetIncomplete() { r.incomplete = true }

type hidden struct {
	Open   string
	closed string
	Dash   string `json:"-"`
	Sealed sealed
	sealed sealed
}

// sealed is a value that is never stored.
type sealed struct {
	_    walk.Mark
	held func() any
}

func reveal(v any) (any, bool) {
	s, ok := v.(sealed)
	if !ok {
		return nil, false
	}
	return s.held(), true
}

func seal(v any) sealed { return sealed{held: func() any { return v }} }

type shouted struct{ text string }

func (s shouted) MarshalText() ([]byte, error) { return []byte(strings.ToUpper(s.text)), nil }

type broken struct{}

func (broken) MarshalJSON() ([]byte, error) { return nil, errors.New("no") }

func TestEachKindOfValueIsWrittenAsTheTableSays(t *testing.T) {
	when := time.Date(2026, 11, 21, 20, 45, 33, 123456000, time.UTC)
	id := uuid.MustParse("0198f2a4-7c1e-7a6b-9d3e-5f0a1b2c3d4e")
	address, err := url.Parse("https://u:p@example.org/a?q=1#f")
	require.NoError(t, err)
	const marker = `{"$jobaudit":"dropped","rule":"%s"}`
	for name, c := range map[string]struct {
		v    any
		want string
		err  error
	}{
		"nil": {nil, "null", nil}, "bool": {true, "true", nil}, "int": {-7, "-7", nil}, "uint8": {uint8(255), "255", nil}, "float32": {float32(0.1), "0.1", nil}, "float64": {1e21, "1e+21", nil},
		"NaN": {math.NaN(), fmt.Sprintf(marker, "number"), nil}, "infinity": {math.Inf(-1), fmt.Sprintf(marker, "number"), nil}, "text": {"a\"\u2028<", "\"a\\\"\u2028<\"", nil}, "invalid": {"a\xff", "\"a\ufffd\"", nil},
		"number": {json.Number("1e3"), "1e3", nil}, "no number": {json.Number("x"), fmt.Sprintf(marker, "number"), nil}, "empty number": {json.Number(""), "0", nil},
		"bytes": {[]byte("ab"), `"YWI="`, nil}, "nil bytes": {[]byte(nil), "null", nil}, "array": {[2]byte{1, 2}, "[1,2]", nil}, "runes": {[]rune("ab"), "[97,98]", nil},
		"time": {when, `"2026-11-21T20:45:33.123456Z"`, nil}, "year 10000": {time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), fmt.Sprintf(marker, "time"), nil}, "uuid": {id, `"` + id.String() + `"`, nil},
		"url": {*address, `"https://example.org/a"`, nil}, "opaque url": {url.URL{Scheme: "mailto", Opaque: "a@b"}, fmt.Sprintf(marker, "url"), nil},
		"text marshaler": {shouted{"a"}, `"A"`, nil}, "broken": {broken{}, "", errors.New("no")}, "channel": {make(chan int), fmt.Sprintf(marker, "kind"), nil}, "func": {func() {}, fmt.Sprintf(marker, "kind"), nil}, "complex": {1i, fmt.Sprintf(marker, "kind"), nil},
		"raw": {json.RawMessage(` {"b":1.0, "a":"\u0061"}`), `{"b":1.0,"a":"a"}`, nil}, "raw twice": {json.RawMessage(`{"a":1,"a":2}`), fmt.Sprintf(marker, "json"), nil}, "no JSON": {json.RawMessage(`{`), fmt.Sprintf(marker, "json"), nil}, "empty raw": {json.RawMessage{}, "null", nil},
		"map": {map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`, nil}, "int keys": {map[int]string{2: "b", 10: "a"}, `{"10":"a","2":"b"}`, nil}, "uuid keys": {map[uuid.UUID]int{id: 1}, `{"` + id.String() + `":1}`, nil}, "float keys": {map[float64]int{1.5: 1}, "{}", nil},
		"any keys": {map[any]any{"a": 1, 2: "b"}, `{"2":"b","a":1}`, nil}, "names that become one": {map[string]int{"\xff": 1, "\xfe": 2}, "{}", nil}, "nil map": {map[string]int(nil), "null", nil}, "reserved": {map[string]int{"$jobaudit": 1}, `{"$$jobaudit":1}`, nil},
		"list": {[]any{1, nil, "a"}, `[1,null,"a"]`, nil}, "nil list": {[]int(nil), "null", nil}, "empty list": {[]int{}, "[]", nil}, "pointer": {new(int), "0", nil}, "nil pointer": {(*int)(nil), "null", nil}, "a mark": {seal("x"), fmt.Sprintf(marker, "secret"), nil},
		"struct": {struct {
			A, b string
			C    int    `json:"c,omitempty"`
			D    string `json:"-"`
			E    *int   `json:",omitempty"`
			F    int    `json:",string"`
		}{A: "a", b: "b", D: "d"}, `{"A":"a","F":"0"}`, nil},
		"deep": {nested(40), "", walk.ErrLimit}, "wide": {make([]int, walk.MaxNodes+1), "", walk.ErrLimit}, "large": {strings.Repeat("x", walk.MaxBytes+1), "", walk.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := walk.Whole(reflect.ValueOf(c.v), walk.Env{Limit: 1 << 20})
			if c.err != nil {
				require.Error(t, err)
				if c.err == walk.ErrLimit {
					require.ErrorIs(t, err, walk.ErrLimit)
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, string(got.JSON))
		})
	}
	var self any
	self = &self
	_, err = walk.Whole(reflect.ValueOf(self), walk.Env{Limit: 100})
	require.ErrorIs(t, err, walk.ErrCycle)
}

func nested(depth int) any {
	var v any = 1
	for range depth {
		v = []any{v}
	}
	return v
}

// Whatever a walk leaves out, it says, once, and what is a credential.
func TestAWalkSaysWhatItRemoves(t *testing.T) {
	value := func() hidden {
		return hidden{"open", "closed", "dash", seal("s1"), seal([]byte("s2"))}
	}
	raw, err := json.Marshal(map[string]any{"keep": "k", "drop": map[string]any{"a": []string{"d1", "d2"}}, "pw": "pw1", "n": 4711, "other": "o"})
	require.NoError(t, err)
	var dynamic map[string]any
	require.NoError(t, json.Unmarshal(raw, &dynamic))
	paths := []walk.Path{{Text: "keep"}, {Text: "pw", Drop: true, Class: "credential"}, {Text: "n", Drop: true, Class: "credential"}, {Text: "drop", Drop: true, Class: "personal"}}
	plan, err := walk.NewPlan(nil, paths)
	require.NoError(t, err)
	open, err := walk.NewPlan(reflect.TypeFor[hidden](), []walk.Path{{Text: "Open"}})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		apply              func(walk.Env) (walk.Result, error)
		texts, credentials []string
	}{
		"whole":      {func(e walk.Env) (walk.Result, error) { return walk.Whole(reflect.ValueOf(value()), e) }, []string{"closed", "dash"}, []string{"s1", "s2"}},
		"by pointer": {func(e walk.Env) (walk.Result, error) { v := value(); return walk.Whole(reflect.ValueOf(&v), e) }, []string{"dash"}, []string{"s1", "s2"}},
		"by path":    {func(e walk.Env) (walk.Result, error) { return open.Value(reflect.ValueOf(value()), e) }, []string{"closed", "dash"}, []string{"s1", "s2"}},
		"raw":        {func(e walk.Env) (walk.Result, error) { return plan.Raw(raw, e) }, []string{"a", "d1", "d2", "other", "o"}, []string{"pw1", "4711"}},
		"dynamic":    {func(e walk.Env) (walk.Result, error) { return plan.Value(reflect.ValueOf(dynamic), e) }, []string{"a", "d1", "d2", "other", "o"}, []string{"pw1", "4711"}},
		"nothing":    {func(e walk.Env) (walk.Result, error) { return walk.Whole(reflect.ValueOf(dynamic), e) }, nil, nil},
		"url": {func(e walk.Env) (walk.Result, error) {
			u, _ := url.Parse("https://u:p@example.org/a?q=1")
			return walk.Whole(reflect.ValueOf(u), e)
		}, []string{"https://u:p@example.org/a?q=1"}, nil},
		"no JSON": {func(e walk.Env) (walk.Result, error) { return walk.Whole(reflect.ValueOf(json.RawMessage("{x")), e) }, []string{"{x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got removals
			_, err := c.apply(walk.Env{Limit: 1 << 20, Removed: &walk.Collector{To: &got, Reveal: reveal}})
			require.NoError(t, err)
			require.Subset(t, got.texts, c.texts)
			require.ElementsMatch(t, c.credentials, got.credentials)
			require.NotContains(t, got.texts, "open")
			require.NotContains(t, got.texts, "k")
			require.False(t, got.incomplete)
		})
	}
}

func TestPathsSayWhatIsWrongWithThem(t *testing.T) {
	type leaf struct{ A string }
	type in struct {
		Name  string
		Leaf  leaf
		List  []leaf
		Map   map[string]int
		Chan  chan int
		Bytes []byte
	}
	for path, problem := range map[string]string{
		"": "empty", "a..b": "malformed", "a.": "malformed", `a["b`: "malformed", "a]": "malformed", strings.Repeat("a", 257): "longer", "a\xff": "UTF-8", strings.Repeat("[*]", 40): "deeper",
		"nope": "unknown", "Leaf": "more than one", "Leaf.B": "unknown", "Name.x": "not an object", "Name[*]": "not a list", "List.A": "not an object", "Map": "more than one", "Chan": "cannot be stored", "List[*]": "more than one",
	} {
		_, err := walk.NewPlan(reflect.TypeFor[in](), []walk.Path{{Text: path}})
		require.ErrorContains(t, err, problem, "%q", path)
	}
	for _, paths := range [][]walk.Path{
		{{Text: "Name"}, {Text: "Name"}}, {{Text: "Leaf.A"}, {Text: "Leaf", Drop: true, Class: "x"}}, {{Text: "Name", Drop: true}},
	} {
		_, err := walk.NewPlan(reflect.TypeFor[in](), paths)
		require.Error(t, err)
	}
	plan, err := walk.NewPlan(reflect.TypeFor[in](), []walk.Path{{Text: "Name"}, {Text: "Leaf.*"}, {Text: "List[*].A"}, {Text: "Map.*"}, {Text: "Bytes"}})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Name": "string", "Leaf.A": "string", "List[*].A": "string", "Map.*": "integer", "Bytes": "bytes"}, plan.Keeps())
}
