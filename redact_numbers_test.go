package jobaudit_test

import (
	"encoding/json"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// A few bytes can be a number that takes minutes to write. What is not written of one that
// was removed is said.
func TestANumberWithoutEndIsNotWritten(t *testing.T) {
	type in struct {
		Repo  string     `json:"repo"`
		Scale *big.Float `json:"scale"`
	}
	type bare struct {
		Repo string `json:"repo"`
	}
	huge := new(big.Float).SetMantExp(big.NewFloat(1), 300_000_000)
	removed := func(v in) (bare, error) { return bare{v.Repo}, nil }
	type number struct {
		Scale *big.Float `json:"scale"`
	}
	whole := func(v in) (number, error) { return number{v.Scale}, nil }
	variants := 0
	for name, rule := range map[string]jobaudit.Rule{
		"typed": jobaudit.Inputs(removed), "dropped": jobaudit.InputPaths[in](jobaudit.Keep("repo"), jobaudit.Drop("scale", "personal")), "credential": jobaudit.InputPaths[in](jobaudit.Keep("repo"), jobaudit.Drop("scale", "credential")),
		"kept": jobaudit.InputPaths[in](jobaudit.Keep("repo"), jobaudit.Keep("scale")), "kept whole": jobaudit.Inputs(whole),
	} {
		for how, given := range map[string]any{
			"tiny": in{"r", tiny(t, "1e-100000000")}, "tiny in JSON": json.RawMessage(`{"repo":"r","scale":"1e-100000000"}`), "huge": &in{"r", huge}, "huge in JSON": json.RawMessage(`{"repo":"r","scale":1e+99999999}`), "negative": in{"r", tiny(t, "-1e-99999999")},
		} {
			list := says(t, nil, rebuild(rule), given, "a line")
			require.Equal(t, []string{"a line"}, storedLines(list), "%s %s", name, how)
			variants++
		}
	}
	many := new(big.Int).Lsh(big.NewInt(1), 10_000_000)
	for how, given := range map[string]any{"Int": many, "Rat": new(big.Rat).SetFrac(big.NewInt(1), many), "Float": huge} {
		list := says(t, nil, rebuild(dropsAs("k", "personal")), map[string]any{"repo": "r", "k": given}, "a line")
		require.Equal(t, []string{"a line"}, storedLines(list), how)
		require.Equal(t, "unavailable", of(list, jobaudit.JobSubmitted)[0].What.Redaction.Taint, how)
		variants++
	}
	require.Greater(t, variants, 25)
}

func tiny(t *testing.T, text string) *big.Float {
	t.Helper()
	f, _, err := big.ParseFloat(text, 10, 64, big.ToNearestEven)
	require.NoError(t, err)
	return f
}
