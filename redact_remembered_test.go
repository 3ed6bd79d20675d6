package jobaudit_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/taint"
)

const madeToken = "9fK2mZ7qLw4RtY8uVb3N"

func dropsAs(path, class string) jobaudit.Rule {
	return jobaudit.InputPaths[any](jobaudit.Keep("repo"), jobaudit.Drop(path, class))
}

// Of a credential that is an object the values are looked for, and of its names those
// that no program has.
func TestTheWordsThatNameTheMembersOfACredentialAreNoNeedles(t *testing.T) {
	names := []string{"user", "host", "type", "password", "enabled", "sslmode", "private_key", "project_id", "token", "clientSecret", "login", "the"}
	type db struct{ User, Host, Password, Type string }
	variants := 0
	for _, name := range names {
		object := map[string]any{name: madeToken, "n": map[string]any{name: []any{madeToken}}}
		raw, err := json.Marshal(object)
		require.NoError(t, err)
		for how, given := range map[string]any{
			"map": object, "JSON": json.RawMessage(raw), "text map": map[string]string{name: madeToken}, "list": []any{object},
			"Secret": jobaudit.NewSecret(object), "Secret of JSON": jobaudit.NewSecret(json.RawMessage(raw)), "Secret of a text": jobaudit.NewSecret(string(raw)),
			"struct": db{"appl", "db.internal", madeToken, "base"}, "pointer": &object, "any keys": map[any]any{name: madeToken},
		} {
			list := says(t, nil, rebuild(dropsAs("db", "credential")), map[string]any{"repo": "the " + name + " is " + name, "db": given},
				"the "+name+" was created", name, "no such "+name+": x", "with "+madeToken)
			require.Equal(t, []string{"the " + name + " was created", name, "no such " + name + ": x", dropped}, linesOrMarkers(list), "%s %s", how, name)
			require.Contains(t, string(of(list, jobaudit.JobSubmitted)[0].What.Inputs), "the "+name, how)
			variants++
		}
	}
	require.Greater(t, variants, 100)
}

// writtenValues are values of which a method or a format says how they are written.
func writtenValues() map[string]any {
	big1, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	return map[string]any{
		"6ba7b810-9dad-41d1-80b4-00c04fd430c8": uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8"),
		big1.String():                          big1,
		"2001:db8::1234:5678":                  netip.MustParseAddr("2001:db8::1234:5678"),
		"10.222.33.44:8080":                    netip.MustParseAddrPort("10.222.33.44:8080"),
		"2001:db8::9:1":                        net.ParseIP("2001:db8::9:1"),
		"1985-03-04T05:06:07.123456789Z":       time.Date(1985, 3, 4, 5, 6, 7, 123456789, time.UTC),
		"491711234567890":                      int64(491711234567890),
		"-491711234567891":                     int64(-491711234567891),
		"18446744073709551615":                 uint64(18446744073709551615),
		"491711234567.25":                      491711234567.25,
		"391711234567890":                      json.Number("391711234567890"),
		"591711234567890":                      json.RawMessage(" 591711234567890 "),
	}
}

func TestAValueIsKnownAsItIsWritten(t *testing.T) {
	variants := 0
	for text, v := range writtenValues() {
		rv := v
		for how, given := range map[string]any{
			"plain": v, "pointer": &rv, "list": []any{v}, "map": map[string]any{"x": v}, "struct": struct{ V any }{v}, "deep": map[string]any{"a": []any{struct{ V *any }{&rv}}},
			"Secret": jobaudit.NewSecret(v), "map key": asName(v),
		} {
			if given == nil {
				continue
			}
			for _, class := range []string{"credential", "personal"} {
				if class == "personal" && how != "Secret" && taint.Word(text) {
					continue // as some addresses are
				}
				list := says(t, nil, rebuild(dropsAs("k", class)), map[string]any{"repo": "r", "k": given}, "of "+text+" here", "nothing")
				require.Equal(t, []string{dropped, "nothing"}, linesOrMarkers(list), "%s as %s under %s", text, how, class)
				variants++
			}
		}
	}
	require.Greater(t, variants, 120)
}

// asName returns a map with the value as its name, if it can be one.
func asName(v any) any {
	switch v := v.(type) {
	case uuid.UUID:
		return map[uuid.UUID]int{v: 1}
	case int64:
		return map[int64]bool{v: true}
	case netip.Addr:
		return map[netip.Addr]int{v: 1}
	case json.Number:
		return map[json.Number]int{v: 1}
	}
	return nil
}

func TestTheNumbersOfACredentialAreKnown(t *testing.T) {
	for how, given := range map[string]any{
		"ints": []int{471108, 481516}, "array": [2]int64{471108, 481516}, "floats": []float64{471108, 481516}, "words": []uint16{47110, 48151}, "runes": []int32{471108, 481516},
		"JSON": json.RawMessage(`[471108,481516]`), "nested": map[string]any{"a": []any{471108, json.Number("481516")}}, "Secret": jobaudit.NewSecret([]int{471108, 481516}),
		"pointers": []*int{new(471108), new(481516)}, "names": map[int]int{471108: 481516},
	} {
		pin := "471108"
		if how == "words" {
			pin = "47110"
		}
		list := says(t, nil, rebuild(dropsAs("k", "credential")), map[string]any{"repo": "r", "k": given}, "pin "+pin, "481516 481517 48151")
		if how == "names" { // a number is no word, as the name of a member neither
			require.Equal(t, dropped, linesOrMarkers(list)[1], how)
			continue
		}
		require.Equal(t, []string{dropped, dropped}, linesOrMarkers(list), how)
	}
}

func TestAUUIDIsFoundWithAndWithoutHyphens(t *testing.T) {
	for range 50 {
		id := uuid.New()
		plain := strings.ReplaceAll(id.String(), "-", "")
		for how, given := range map[string]any{"UUID": id, "text": id.String(), "plain": plain, "upper": strings.ToUpper(plain), "in a text": "key=" + id.String(), "Secret": jobaudit.NewSecret(id)} {
			list := says(t, nil, rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"))), map[string]any{"repo": "r", "k": given},
				"key "+id.String(), "key "+plain, "key "+strings.ToUpper(plain), id.URN(), "key "+uuid.NewString())
			require.Equal(t, []string{dropped, dropped, dropped, dropped}, linesOrMarkers(list)[:4], how)
			require.NotEqual(t, dropped, linesOrMarkers(list)[4])
		}
	}
}

func TestANameUnderADroppedStarIsKnown(t *testing.T) {
	id := uuid.New()
	variants := 0
	for _, path := range []string{"sessions.*", "sessions", "*.*"} {
		for _, class := range []string{"credential", "personal"} {
			for _, below := range []any{map[string]any{"user": "ann"}, "x", 7, nil, []any{}} {
				in := map[string]any{"repo": "r", "sessions": map[string]any{madeToken: below}}
				raw, err := json.Marshal(in)
				require.NoError(t, err)
				for how, given := range map[string]any{
					"map": in, "JSON": json.RawMessage(raw), "named": map[string]any{"repo": "r", "sessions": map[sessionName]any{madeToken: below}},
					"any": map[string]any{"repo": "r", "sessions": map[any]any{madeToken: below}},
				} {
					rules := rebuild(dropsAs(path, class))
					list := says(t, nil, rules, given, "session "+madeToken, "the user")
					require.Equal(t, []string{dropped, "the user"}, linesOrMarkers(list), "%s %s %s %v", how, path, class, below)
					variants++
				}
			}
		}
	}
	list := says(t, nil, rebuild(dropsAs("sessions.*", "credential")), map[string]any{"repo": "r", "sessions": map[uuid.UUID]int{id: 1}}, "session "+id.String())
	require.Equal(t, []string{dropped}, linesOrMarkers(list))
	require.Greater(t, variants, 100)
}

type sessionName string

type (
	maskedText   string
	maskedJSON   string
	maskedBytes  []byte
	maskedNumber int64
	maskedStruct struct{ V string }
)

func (maskedText) MarshalText() ([]byte, error)   { return []byte("***"), nil }
func (maskedJSON) MarshalJSON() ([]byte, error)   { return []byte(`"***"`), nil }
func (maskedBytes) MarshalText() ([]byte, error)  { return []byte("***"), nil }
func (maskedNumber) MarshalJSON() ([]byte, error) { return []byte(`null`), nil }
func (maskedStruct) MarshalText() ([]byte, error) { return []byte("***"), nil }

func TestWhatAKeptTypeMasksItselfIsKnown(t *testing.T) {
	type all struct {
		A maskedText
		B maskedJSON
		C maskedBytes
		D maskedStruct
		E maskedNumber
		F *maskedText
	}
	values := []string{"aaaa2mZ7qLw4RtY8uVb3N", "bbbb2mZ7qLw4RtY8uVb3N", "cccc2mZ7qLw4RtY8uVb3N", "dddd2mZ7qLw4RtY8uVb3N", "491711234567890", "ffff2mZ7qLw4RtY8uVb3N"}
	v := all{maskedText(values[0]), maskedJSON(values[1]), maskedBytes(values[2]), maskedStruct{values[3]}, 491711234567890, new(maskedText(values[5]))}
	through := &jobaudit.RegistryOptions{PassThrough: true}
	for how, c := range map[string]struct {
		opts  *jobaudit.RegistryOptions
		rules []jobaudit.Redactor
		in    any
	}{
		"paths": {nil, rebuild(jobaudit.InputPaths[all](jobaudit.Keep("*"))), v}, "pointer": {nil, rebuild(jobaudit.InputPaths[all](jobaudit.Keep("*"))), &v},
		"typed":        {nil, rebuild(jobaudit.Inputs(func(in struct{ X all }) (all, error) { return in.X, nil })), struct{ X all }{v}},
		"pass-through": {through, nil, v}, "in a list": {through, nil, []any{v}}, "in a map": {through, nil, map[string]any{"x": &v}},
	} {
		for _, value := range values {
			list := says(t, c.opts, c.rules, c.in, "x "+value, "***")
			require.Equal(t, []string{dropped, "***"}, linesOrMarkers(list), "%s %s", how, value)
		}
	}
}

// Fields that are not exported may be in use by others and are not followed. That is
// said where a text may be there.
func TestWhatIsNotReadOfTheInputsIsSaid(t *testing.T) {
	type used struct {
		token string
		done  chan int
	}
	type inner struct{ next *used }
	type private struct {
		Repo    string `json:"repo"`
		headers map[string]string
		next    *inner
		numbers map[int]int
		done    chan string
	}
	for name, c := range map[string]struct {
		in   any
		said bool
	}{
		"map": {private{headers: map[string]string{"X": madeToken}}, true}, "pointer": {&private{next: &inner{&used{token: madeToken, done: make(chan int)}}}, true}, "empty": {private{headers: map[string]string{}}, false}, "nil": {&private{}, false},
		"numbers": {private{numbers: map[int]int{1: 2}, done: make(chan string)}, false}, "time": {struct {
			Repo string `json:"repo"`
			at   time.Time
		}{at: time.Now()}, false}, "big": {struct{ N *big.Int }{big.NewInt(7)}, false}, "deep": {map[string]any{"x": []any{&private{headers: map[string]string{"X": madeToken}}}}, true},
	} {
		list := says(t, nil, rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"))), c.in)
		want := ""
		if c.said {
			want = "unavailable"
		}
		require.Equal(t, want, of(list, jobaudit.JobSubmitted)[0].What.Redaction.Taint, name)
	}
}

// What many things share is read once, and there is an end to all of it.
func TestWhatInputsShareIsReadOnce(t *testing.T) {
	words := make([]string, 9_000)
	for i := range words {
		words[i] = fmt.Sprintf("w%04dxyz", i)
	}
	catalogue := map[string]any{}
	for i, word := range words[:2_000] {
		catalogue[word] = &words[i]
	}
	for name, shared := range map[string]any{"pointer": &words, "list": words, "map": catalogue, "struct": &struct{ A, B any }{words, catalogue}} {
		items := make([]any, 1_000)
		for i := range items {
			items[i] = map[string]any{"id": i, "catalogue": shared}
		}
		items[len(items)-1].(map[string]any)["token"] = madeToken
		rule := jobaudit.InputPaths[any](jobaudit.Keep("items[*].id"))
		g := registry(t, jobaudit.NewRedactor("act", "1", rule))
		spent := testing.AllocsPerRun(1, func() {
			_, err := g.RedactInputs("act", map[string]any{"items": items})
			require.NoError(t, err)
		})
		require.Less(t, spent, 100_000.0, name)
	}
}
