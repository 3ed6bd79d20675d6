package jsonenc_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
)

// marshalled is what encoding/json writes without its escapes for HTML and
// JavaScript.
func marshalled(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(v))
	return strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029", `\ufffd`, "\uFFFD", `\\`, `\\`).
		Replace(strings.TrimSuffix(b.String(), "\n"))
}

func FuzzAppendString(f *testing.F) {
	for _, seed := range []string{
		"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "<>&", "\u2028\u2029", "a\xffb", "\xed\xa0\x80", "\xf0\x9f\x98", "😀é", `\u2028`, `\ufffd`,
	} {
		f.Add(seed, 20)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		got := string(jsonenc.AppendString([]byte("x"), s))[1:]
		require.Equal(t, marshalled(t, s), got)
		require.True(t, utf8.ValidString(got))
		var back string
		require.NoError(t, json.Unmarshal([]byte(got), &back))
		require.Equal(t, string([]rune(s)), back)
		require.Equal(t, len(got)-2, jsonenc.StringLen(s))

		limit &= 0xfff
		head := jsonenc.Head(s, limit)
		require.True(t, strings.HasPrefix(s, head))
		require.LessOrEqual(t, jsonenc.StringLen(head), limit)
		if rest := s[len(head):]; rest != "" {
			_, size := utf8.DecodeRuneInString(rest)
			require.Greater(t, jsonenc.StringLen(head+rest[:size]), limit, "the longest")
		}
		if limit < 64 {
			return
		}
		text := jsonenc.AppendText(nil, s, limit)
		require.True(t, json.Valid(text))
		if len(got)-2 <= limit {
			require.Equal(t, got, string(text))
		} else {
			require.LessOrEqual(t, len(text), limit)
			require.True(t, bytes.HasPrefix(text, []byte(`{"$jobaudit":"truncated","size":`)))
		}
		value := jsonenc.AppendValue(nil, []byte(got), limit)
		require.LessOrEqual(t, len(value), limit)
		require.True(t, json.Valid(value))
		require.True(t, json.Valid(jsonenc.Shrink(value, 64)))
		require.LessOrEqual(t, len(jsonenc.Shrink(value, 64)), 64)
	})
}

func FuzzAppendFloat(f *testing.F) {
	for _, seed := range []float64{0, math.Copysign(0, -1), 1, -1.5, 1e20, 1e21, 1e-6, 9.9e-7, 1e-10, math.MaxFloat64, 5e-324, math.NaN(), math.Inf(1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		got, ok := jsonenc.AppendFloat([]byte("x"), v, 64)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			require.False(t, ok)
			require.Equal(t, "x", string(got))
			return
		}
		require.True(t, ok)
		require.Equal(t, "x"+marshalled(t, v), string(got))
		if small := float32(v); !math.IsInf(float64(small), 0) {
			got, _ = jsonenc.AppendFloat(nil, float64(small), 32)
			require.Equal(t, marshalled(t, small), string(got))
		}
	})
}

func TestTimesHaveSixDigitsInUTC(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.FixedZone("", -5*3600))
	require.Equal(t, `"2026-01-02T08:04:05.999999Z"`, string(jsonenc.AppendTime(nil, at)))
	require.Equal(t, `"2026-01-02T08:04:05.000000Z"`, string(jsonenc.AppendTime(nil, at.Truncate(time.Second))))
}

func FuzzAppendTime(f *testing.F) {
	f.Add(int64(0), int64(0))
	f.Add(int64(-1), int64(999_999_999))
	f.Add(int64(253_402_300_799), int64(999_999_999)) // the last second of the year 9999
	f.Add(int64(253_402_300_800), int64(0))
	f.Add(int64(-62_167_219_200), int64(1000)) // the first second of the year 0
	f.Add(int64(-62_167_219_201), int64(1000))
	f.Fuzz(func(t *testing.T, sec, nano int64) {
		at := time.Unix(sec, nano%1e9)
		require.Equal(t, `"`+at.UTC().Format(jsonenc.TimeLayout)+`"`, string(jsonenc.AppendTime(nil, at)))
	})
}

func TestIDsAreLowerCaseAndHashesBase64(t *testing.T) {
	id := uuid.MustParse("ABCDEF01-2345-7789-ABCD-EF0123456789")
	require.Equal(t, `"abcdef01-2345-7789-abcd-ef0123456789"`, string(jsonenc.AppendUUID(nil, id)))
	require.Len(t, jsonenc.AppendHash(nil, [32]byte{0xff, 0xef}), 46)
	require.Equal(t, `"/+8A`, string(jsonenc.AppendHash(nil, [32]byte{0xff, 0xef})[:5]))
}

func TestAppendingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 4096)
	long := strings.Repeat("é\n", 2000)
	now, id := time.Now(), uuid.New()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		b := jsonenc.AppendText(buf, long, 1024)
		b = jsonenc.AppendTime(b, now)
		b = jsonenc.AppendUUID(b, id)
		b = jsonenc.AppendHash(b, [32]byte{})
		b, _ = jsonenc.AppendFloat(b, 1.5, 64)
		jsonenc.AppendDropped(b, "jwt")
	}))
}
