package jobaudit_test

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
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

// Of a time or an identifier the whole is looked for: its parts, and zeros, stand in any text.
func TestThePartsOfATimeAndZerosStrikeNothing(t *testing.T) {
	variants := 0
	for hour := range 10 {
		at := time.Date(2026, 11, 28, 10+hour, 11, 27, 0, time.FixedZone("", 3600*(hour+1)))
		for how, v := range map[string]any{
			"time": at, "pointer": &at, "text": at.Format(time.RFC3339), "sentence": "it ended " + at.Format(time.RFC3339) + " there", "fraction": at.Add(123456789), "fraction text": at.Add(123456789).Format(time.RFC3339Nano),
			"zero": time.Time{}, "Nil": uuid.Nil, "Nil text": uuid.Nil.String(), "address": netip.Addr{}, "port": netip.AddrPort{},
		} {
			_, zone, _ := strings.Cut(at.Format(time.RFC3339), ":")
			lines := []string{"at " + zone, "at 27" + at.Format("-07:00"), "at " + at.Format("15:04:05-07:00"), "id 00000000-0000-0000-0000-000000000000", "0000000000000000", "0x00000000000000000000000000000000", "invalid IP", "invalid AddrPort"}
			list := says(t, nil, rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"))), map[string]any{"repo": "r", "v": v, "At": v}, lines...)
			require.Equal(t, lines, linesOrMarkers(list), "%s %s", how, at)
			variants += len(lines)
		}
	}
	require.Greater(t, variants, 500)
}

// A vector of measures is long, and takes the room of nothing else.
func TestManyFractionsTakeNoRoom(t *testing.T) {
	type point struct{ X, Y float64 }
	floats, points, anys := make([]float64, 3_072), make([]point, 3_072), make([]any, 3_072)
	for i := range floats {
		floats[i] = float64(i+1) / 3_073
		points[i], anys[i] = point{floats[i], -floats[i]}, floats[i]
	}
	variants := 0
	for how, v := range map[string]any{"floats": floats, "pointer": &floats, "points": points, "any": anys, "lists": [][]float64{floats, floats}} {
		raw, err := json.Marshal(map[string]any{"repo": "r", "a": v, "note": madeToken})
		require.NoError(t, err)
		for form, given := range map[string]any{"Go": map[string]any{"repo": "r", "a": v, "note": madeToken}, "JSON": json.RawMessage(raw)} {
			list := says(t, nil, rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"))), given, "note "+madeToken, "nothing")
			require.Equal(t, []string{dropped, "nothing"}, linesOrMarkers(list), "%s %s", how, form)
			require.Empty(t, of(list, jobaudit.JobSubmitted)[0].What.Redaction.Taint, "%s %s", how, form)
			variants++
		}
	}
	require.Equal(t, 10, variants)
}
