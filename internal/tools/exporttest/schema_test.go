package exporttest

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/export"
	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// object is JSON.
type object = map[string]any

// compile makes a validator of a schema.
func compile(t testing.TB, schema any) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(schema)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource("schema.json", doc))
	compiled, err := compiler.Compile("schema.json")
	require.NoError(t, err)
	return compiled
}

// valid holds a line to a schema, and returns what it says.
func valid(t *testing.T, schema *jsonschema.Schema, line []byte) object {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	require.NoError(t, err, "%s", line)
	if err := schema.Validate(value); err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	var said object
	require.NoError(t, decoder.Decode(&said))
	_, err = decoder.Token()
	require.ErrorIs(t, err, io.EOF)
	return said
}

func at(said object, names ...string) any {
	for _, name := range names[:len(names)-1] {
		below, ok := said[name].(object)
		if !ok {
			return nil
		}
		said = below
	}
	return said[names[len(names)-1]]
}

// or is what a field says: a text, or nothing where it is empty.
func or(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func ecsChecker(t testing.TB) func(*testing.T, jobaudit.Record) {
	schema := compile(t, ecsSchema(t))
	return func(t *testing.T, r jobaudit.Record) {
		said, e := valid(t, schema, encode(t, export.ECS, r)), r.Event()
		require.Equal(t, e.ID.String(), at(said, "event", "id"))
		require.Equal(t, string(r.Bytes()), at(said, "event", "original"))
		require.Equal(t, or(e.Why.Reason), at(said, "event", "reason"))
		require.Equal(t, or(e.Who.Principal.ID), at(said, "user", "id"))
		require.Equal(t, or(e.Who.OrgID), at(said, "organization", "id"))
		require.Equal(t, or(string(e.What.Inputs)), at(said, "jobaudit", "inputs"))
	}
}

func ocsfChecker(t testing.TB) func(*testing.T, jobaudit.Record) {
	o := loadOCSF(t)
	return func(t *testing.T, r jobaudit.Record) {
		line, e := encode(t, export.OCSF, r), r.Event()
		var class struct {
			ClassUID int `json:"class_uid"`
		}
		require.NoError(t, json.Unmarshal(line, &class))
		require.Contains(t, o.classes, class.ClassUID)
		said := valid(t, o.classes[class.ClassUID].schema, line)
		o.checkSiblings(t, class.ClassUID, said)
		require.Equal(t, e.ID.String(), at(said, "metadata", "uid"))
		require.Equal(t, string(r.Bytes()), at(said, "raw_data"))
		require.Equal(t, or(e.Why.Reason), at(said, "unmapped", "reason"))
		require.Equal(t, e.Who.Principal.ID, at(said, "actor", "user", "uid"))
		require.NotContains(t, string(line), `"agent`)
	}
}

func TestExtraEveryEventIsValidECS(t *testing.T) {
	size.Extra(t)
	check := ecsChecker(t)
	for _, r := range cases(t) {
		check(t, r)
	}
}

func TestExtraEveryEventIsValidOCSF(t *testing.T) {
	size.Extra(t)
	check := ocsfChecker(t)
	classes := make(map[string]bool)
	for _, r := range cases(t) {
		check(t, r)
		classes[string(encode(t, export.OCSF, r)[:len(`{"class_uid":1006`)])] = true
	}
	require.Len(t, classes, 3, "a submission by a request, other events of jobs, and those of the audit")
}

// A schema that accepts everything would prove nothing.
func TestExtraTheSchemasRefuseWhatIsWrong(t *testing.T) {
	size.Extra(t)
	ecs, o := compile(t, ecsSchema(t)), loadOCSF(t)
	ok := golden(t)[len(golden(t))-1]
	refused := func(schema *jsonschema.Schema, line []byte, old, wrong string) {
		require.Contains(t, string(line), old)
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(bytes.Replace(line, []byte(old), []byte(wrong), 1)))
		require.NoError(t, err)
		require.Error(t, schema.Validate(value), wrong)
	}
	line := encode(t, export.ECS, ok)
	refused(ecs, line, `"event":{`, `"event":{"unknown":"x",`)
	refused(ecs, line, `"sequence":`, `"sequence":1.5,"severity":`)
	refused(ecs, line, `"message":"`, `"extra":"x","message":"`)
	refused(ecs, line, `"@timestamp":"2026`, `"@timestamp":"26`)
	refused(ecs, line, `"category":["process"]`, `"category":"process"`)

	line, job := encode(t, export.OCSF, ok), o.classes[1006].schema
	refused(job, line, `"class_uid":1006`, `"class_uid":1007`)
	refused(job, line, `"severity_id":`, `"severity_id":77,"x":`)
	refused(job, line, `"time":`, `"time":"now","x":`)
	refused(job, line, `"device":{`, `"device":{"unknown":1,`)
	refused(job, line, `"product":{"name":"jobaudit","vendor_name":"jobaudit"}`, `"product":{"vendor_name":"jobaudit"}`)
	refused(job, line, `"job":{"uid"`, `"job":{"cmd_line":"deprecated","uid"`)
	refused(job, line, `"unmapped":`, `"unmapped2":`)
}

func FuzzExtraECS(f *testing.F)  { fuzz(f, ecsChecker(f)) }
func FuzzExtraOCSF(f *testing.F) { fuzz(f, ocsfChecker(f)) }

// JSON lines are the stored bytes: the other side is whatever reads JSON.
func FuzzExtraJSONL(f *testing.F) {
	fuzz(f, func(t *testing.T, r jobaudit.Record) {
		line := encode(t, export.JSONL, r)
		require.Equal(t, string(r.Bytes()), string(line))
		require.True(t, json.Valid(line))
	})
}
