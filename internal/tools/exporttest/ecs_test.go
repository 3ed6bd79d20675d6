package exporttest

import (
	"encoding/csv"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ecsSchema makes a JSON Schema of the table of ECS's fields. It takes no field that
// is not there, but for those below jobaudit, which is ours, and a single value where
// Elasticsearch takes one or several, unless the table says that it is an array.
func ecsSchema(t testing.TB) object {
	t.Helper()
	f, err := os.Open("testdata/ecs/fields.csv")
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	require.Equal(t, "Field", rows[0][3])
	types := map[string]object{
		"keyword": {"type": "string", "minLength": 1}, "constant_keyword": {"type": "string"},
		"match_only_text": {"type": "string"}, "wildcard": {"type": "string"},
		"date": {"type": "string", "format": "date-time"}, "boolean": {"type": "boolean"},
		"long": {"type": "integer"}, "integer": {"type": "integer"},
		"float": {"type": "number"}, "double": {"type": "number"}, "scaled_float": {"type": "number"},
		"ip": {"anyOf": []object{{"format": "ipv4"}, {"format": "ipv6"}}}, "object": {"type": "object"},
		"flattened": {"type": "object"}, "nested": {"type": "array"}, "geo_point": {"type": "object"},
	}
	scalars := make(map[string]bool)
	root := object{"type": "object", "additionalProperties": false, "properties": object{}, "required": []string{"@timestamp", "ecs", "message", "event"}}
	for _, row := range rows[1:] {
		field, is := row[3], types[row[4]]
		require.NotNil(t, is, row[4])
		if row[6] == "array" {
			is = object{"type": "array", "items": is}
		}
		names := strings.Split(field, ".")
		if isMultiField(scalars, names) {
			continue
		}
		scalars[field] = row[4] != "object" && row[4] != "nested" && row[4] != "flattened"
		in := root
		for _, name := range names[:len(names)-1] {
			below, ok := in["properties"].(object)[name].(object)
			if !ok || below["properties"] == nil {
				below = object{"type": "object", "additionalProperties": false, "properties": object{}}
				in["properties"].(object)[name] = below
			}
			in = below
		}
		in["properties"].(object)[names[len(names)-1]] = is
	}
	root["properties"].(object)["jobaudit"] = object{"type": "object"}
	return root
}

// isMultiField tells that a field is another way to index the one above it, and no
// field of a document.
func isMultiField(scalars map[string]bool, names []string) bool {
	return scalars[strings.Join(names[:len(names)-1], ".")]
}
