package taint_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// longValues are texts of which a preview may be kept.
func longValues() []string {
	values := append(random(25, 20, alphanumeric), random(20, 127, alphanumeric)...)
	for i, v := range append(random(25, 129, alphanumeric), random(25, 400, alphanumeric)...) {
		values = append(values, v, strings.TrimSpace(fmt.Sprintf("Dear Ann, your diagnosis %d is Hodgkin lymphoma, stage two, please call %s", i, strings.Repeat("and then ", i))))
	}
	return values
}

// A head of a value is stored, with a mark that it is cut, or without.
func TestWhatIsStoredInPartIsStillLookedFor(t *testing.T) {
	variants := 0
	for _, value := range longValues() {
		for _, size := range []int{8, 12, 19, len(value) / 2, len(value) - 1, 128} {
			if size >= len(value) {
				continue
			}
			for _, mark := range []string{"…", "...", "***", "[...]", "", "…" + value[len(value)-4:]} {
				kept := value[:size] + mark
				m := matcher([]string{value}, kept)
				for _, later := range []string{"sent: " + value, strings.ToUpper(value), base64.StdEncoding.EncodeToString([]byte(value)), hex.EncodeToString([]byte("x: " + value))} {
					require.True(t, m.Match(later), "kept %q, then %q", kept, later)
				}
				if mark != "" && size < 128 && strings.TrimSpace(value[size-1:size]) != "" {
					require.False(t, m.Match("sent: "+kept), "what quotes the kept text %q", kept)
				}
				variants++
			}
		}
		for _, kept := range []string{value, "x " + value + "y", base64.StdEncoding.EncodeToString([]byte(value))} {
			if len(value) > 128 && kept != value && !strings.HasPrefix(kept, "x") {
				continue
			}
			require.False(t, matcher([]string{value}, kept).Match("sent: "+value), "stored whole: %q", kept)
		}
	}
	require.Greater(t, variants, 1_000)
}

func TestAHeadThatSeveralValuesHaveStrikesNone(t *testing.T) {
	for i, head := range random(40, 128, alphanumeric) {
		a, b := head+"-first-value-7x", head+"-second-value-8y"
		m := matcher([]string{a, b}, a)
		require.True(t, m.Match("sent: "+b), "%d", i)
		require.True(t, matcher([]string{head, b}, head).Match("sent: "+b))
	}
}

func TestAValueIsFoundWithCharactersInItThatAreNotSeen(t *testing.T) {
	for _, secret := range random(10, 20, alphanumeric) {
		m := matcher([]string{secret})
		for _, c := range "\u00ad\u034f\u180e\u200b\u200d\u200f\u202a\u202e\u2060\u2064\u2066\u2067\u2068\u2069\ufe0f\ufeff" {
			for _, at := range []int{1, 9, 19} {
				text := secret[:at] + string(c) + secret[at:]
				require.True(t, m.Match("token "+text), "%U", c)
				require.True(t, m.Match(base64.StdEncoding.EncodeToString([]byte(text))), "%U", c)
			}
			require.True(t, m.Match(strings.Join(strings.Split(secret, ""), string(c))), "%U", c)
		}
	}
}
