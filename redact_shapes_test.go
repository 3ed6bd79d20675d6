package jobaudit_test

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

type (
	namedString string
	namedBytes  []byte
	namedMap    map[namedString]namedString
	private     struct{ hidden string }
	embeds      struct{ private }
	textForm    struct{ s string }
	jsonForm    struct{ s string }
	talkative   struct{ Public string }
	codedSecret struct{ s string }
	mapError    struct {
		s string
		m map[string]int
	}
	generic[T any] struct{ V T }
	keyed          struct{ K string }
)

func (t textForm) MarshalText() ([]byte, error) { return []byte(t.s), nil }
func (j jsonForm) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]string{"s": j.s}) }
func (talkative) String() string                { panic("String was called") }
func (talkative) Error() string                 { panic("Error was called") }
func (talkative) GoString() string              { panic("GoString was called") }
func (talkative) Format(fmt.State, rune)        { panic("Format was called") }
func (c codedSecret) Error() string             { return "failed" }
func (c codedSecret) JobErrorCode() string      { return c.s }
func (keyed) UnmarshalText([]byte) error        { return nil }
func (mapError) Error() string                  { return "failed" }
func (k keyed) MarshalText() ([]byte, error)    { return []byte(k.K), nil }

var _ encoding.TextMarshaler = keyed{}

// shapes is one secret behind every Go kind and shape.
func shapes(s string) map[string]any {
	n, p := namedString(s), &s
	pp := &p
	u := &url.URL{Scheme: "https", User: url.UserPassword("user", s), Host: "host", Path: "/p", RawQuery: "t=" + url.QueryEscape(s), Fragment: s}
	object, _ := json.Marshal(map[string]any{"hold": []any{s}, s: 1})
	inString, _ := json.Marshal(string(object))
	var array [64]byte
	copy(array[:], s)
	buffer := bytes.NewBufferString(s)
	var builder strings.Builder
	builder.WriteString(s)
	var smap sync.Map
	smap.Store(s, s)
	ch := make(chan string, 1)
	ch <- s
	return map[string]any{
		"string": s, "named": n, "pointer": p, "pointers": pp, "any": any(s), "bytes": []byte(s), "named bytes": namedBytes(s), "array": array,
		"runes": []rune(s), "strings": []string{s}, "string array": [2]string{s, s}, "matrix": [][]string{{s}}, "pointers in list": []*string{p},
		"map value": map[string]string{"k": s}, "map key": map[string]int{s: 1}, "named map": namedMap{n: n}, "any map": map[any]any{s: s, 1: s}, "deep map": map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": s}}}},
		"text keys": map[keyed]int{{s}: 1}, "array keys": map[[1]string]string{{s}: s}, "struct": struct{ A string }{s}, "tagged": struct {
			A string `json:"b,omitempty"`
		}{s},
		"private": private{s}, "embedded": embeds{private{s}}, "generic": generic[[]string]{[]string{s}}, "string option": struct {
			A string `json:",string"`
		}{s},
		"interface field": struct{ E error }{errors.New(s)}, "error": errors.New(s), "wrapped": fmt.Errorf("a: %w", errors.New(s)), "joined": errors.Join(errors.New("x"), errors.New(s)),
		"Stringer": talkative{s}, "TextMarshaler": textForm{s}, "json.Marshaler": jsonForm{s}, "pointer to marshaler": &jsonForm{s},
		"RawMessage": json.RawMessage(object), "raw in map": map[string]json.RawMessage{"x": json.RawMessage(object)}, "json.Number": json.Number(s), "JSON in string": string(object), "JSON in JSON": json.RawMessage(inString), "JSON bytes": []byte(object),
		"url": u, "url value": *u, "url string": u.String(), "values": url.Values{s: {s}, "a": {s}}, "header": http.Header{"Authorization": {"Bearer " + s}, "Cookie": {"session=" + s}},
		"request": &http.Request{Header: http.Header{"X": {s}}, URL: u, Form: url.Values{"a": {s}}}, "cookie": &http.Cookie{Name: "a", Value: s}, "environment": []string{"PATH=/bin", "TOKEN=" + s},
		"buffer": buffer, "builder": &builder, "reader": strings.NewReader(s), "sync.Map": &smap, "chan": ch, "func": func() string { return s }, "big": new(big.Int).SetBytes([]byte(s)), "unsafe": unsafe.Pointer(p), "complex": complex(1, 2),
		"template": template.New(s), "time zone": time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone(s, 0)), "multi-line": "first line\n" + s + "\nlast line",
		"error in shared value": &struct {
			Mu *sync.Mutex
			E  error
		}{new(sync.Mutex), mapError{s, map[string]int{}}},
		"base64": base64.StdEncoding.EncodeToString([]byte(s)), "secret": jobaudit.NewSecret(s), "secrets": []jobaudit.Secret[string]{jobaudit.NewSecret(s)}, "reader chain": io.MultiReader(strings.NewReader(s)),
	}
}

// renderings are the forms of a secret that no record may hold.
func renderings(s string) []string {
	quoted, _ := json.Marshal(s)
	all := []string{s, strings.ToUpper(s), strings.ToLower(s), hex.EncodeToString([]byte(s)), strings.ToUpper(hex.EncodeToString([]byte(s))),
		url.QueryEscape(s), url.PathEscape(s), strings.Trim(string(quoted), `"`), strings.Trim(strings.ReplaceAll(fmt.Sprint([]byte(s)), " ", ","), "[]"), strings.Trim(strings.ReplaceAll(fmt.Sprint([]rune(s)), " ", ","), "[]")}
	for shift := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			encoded := e.EncodeToString([]byte(strings.Repeat("\x00", shift) + s))
			all = append(all, encoded[(shift*8+5)/6:(shift+len(s))*8/6])
		}
	}
	return all
}

func requireAbsent(t *testing.T, data []byte, secret string) {
	t.Helper()
	for _, form := range renderings(secret) {
		require.False(t, bytes.Contains(data, []byte(form)), "%q in %.2000s", form, data)
	}
}

// Whatever holds a secret, no form of rule stores it unless it is named, and
// the pass-through stores none that gives itself away.
func TestNoShapeOfGoHidesASecret(t *testing.T) {
	type in struct {
		Keep   string `json:"keep" audit:"keep"`
		Hidden any    `json:"hidden"`
	}
	type kept struct {
		Keep string `json:"keep"`
	}
	rules := map[string]jobaudit.Rule{
		"typed":     jobaudit.Inputs(func(v in) (kept, error) { return kept{v.Keep}, nil }),
		"tags":      jobaudit.InputPaths[in](),
		"unchecked": jobaudit.InputPaths[any](jobaudit.Keep("keep"), jobaudit.Keep("hidden.no.such[*].path"), jobaudit.Drop("other", "x")),
	}
	pass, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true})
	require.NoError(t, err)
	const canary = "c4n4ry-S3cr3t/x7y8"
	for name, v := range shapes(canary) {
		for form, rule := range rules {
			t.Run(form+"/"+name, func(t *testing.T) {
				g := registry(t, jobaudit.NewRedactor("act", "1", rule))
				s, err := g.StoredInputs("act", in{"kept", v})
				require.NoError(t, err)
				requireAbsent(t, []byte(s.JSON), canary)
				require.True(t, strings.HasPrefix(s.JSON, `{"keep":"kept"`), s.JSON)
				require.LessOrEqual(t, len(s.JSON), len(`{"keep":"kept","hidden":{}}`))
			})
		}
	}
	for name, v := range shapes(apiToken()) {
		t.Run("pass-through/"+name, func(t *testing.T) {
			for _, v := range []any{v, &v, []any{v}, map[string]any{"a": v}, struct{ V any }{v}} {
				s := pass.StoredOutput("act", v)
				requireAbsent(t, []byte(s.JSON), apiToken())
				require.NotContains(t, fmt.Sprintf("%+v", s.Redaction), apiToken())
			}
		})
	}
}

// Whatever held it among the inputs, a secret that was removed does not come
// back in the job's later texts or output, in whatever form.
func TestNoShapeOfGoHidesASecretFromTaint(t *testing.T) {
	const secret = "c4n4ry-S3cr3t/x7y8"
	unseen := map[string]bool{ // what reflection cannot look into, or what is not there as text
		"chan": true, "func": true, "unsafe": true, "complex": true, "big": true, "buffer": true, "builder": true, "reader": true, "sync.Map": true,
		"template": true, "time zone": true, "reader chain": true,
		"base64": true, // the removed value is the base64 form, and that is what is looked for
	}
	g := registry(t, jobaudit.NewRedactor("rebuild-index", "1", jobaudit.InputPaths[any](jobaudit.Keep("keep")), jobaudit.OutputPaths[any](jobaudit.Keep("*"))))
	for name, v := range shapes(secret) {
		if unseen[name] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			sink := memsink.New(nil)
			rec := open(t, sink, &jobaudit.Options{Redactors: g})
			s := submission()
			s.Inputs = map[string]any{"keep": "kept", "hidden": v}
			job, err := rec.Submit(t.Context(), s)
			require.NoError(t, err)
			require.NoError(t, job.Start(t.Context(), jobaudit.Execution{}))
			for _, form := range renderings(secret)[:8] {
				job.Log(t.Context(), "line: "+form)
			}
			job.SetOutput(map[string]any{"raw": secret, "bytes": textForm{secret}, "list": json.RawMessage(`"` + secret + `"`)})
			require.NoError(t, job.Fail(t.Context(), codedSecret{secret}))
			require.NoError(t, rec.Close(t.Context()))
			for r, err := range sink.Records(t.Context(), jobaudit.Query{}) {
				require.NoError(t, err)
				requireAbsent(t, r.Bytes(), secret)
			}
		})
	}
}

// blocker's methods never return.
type blocker struct{ S string }

func (blocker) String() string { select {} }
func (blocker) Error() string  { select {} }

func TestHostileInputsNeitherHangNorLeak(t *testing.T) {
	const secret = "c4n4ry-S3cr3t/x7y8"
	self := map[string]any{"secret": secret}
	self["self"] = self
	type ring struct {
		Next   *ring
		Secret string
	}
	loop := &ring{Secret: secret}
	loop.Next = loop
	deep := any(secret)
	for range size.Times(100_000, 20_000) {
		deep = []any{deep}
	}
	many := make([]any, size.Times(1_000_000, 50_000))
	long := size.Times(100<<20, 2<<20)
	for i := range many {
		many[i] = secret
	}
	wide := map[string]any{}
	for i := range 10 {
		layer := map[string]any{}
		for j := range 10 {
			layer[fmt.Sprint(j)] = wide
		}
		wide = map[string]any{fmt.Sprint(i): layer, "secret": secret}
	}
	for name, v := range map[string]any{
		"map in itself": self, "ring": loop, "deep": deep, "many": many, "long": strings.Repeat(secret, long/len(secret)), "a bomb": wide,
		"a blocking Stringer": map[string]any{"a": blocker{secret}, "b": &blocker{secret}}, "a panicking Stringer": talkative{secret},
		"forged": map[string]any{"$jobaudit": "dropped", "rule": secret},
	} {
		t.Run(name, func(t *testing.T) {
			for _, opts := range []*jobaudit.RegistryOptions{nil, {PassThrough: true}} {
				g, err := jobaudit.NewRegistry(opts)
				require.NoError(t, err)
				sink := memsink.New(nil)
				rec := open(t, sink, &jobaudit.Options{Redactors: g})
				s := submission()
				s.Inputs = v
				job, err := rec.Submit(t.Context(), s)
				require.NoError(t, err)
				line := "a line"
				if name == "long" {
					line = strings.Repeat("x", long)
				}
				job.Log(t.Context(), line)
				job.Log(t.Context(), "fine")
				require.NoError(t, job.Cancel(t.Context(), "done"))
				require.NoError(t, rec.Close(t.Context()))
				require.Equal(t, "fine", of(events(t, sink), jobaudit.JobLogged)[1].Data.Line)
				if opts == nil {
					sink.ExpectAbsent(t, secret)
				}
			}
		})
	}
}

func TestKeysThatLookLikeAnAllowedOneAreNotIt(t *testing.T) {
	const secret = "c4n4ry-S3cr3t/x7y8"
	for _, rule := range []jobaudit.Rule{jobaudit.InputPaths[any](jobaudit.Keep("repo")), jobaudit.InputPaths[map[string]string](jobaudit.Keep("repo"))} {
		v := map[string]string{"repo": "acme/site"}
		for _, key := range []string{"Repo", "REPO", "rep\u043e", "repo ", " repo", "repo\x00", "r\u0435po", "repo\u200b", "ｒepo", "repo.", "repo[*]"} {
			v[key] = secret
		}
		s := inputs(t, rule, v)
		require.Equal(t, `{"repo":"acme/site"}`, s.JSON)
		require.EqualValues(t, len(v)-1, s.Redaction.RemovedCount)
	}
}
