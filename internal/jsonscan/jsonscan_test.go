package jsonscan_test

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
)

func TestOnlyOneMeaningIsAccepted(t *testing.T) {
	for text, want := range map[string]string{ // the path of the problem; "ok" for none
		`{}`: "ok", `[]`: "ok", ` 1 `: "ok", `"x"`: "ok", `null`: "ok", `-0.5e-7`: "ok", `{"a":{"a":1},"b":{"a":1}}`: "ok",
		`{"a":1,"A":1}`: "ok", // the caller knows which names are its own

		`{"a":1,"a":1}`: "a", `{"x":[0,{"b":1,"c":2,"b":3}]}`: "x/1/b", `{"a":1,"\u0061":1}`: "a",
		`{"\ud800":1,"\ud801":1}`: "\uFFFD", `{"x":nul}`: "x", `[1,2,+3]`: "2", `{"x":{"y":[01]}}`: "x/y",
		``: "", ` `: "", `{`: "", `{"a"}`: "", `[1,]`: "1", `{"a":1,}`: "", `1 2`: "", `.5`: "", `1.`: "", `1e`: "",
		`"\x"`: "", `"\u12"`: "", "\"\n\"": "", `'a'`: "", `{a:1}`: "", "\"\xff\"": "", `NaN`: "", `//`: "", "\ufeff1": "",
	} {
		err := jsonscan.Check([]byte(text))
		if want == "ok" {
			require.NoError(t, err, text)
			continue
		}
		fault, ok := errors.AsType[*jsonscan.Error](err)
		require.True(t, ok, text)
		require.Equal(t, want, strings.Join(fault.Path, "/"), text)
	}
}

func TestNestingHasItsLimit(t *testing.T) {
	for _, brackets := range []string{"[]", "{}"} {
		nested := func(depth int) []byte {
			if brackets == "[]" {
				return []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
			}
			return []byte(strings.Repeat(`{"a":`, depth-1) + "{}" + strings.Repeat("}", depth-1))
		}
		require.NoError(t, jsonscan.Check(nested(jsonscan.MaxDepth)))
		fault, ok := errors.AsType[*jsonscan.Error](jsonscan.Check(nested(jsonscan.MaxDepth + 1)))
		require.True(t, ok)
		require.True(t, fault.TooDeep)
		require.Len(t, fault.Path, jsonscan.MaxDepth)
		require.Error(t, jsonscan.Check(nested(1_000_000)))
	}
}

func TestManyNamesAreComparedToo(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		b.WriteString(`,"n` + strings.Repeat("x", i) + `":0`)
	}
	require.NoError(t, jsonscan.Check([]byte("{"+b.String()[1:]+"}")))
	for _, twice := range []int{0, 15, 16, 17, 999} {
		require.Error(t, jsonscan.Check([]byte("{"+b.String()[1:]+`,"n`+strings.Repeat("x", twice)+`":0}`)), twice)
	}
}

func TestHalvesOfSurrogatePairsAreFound(t *testing.T) {
	for text, want := range map[string]int{
		`"a"`: -1, `"\ud83d\ude00"`: -1, `"\uD83D\uDE00x\n\u00e9"`: -1, `"\\ud83d"`: -1,
		`"\ud83d"`: 1, `"\ude00"`: 1, `"ab\ude00\ud83d"`: 3, `"\ude00\ude01"`: 1, `"\ud83d\n"`: 1, `"\ud83d\\ude00"`: 1, `"\ud83d\ud83d\ude00"`: 1,
		`["\ud83d\ude00","\udfff"]`: 17,
	} {
		require.NoError(t, jsonscan.Check([]byte(text)))
		require.Equal(t, want, jsonscan.Unpaired([]byte(text)), text)
	}
}

func TestMembersAndElementsComeInOrder(t *testing.T) {
	var got []string
	for name, value := range jsonscan.Object([]byte(` { "b" : [1 , 2] , "\u0061":{"x":"}"},"c":"," } `)) {
		got = append(got, name+"="+string(value))
	}
	require.Equal(t, []string{"b=[1 , 2]", `a={"x":"}"}`, `c=","`}, got)
	got = nil
	for value := range jsonscan.Array([]byte(` [ 1 , [2,3] ,"]" ] `)) {
		got = append(got, string(value))
	}
	require.Equal(t, []string{"1", "[2,3]", `"]"`}, got)
	for range jsonscan.Array([]byte(`[]`)) {
		t.Fatal("no element")
	}
	for range jsonscan.Object([]byte(`{}`)) {
		t.Fatal("no member")
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+10,true,null,"\u00e9\n"],"b":{}}`, `{"a":1,"a":2}`, `[[[[]]]]`, `"\ud800"`, `{"\ud800":1,"\udfff":2}`,
		"\"\xff\"", `{"a":{"b":1,"b":2}}`, ` 0 `, `{"":0,"":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := jsonscan.Check(data)
		fault, _ := errors.AsType[*jsonscan.Error](err)
		if err != nil {
			require.NotNil(t, fault)
			require.LessOrEqual(t, fault.Offset, len(data))
			if fault.TooDeep {
				return
			}
		}
		want := utf8.Valid(data) && json.Valid(data) && !hasDuplicates(data)
		require.Equal(t, want, err == nil, "%q: %v", data, err)
		if err != nil {
			return
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(data, &members) == nil && members != nil {
			n := 0
			for name, value := range jsonscan.Object(data) {
				require.Equal(t, string(members[name]), string(value))
				n++
			}
			require.Len(t, members, n)
		}
		var elements []json.RawMessage
		if json.Unmarshal(data, &elements) == nil && elements != nil {
			var got []json.RawMessage
			for value := range jsonscan.Array(data) {
				got = append(got, slices.Clone(value))
			}
			require.Len(t, got, len(elements))
			for i := range got {
				require.Equal(t, string(elements[i]), string(got[i]))
			}
		}
	})
}

// hasDuplicates reports whether an object in data has a name twice.
func hasDuplicates(data []byte) bool {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	var names []map[string]bool // of the objects around; nil for arrays
	wantsName := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return false
		}
		if err != nil {
			return false
		}
		switch token {
		case json.Delim('{'):
			names, wantsName = append(names, map[string]bool{}), true
			continue
		case json.Delim('['):
			names, wantsName = append(names, nil), false
			continue
		case json.Delim('}'), json.Delim(']'):
			names = names[:len(names)-1]
		default:
			if name, ok := token.(string); ok && wantsName {
				if names[len(names)-1][name] {
					return true
				}
				names[len(names)-1][name] = true
				wantsName = false
				continue
			}
		}
		wantsName = len(names) > 0 && names[len(names)-1] != nil
	}
}
