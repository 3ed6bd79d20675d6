package jsonenc_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
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
