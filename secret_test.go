package jobaudit_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

type holder struct {
	Open   jobaudit.Secret[string]
	hidden jobaudit.Secret[string]
	Ptr    *jobaudit.Secret[string]
	List   []jobaudit.Secret[[]byte]
	keys   map[jobaudit.Secret[string]]int
	any    any
	Token  token
}

// token is a defined type: it has none of Secret's methods.
type token jobaudit.Secret[string]

func aHolder() holder {
	s := jobaudit.NewSecret("c4n4ry-value")
	return holder{s, s, &s, []jobaudit.Secret[[]byte]{jobaudit.NewSecret([]byte("c4n4ry-value"))},
		map[jobaudit.Secret[string]]int{s: 1}, s, token(s)}
}

// requireHidden looks for the value in the renderings that bytes and strings
// commonly have.
func requireHidden(t *testing.T, how, got string) {
	t.Helper()
	for _, form := range []string{"c4n4ry", "63346e346279", "63346e347279", "63346E347279", "YzRuNHJ5", "99 52 110 52", "0x63, 0x34"} {
		require.NotContains(t, got, form, how)
	}
}

func TestASecretIsAMaskForEveryVerb(t *testing.T) {
	s := jobaudit.NewSecret("c4n4ry-value")
	number := jobaudit.NewSecret(48151623)
	h := aHolder()
	for verb := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		for _, flags := range []string{"", "+", "#", " ", "0", "-", "+#", "# "} {
			format := "%" + flags + string(rune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[verb]))
			for _, v := range []any{s, &s, h, &h, token(s), new(token(s)), h.keys, h.List, []any{s}, map[string]any{"s": s}} {
				requireHidden(t, format, fmt.Sprintf(format, v))
			}
			require.NotContains(t, fmt.Sprintf(format, number), "48151623")
		}
	}
	require.Equal(t, "[secret] [secret] [secret]", fmt.Sprintf("%v %#v %x", s, s, s))
	require.Equal(t, "s3cr3t", jobaudit.NewSecret("s3cr3t").Reveal())
	require.Zero(t, jobaudit.Secret[int]{}.Reveal())
	require.Equal(t, "[secret]", jobaudit.Secret[int]{}.String())
}

func TestASecretIsAMaskForEveryEncoder(t *testing.T) {
	h := aHolder()
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("m", "secret", h.Open, "ptr", h.Ptr, "holder", h, "keys", h.keys, "list", h.List, "map", map[string]any{"s": h.Open})
	}
	requireHidden(t, "slog", out.String())
	require.Contains(t, out.String(), "secret=[secret]")

	encoded, err := json.Marshal(h)
	require.NoError(t, err)
	requireHidden(t, "json", string(encoded))
	encoded, err = json.Marshal(h.keys)
	require.NoError(t, err)
	require.Equal(t, `{"[secret]":1}`, string(encoded))

	encoded, err = xml.Marshal(h.Open)
	require.NoError(t, err)
	requireHidden(t, "xml", string(encoded))

	out.Reset()
	require.NoError(t, gob.NewEncoder(&out).Encode(struct{ S jobaudit.Secret[string] }{h.Open}))
	requireHidden(t, "gob", out.String())
	require.Contains(t, out.String(), "[secret]")

	out.Reset()
	require.NoError(t, template.Must(template.New("").Parse("{{.}} {{.Open}} {{printf \"%q\" .Ptr}}")).Execute(&out, h))
	requireHidden(t, "template", out.String())
	requireHidden(t, "error", fmt.Errorf("failed with %w %v", fmt.Errorf("%v", h), h.Open).Error())
}

func TestASecretDecodesButNotFromItsMask(t *testing.T) {
	var in struct {
		PAT jobaudit.Secret[string]
		N   jobaudit.Secret[int]
	}
	require.NoError(t, json.Unmarshal([]byte(`{"PAT":"c4n4ry","N":7}`), &in))
	require.Equal(t, "c4n4ry", in.PAT.Reveal())
	require.Equal(t, 7, in.N.Reveal())
	require.Error(t, json.Unmarshal([]byte(`{"PAT":"[secret]"}`), &in))
	err := json.Unmarshal([]byte(`{"N":"c4n4ry"}`), &in)
	require.Error(t, err)
	requireHidden(t, "error", err.Error())
}

func TestASecretIsNeverStoredEvenWhereItIsKept(t *testing.T) {
	type in struct {
		PAT   jobaudit.Secret[string]            `json:"pat"`
		Ptr   *jobaudit.Secret[string]           `json:"ptr"`
		Token token                              `json:"token"`
		Keys  map[jobaudit.Secret[string]]string `json:"keys"`
		Any   any                                `json:"any"`
	}
	s := jobaudit.NewSecret("c4n4ry-value")
	v := in{s, &s, token(s), map[jobaudit.Secret[string]]string{s: "v"}, s}
	const marker = `{"$jobaudit":"dropped","rule":"secret"}`
	paths := jobaudit.InputPaths[in](jobaudit.Keep("pat"), jobaudit.Keep("ptr"), jobaudit.Keep("token"), jobaudit.Keep("keys.*"), jobaudit.Keep("any"))
	stored := inputs(t, paths, v)
	require.Equal(t, `{"pat":`+marker+`,"ptr":`+marker+`,"token":`+marker+`,"keys":{},"any":`+marker+`}`, stored.JSON)
	type kept struct {
		PAT  jobaudit.Secret[string]
		Keys map[jobaudit.Secret[string]]string
	}
	typed := jobaudit.Inputs(func(i in) (kept, error) { return kept{i.PAT, i.Keys}, nil })
	require.Equal(t, `{"PAT":`+marker+`,"Keys":{}}`, inputs(t, typed, v).JSON)
	star := jobaudit.InputPaths[in](jobaudit.Keep("*"))
	require.False(t, strings.Contains(inputs(t, star, v).JSON, "c4n4ry"))
}

func ExampleSecret() {
	type login struct {
		User     string
		Password jobaudit.Secret[string]
	}
	l := login{"ada", jobaudit.NewSecret("correct horse")}
	fmt.Printf("%+v\n", l)
	encoded, _ := json.Marshal(l)
	fmt.Println(string(encoded))
	fmt.Println(len(l.Password.Reveal()))
	// Output:
	// {User:ada Password:[secret]}
	// {"User":"ada","Password":"[secret]"}
	// 13
}
