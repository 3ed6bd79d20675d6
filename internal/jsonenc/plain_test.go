package jsonenc_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

func TestEveryByteIsEscapedWhereverItStands(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			s := strings.Repeat("a", at) + string([]byte{byte(c)}) + strings.Repeat("~", 19-at)
			got := jsonenc.AppendString(nil, s)
			var back string
			require.NoError(t, json.Unmarshal(got, &back), "%q", s)
			require.Equal(t, strings.ToValidUTF8(s, "\ufffd"), back)
			require.Equal(t, len(got)-2, jsonenc.StringLen(s))
		}
	}
}

func TestFloatsAreWrittenAsEncodingJSONWritesThem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	check := func(f float64) {
		want, err := json.Marshal(f)
		require.NoError(t, err)
		got, ok := jsonenc.AppendFloat(nil, f, 64)
		require.True(t, ok)
		require.Equal(t, string(want), string(got))
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 0.01, 0.001, 0.005, 1.005, 999999999999.99, 1e12, 1e21, 1e-7, 0.3, 0.1 + 0.2, math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 53} {
		check(f)
	}
	for range size.Times(100_000, 10_000) {
		n := float64(r.Int64N(1 << (1 + r.IntN(52))))
		check(n / 100)
		check(-n / 1000)
		check(math.Nextafter(n/100, 0))
		check(r.NormFloat64() * math.Pow(10, float64(r.IntN(40)-20)))
	}
}
