package memsink

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const secret = `p@ss "w&rd"/<ü>\`

func TestFindsASecretInEveryForm(t *testing.T) {
	marshalled, err := json.Marshal(secret)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"raw":           "before " + secret + " behind",
		"JSON":          `{"a":"p@ss \"w&rd\"/<ü>\\"}`,
		"JSON and HTML": string(marshalled),
		"query":         "https://example.org/?a=" + url.QueryEscape(secret) + "&b",
		"path":          "https://example.org/" + url.PathEscape(secret) + "/b",
		"lower query":   strings.ReplaceAll(url.QueryEscape(secret), "%3C", "%3c"),
		"hex":           hex.EncodeToString([]byte("x" + secret + "y")),
		"upper hex":     strings.ToUpper(hex.EncodeToString([]byte("x" + secret + "y"))),
		"base64, 0":     base64.StdEncoding.EncodeToString([]byte(secret + " behind")),
		"base64, 1":     base64.StdEncoding.EncodeToString([]byte("1" + secret + " behind")),
		"base64, 2":     base64.StdEncoding.EncodeToString([]byte("12" + secret)),
		"base64, 3":     base64.StdEncoding.EncodeToString([]byte("123" + secret + "1")),
		"URL base64":    base64.RawURLEncoding.EncodeToString([]byte("12345" + secret + "ab")),
	} {
		if name == "lower query" {
			text = strings.ToLower(text) // every escape, and this secret has no capitals
		}
		require.NotEmpty(t, newCanary(secret).find([]byte(text)), name)
	}
	require.Equal(t, "escaped for JSON", newCanary(`"quoted"`).find([]byte(`{"a":"\"quoted\""}`)))
	require.Equal(t, "escaped for JSON twice", newCanary(`pass"word`).find([]byte(`"{\"a\":\"pass\\\"word\"}"`)))
}

func TestFindsNothingWhereNothingIs(t *testing.T) {
	for _, text := range []string{"", "p@ss", strings.Repeat("x", 1000), `p@ss "w&rd"/<u>\`} {
		require.Empty(t, newCanary(secret).find([]byte(text)))
	}
	require.Empty(t, newCanary("abc").find([]byte("YWJj 616263")), "short texts are looked for as they are only")
}
