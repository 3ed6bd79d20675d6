package walk_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
	"github.com/jobaudit/jobaudit/internal/walk"
)

const canary = "c4n4ry-value"

func whole(t *testing.T, v any) string {
	t.Helper()
	r, err := walk.Whole(reflect.ValueOf(v), walk.Env{Limit: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, jsonscan.Check(r.JSON), "%s", r.JSON)
	return string(r.JSON)
}

type (
	named    string
	stringer struct{ Public string }
	textual  struct{ s string }
	asJSON   struct{ raw string }
	pointery struct{ Raw string }
	failing  struct{ S string }
	mute     func()
)

func (stringer) String() string                { panic("called") }
func (stringer) Error() string                 { panic("called") }
func (stringer) Format(fmt.State, rune)        { panic("called") }
func (stringer) GoString() string              { panic("called") }
func (t textual) MarshalText() ([]byte, error) { return []byte("text " + t.s), nil }
func (j asJSON) MarshalJSON() ([]byte, error)  { return []byte(j.raw), nil }
func (p *pointery) MarshalJSON() ([]byte, error) {
	return []byte(`"hidden"`), nil
}
func (failing) MarshalJSON() ([]byte, error) { return nil, errors.New(canary) }

func TestWholeValuesAreWrittenAsEncodingJSONWould(t *testing.T) {
	type inner struct{ A, B int }
	type Promoted struct {
		X string
		Y string `json:"y,omitempty"`
	}
	type deeper struct{ Y, Z int }
	type shape struct {
		Promoted
		*deeper
		Named inner  `json:"named"`
		Skip  string `json:"-"`
		//lint:ignore SA5008 what encoding/json makes of it is the test
		Dash    string            `json:"-,"`
		Zero    time.Time         `json:"zero,omitzero"`
		Time    time.Time         `json:"time"`
		Empty   []int             `json:"empty,omitempty"`
		Nil     []int             `json:"nil"`
		Map     map[string]int    `json:"map"`
		Ints    map[int8]string   `json:"ints"`
		IDs     map[uuid.UUID]int `json:"ids"`
		Bytes   []byte            `json:"bytes"`
		Array   [3]uint8          `json:"array"`
		Float32 float32           `json:"float32"`
		Float64 []float64         `json:"float64"`
		Quoted  int64             `json:"quoted,string"`
		QuotedS string            `json:"quotedS,string"`
		Any     any               `json:"any"`
		Ptr     **int             `json:"ptr"`
		NilPtr  *int              `json:"nilPtr"`
		Raw     json.RawMessage   `json:"raw"`
		Number  json.Number       `json:"number"`
		Addr    netip.Addr        `json:"addr"`
		ID      uuid.UUID         `json:"id"`
		Big     *big.Int          `json:"big"`
		Text    textual           `json:"text"`
		JSON    asJSON            `json:"json"`
		//lint:ignore SA5008 as above
		Bad    string `json:"bad\"name"`
		hidden string
	}
	p := new(7)
	v := shape{Promoted{"x", "y"}, &deeper{1, 2}, inner{1, 2}, "skip", "dash", time.Time{}, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600)),
		nil, nil, map[string]int{"b": 1, "a": 2}, map[int8]string{-3: "x", 2: "y"}, map[uuid.UUID]int{uuid.Max: 1}, []byte{1, 2, 3}, [3]uint8{1, 2, 3},
		1.5e-9, []float64{1e21, 1e-7, 0.1, -0}, 42, `q"`, map[string]any{"z": []any{1, "two", nil, true}}, &p, nil,
		json.RawMessage(`{"b":1.50,"a":[]}`), "12.50", netip.MustParseAddr("::1"), uuid.Max, big.NewInt(math.MaxInt64), textual{"s"}, asJSON{`{"k":[1]}`}, "bad", "hidden"}
	for _, v := range []any{v, &v, shape{JSON: asJSON{"1"}}, []any{v, nil}, map[string]any{"v": v}} {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, string(want), whole(t, v))
	}
	_ = v.hidden
}

func TestConflictingNamesAreResolvedAsEncodingJSONWould(t *testing.T) {
	type A struct{ X, Y, T int }
	type B struct {
		X, Z int
	}
	type C struct{ B }
	type D struct{ B }
	type E struct {
		U int `json:"T"`
	}
	type F struct{ E }
	type G struct{ A }
	for _, v := range []any{
		struct {
			A
			B
		}{}, struct {
			F
			G
		}{}, struct {
			A
			B
			X string
		}{}, struct {
			C
			D
		}{}, struct {
			*A
			C
		}{}, struct {
			A `json:"a"`
			*B
		}{},
	} {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, string(want), whole(t, v))
	}
}

func TestWhatJSONCannotHoldIsMarked(t *testing.T) {
	dropped := func(rule string) string { return `{"$jobaudit":"dropped","rule":"` + rule + `"}` }
	for _, c := range []struct{ v, want any }{
		{math.NaN(), dropped("number")},
		{float32(math.Inf(-1)), dropped("number")},
		{make(chan int), dropped("kind")},
		{mute(nil), dropped("kind")},
		{1i, dropped("kind")},
		{unsafe.Pointer(nil), dropped("kind")},
		{json.Number("c4n4ry"), dropped("number")},
		{json.RawMessage(`{"a":1,"a":2}`), dropped("json")},
		{json.RawMessage(`{"a"`), dropped("json")},
		{asJSON{`{"a":1,"\u0061":2}`}, dropped("json")},
		{asJSON{"1 2"}, dropped("json")},
		{time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), dropped("time")},
		{url.URL{Scheme: "mailto", Opaque: canary}, dropped("url")},
		{url.URL{Scheme: "https", User: url.UserPassword(canary, canary), Host: "h", Path: "/p a", RawQuery: "t=" + canary, Fragment: canary}, `"https://h/p%20a"`},
		{stringer{"public"}, `{"Public":"public"}`},
		{fmt.Errorf("%w", errors.New(canary)), `{}`},
		{pointery{canary}, `"hidden"`},
		{[]pointery{{canary}}, `["hidden"]`},
		{map[string]pointery{"a": {canary}}, `{"a":"hidden"}`},
		{"a\xffb\x00<>&\u2028", "\"a\ufffdb\\u0000<>&\u2028\""},
		{json.RawMessage(` [ "\u003c\ud800" , 1.50 ] `), "[\"<\ufffd\",1.50]"},
		{map[textual]int{{"a"}: 1}, `{}`},
		{map[string]int{"a\xff": 1, "a\xfe": 2, "b": 3}, `{"b":3}`},
		{map[any]any{1: "a", "1": "b", true: "c", "x": "d"}, `{"x":"d"}`},
		{walk.Mark{}, `{}`},
		{struct{ _ walk.Mark }{}, dropped("secret")},
	} {
		require.Equal(t, c.want, whole(t, c.v), "%T", c.v)
	}
	r, err := walk.Whole(reflect.ValueOf(map[any]any{1: "a", "1": "b", true: "c"}), walk.Env{Limit: 100})
	require.NoError(t, err)
	require.Equal(t, 3, r.Count, "what is left out is counted")
	_, err = walk.Whole(reflect.ValueOf(failing{}), walk.Env{Limit: 100})
	require.Error(t, err)
}

// torture is one secret behind every kind and shape.
func torture() map[string]any {
	s := canary
	n := named(s)
	u, _ := url.Parse("https://" + s + ":" + s + "@host/" + s + "?" + s + "#" + s)
	var deep any = s
	for range 100 {
		deep = map[string]any{"keep": []any{deep}}
	}
	asJSONText, _ := json.Marshal(map[string]string{"hold": s})
	return map[string]any{
		"string": s, "named": n, "bytes": []byte(s), "raw": json.RawMessage(`"` + s + `"`), "rawObject": json.RawMessage(asJSONText),
		"array": [1]string{s}, "byteArray": [12]byte([]byte(s)), "slice": []string{s}, "pointer": &s, "pointers": []*string{&s},
		"any": any(s), "map": map[string]any{s: s}, "mapKey": map[named]int{n: 1}, "error": errors.New(s), "wrapped": fmt.Errorf("a: %w", errors.New(s)),
		"stringer": stringer{s}, "text": textual{s}, "json": asJSON{`"` + s + `"`}, "pointery": pointery{s}, "failing": failing{s},
		"url": u, "urlValue": *u, "header": http.Header{"Authorization": {s}}, "deep": deep, "chan": make(chan string), "func": func() string { return s },
		"struct": struct{ A string }{s}, "embedded": struct{ stringer }{stringer{s}}, "runes": []rune(s), "jsonInString": string(asJSONText),
		"anys": []any{s, []byte(s), n}, "maps": []map[string]any{{s: s}}, "buffer": bytes.NewBufferString(s), "builder": new(strings.Builder),
		"values": url.Values{s: {s}}, "number": json.Number(s), "request": &http.Request{Header: http.Header{"Cookie": {s}}, URL: u}, "iface": struct{ E error }{errors.New(s)},
		"env": []string{"TOKEN=" + s}, "matrix": [][]string{{s}}, "rawMap": map[string]json.RawMessage{"x": json.RawMessage(`"` + s + `"`)}, "big": new(big.Int).SetBytes([]byte(s)),
	}
}

// forms are the renderings in which a leaked canary could stand.
func forms() []string {
	all := []string{canary, strings.ToUpper(canary), hex.EncodeToString([]byte(canary)), "99,52,110", new(big.Int).SetBytes([]byte(canary)).String()}
	for shift := range 3 {
		enc := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + canary))
		all = append(all, enc[4:len(enc)-4])
	}
	return all
}

func requireHidden(t *testing.T, got []byte) {
	t.Helper()
	for _, form := range forms() {
		require.NotContains(t, string(got), form)
	}
}

func plan(t *testing.T, typ reflect.Type, keep ...string) *walk.Plan {
	t.Helper()
	var paths []walk.Path
	for _, k := range keep {
		paths = append(paths, walk.Path{Text: k})
	}
	p, err := walk.NewPlan(typ, paths)
	require.NoError(t, err)
	return p
}

func TestNothingUnnamedIsStored(t *testing.T) {
	p := plan(t, nil, "keep", "list[*].keep", "map.keep", "star.*.keep", "deep.keep[*].keep[*].keep")
	for name, secret := range torture() {
		v := map[string]any{
			"keep": "kept", "KEEP": secret, "Keep": secret, "k\u0435ep": secret, "other": secret,
			"list": []any{secret, map[string]any{"keep": "kept", "other": secret}, []any{secret}},
			"map":  map[string]any{"keep": "kept", "other": secret},
			"star": map[string]any{"one": map[string]any{"keep": "kept", "other": secret}, "two": secret},
			"deep": map[string]any{"keep": []any{secret, map[string]any{"keep": secret}}},
		}
		if name == "deep" {
			delete(v, "deep") // there it is named
		}
		t.Run(name, func(t *testing.T) {
			r, err := p.Value(reflect.ValueOf(v), walk.Env{Limit: 16_000})
			require.NoError(t, err)
			requireHidden(t, r.JSON)
			require.Equal(t, 4, strings.Count(string(r.JSON), `"keep":"kept"`), "%s", r.JSON)
			require.NoError(t, jsonscan.Check(r.JSON))
		})
	}
}

func TestOnlyLeavesAreKeptWhereALeafIsNamed(t *testing.T) {
	p := plan(t, nil, "*")
	r, err := p.Value(reflect.ValueOf(torture()), walk.Env{Limit: 16_000})
	require.Error(t, err, "failing is a leaf that fails")
	v := torture()
	delete(v, "failing")
	r, err = p.Value(reflect.ValueOf(v), walk.Env{Limit: 16_000})
	require.NoError(t, err)
	var kept map[string]any
	require.NoError(t, json.Unmarshal(r.JSON, &kept))
	leaves := map[string]any{
		"string": canary, "named": canary, "pointer": canary, "any": canary, "raw": canary, "text": "text " + canary, "json": canary, "pointery": "hidden",
		"url": "https://host/" + canary, "urlValue": "https://host/" + canary, "jsonInString": `{"hold":"` + canary + `"}`,
		"number": map[string]any{"$jobaudit": "dropped", "rule": "number"},
	}
	delete(kept, "big") // a number
	require.Equal(t, leaves, kept)
	require.Equal(t, len(v)-len(leaves)-1, r.Count)
}

func TestNoPathLeadsIntoASecretOrIntoWhatAMarshalerWrites(t *testing.T) {
	type secret struct {
		_   walk.Mark
		Raw string
	}
	v := map[string]any{"secret": secret{Raw: canary}, "object": asJSON{`{"a":"` + canary + `"}`}, "array": asJSON{` ["` + canary + `"]`}}
	for _, c := range []struct{ keep, want string }{
		{"*", `{"secret":{"$jobaudit":"dropped","rule":"secret"}}`},
		{"*.*", `{"array":{},"object":{}}`},
		{"secret.Raw", `{}`},
		{"object", `{}`},
		{"object.a", `{"object":{}}`},
		{"array[*]", `{}`},
	} {
		r, err := plan(t, nil, c.keep).Value(reflect.ValueOf(v), walk.Env{Limit: 1000})
		require.NoError(t, err)
		requireHidden(t, r.JSON)
		require.Equal(t, c.want, string(r.JSON), c.keep)
	}
	_, err := walk.NewPlan(reflect.TypeFor[struct{ S secret }](), []walk.Path{{Text: "S.Raw"}})
	require.Error(t, err)
}

func TestBytesAreKeptOnlyWhereTheirTypeWasKnown(t *testing.T) {
	type in struct {
		B []byte
		A any
		M map[string][]byte
	}
	v := in{[]byte("b"), []byte(canary), map[string][]byte{"x": []byte("m")}}
	p := plan(t, reflect.TypeFor[in](), "B", "A", "M.*")
	r, err := p.Value(reflect.ValueOf(v), walk.Env{Limit: 1000})
	require.NoError(t, err)
	require.Equal(t, `{"B":"Yg==","M":{"x":"bQ=="}}`, string(r.JSON))
	p = plan(t, nil, "B", "A", "M.*")
	r, err = p.Value(reflect.ValueOf(v), walk.Env{Limit: 1000})
	require.NoError(t, err)
	require.Equal(t, `{"M":{}}`, string(r.JSON))
	require.Equal(t, 3, r.Count)
}

func TestAPathMeansTheSameInGoAndInJSON(t *testing.T) {
	v := map[string]any{
		"a": map[string]any{"b": 1, "c": map[string]any{"d": "x"}, "e": nil}, "list": []any{1, []any{2, "three"}, nil, map[string]any{"k": true}},
		"x.y": "dotted", "labels": map[string]any{"one": "1", "two": map[string]any{"three": 3}}, "deep": map[string]any{"p": map[string]any{"q": 1, "r": 2}, "s": map[string]any{"q": 3}},
	}
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	for _, c := range []struct{ keep, want string }{
		{"a.b", `{"a":{"b":1}}`},
		{"a.e", `{"a":{"e":null}}`},
		{"a.*", `{"a":{"b":1,"e":null}}`},
		{"a.c.d", `{"a":{"c":{"d":"x"}}}`},
		{"a", `{}`},
		{"a[*]", `{}`},
		{"list", `{}`},
		{"list[*]", `{"list":[1,null]}`},
		{"list[*][*]", `{"list":[[2,"three"],null]}`},
		{"list[*].k", `{"list":[null,{"k":true}]}`},
		{`["x.y"]`, `{"x.y":"dotted"}`},
		{"labels.*", `{"labels":{"one":"1"}}`},
		{"deep.*.q", `{"deep":{"p":{"q":1},"s":{"q":3}}}`},
		{"deep.p.r deep.*.q", `{"deep":{"p":{"r":2},"s":{"q":3}}}`},
		{"*.b", `{"a":{"b":1},"deep":{},"labels":{}}`},
		{"*", `{"x.y":"dotted"}`},
		{"[*]", `null`},
	} {
		p := plan(t, nil, strings.Fields(c.keep)...)
		fromGo, err := p.Value(reflect.ValueOf(v), walk.Env{Limit: 1000})
		require.NoError(t, err)
		fromJSON, err := p.Raw(raw, walk.Env{Limit: 1000})
		require.NoError(t, err)
		require.Equal(t, c.want, string(fromGo.JSON), c.keep)
		require.Equal(t, fromGo, fromJSON, c.keep)
		nested, err := p.Value(reflect.ValueOf(new(json.RawMessage(raw))), walk.Env{Limit: 1000})
		require.NoError(t, err)
		require.Equal(t, fromGo, nested, c.keep)
	}
}

func TestAStarOnAStructStandsForTheFieldsItHas(t *testing.T) {
	type user struct {
		ID    int
		Email string `json:"email"`
		Tags  []string
		Token struct{ _ walk.Mark }
		Ch    chan int
	}
	p := plan(t, reflect.TypeFor[struct{ U user }](), "U.*")
	require.Equal(t, map[string]string{"U.ID": "integer", "U.email": "string"}, p.Keeps())
	r, err := p.Raw([]byte(`{"U":{"ID":1,"email":"e","new":"c4n4ry","Tags":["c4n4ry"]}}`), walk.Env{Limit: 1000})
	require.NoError(t, err)
	require.Equal(t, `{"U":{"ID":1,"email":"e"}}`, string(r.JSON))
	require.Equal(t, 2, r.Count)
}

func TestRecursiveTypesAreDescribed(t *testing.T) {
	type node struct {
		Name string
		Kids []*node
		By   map[string]node
	}
	leaves, err := walk.Describe(reflect.TypeFor[node](), nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Name": "string", "Kids[*]": "like .", "By.*": "like ."}, leaves)
	type endless *endless
	_, err = walk.Describe(reflect.TypeFor[endless](), nil)
	require.Error(t, err)
	_, err = walk.NewPlan(reflect.TypeFor[endless](), []walk.Path{{Text: "a"}})
	require.Error(t, err)
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"a.b", "a[*].b", "*", `["x.y"].z`, "a..b", "[*", `["`, "a.[*]", "*.*[*]"} {
		f.Add(s)
	}
	raw := []byte(`{"a":{"b":"kept","":1},"x.y":{"z":[1]},"list":[[{"a":"c4n4ry"}]]}`)
	var v any
	if json.Unmarshal(raw, &v) != nil {
		f.Fatal("not JSON")
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := walk.NewPlan(nil, []walk.Path{{Text: text}})
		if err != nil {
			return
		}
		fromGo, err := p.Value(reflect.ValueOf(v), walk.Env{Limit: 1000})
		require.NoError(t, err)
		fromJSON, err := p.Raw(raw, walk.Env{Limit: 1000})
		require.NoError(t, err)
		require.NoError(t, jsonscan.Check(fromGo.JSON))
		require.JSONEq(t, string(fromGo.JSON), string(fromJSON.JSON))
		require.Equal(t, fromGo.Count, fromJSON.Count)
	})
}

// FuzzRaw holds that what is stored of any JSON is strict JSON of the same
// meaning, or less.
func FuzzRaw(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.50,"x"],"$jobaudit":null}`, `"\ud800"`, ` [ ] `, `{}`, `-0.0e+1`, `{"a":1,"a":2}`, "\xff", `[[[[]]]]`} {
		f.Add([]byte(s))
	}
	p, err := walk.NewPlan(nil, []walk.Path{{Text: "a.*"}, {Text: "b[*]"}, {Text: "[*].c"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := walk.Whole(reflect.ValueOf(json.RawMessage(raw)), walk.Env{Limit: 1 << 20})
		if err == nil {
			require.NoError(t, jsonscan.Check(r.JSON))
		}
		kept, err := p.Raw(raw, walk.Env{Limit: 1000})
		if err == nil {
			require.NoError(t, jsonscan.Check(kept.JSON))
		}
		if walk.Check(raw) != nil || bytes.Contains(raw, []byte("jobaudit")) || bytes.ContainsRune(raw, '\\') {
			return
		}
		var want, got any
		if json.Unmarshal(raw, &want) == nil && json.Unmarshal(r.JSON, &got) == nil {
			require.Equal(t, want, got)
		}
	})
}
