package exporttest

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// ocsf makes JSON Schemas of OCSF's own files: a dictionary of attributes, and
// classes and objects that say which of them they have.
type ocsf struct {
	t          testing.TB
	attributes map[string]object // of the dictionary
	types      map[string]object
	defs       object // the objects that were asked for, as schemas
	classes    map[int]ocsfClass
}

type ocsfClass struct {
	schema     *jsonschema.Schema
	attributes map[string]object
}

func readOCSF(t testing.TB, name string) (content object, found bool) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/ocsf", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &content), name)
	return content, true
}

// objects returns the members of a member that are objects.
func objects(o object, name string) map[string]object {
	members := make(map[string]object)
	below, _ := o[name].(object)
	for name, v := range below {
		if v, ok := v.(object); ok {
			members[name] = v
		}
	}
	return members
}

func loadOCSF(t testing.TB) *ocsf {
	t.Helper()
	packed, err := os.Open("testdata/ocsf/dictionary.json.gz")
	require.NoError(t, err)
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	require.NoError(t, err)
	var dictionary object
	require.NoError(t, json.NewDecoder(unpacked).Decode(&dictionary))
	o := &ocsf{t: t, attributes: objects(dictionary, "attributes"), defs: object{}, classes: map[int]ocsfClass{}}
	o.types = objects(dictionary["types"].(object), "attributes")
	o.class("events/system/scheduled_job_activity.json", "events/system/system.json", 1)
	o.class("events/application/api_activity.json", "events/application/application.json", 6)
	o.class("events/base_event.json", "", 0)
	return o
}

// class makes the schema of a class, with the class and the base event above it.
func (o *ocsf) class(file, above string, category int) {
	files := []string{"events/base_event.json"}
	uid := 0
	if above != "" {
		files = append(files, above, file)
		content, _ := readOCSF(o.t, file)
		uid = category*1000 + int(content["uid"].(float64))
	}
	attributes := make(map[string]object)
	for _, name := range files {
		content, ok := readOCSF(o.t, name)
		require.True(o.t, ok, name)
		o.merge(attributes, content)
	}
	attributes["class_uid"]["enum"] = object{strconv.Itoa(uid): object{}}
	attributes["category_uid"]["enum"] = object{strconv.Itoa(category): object{}}
	schema := o.schema(attributes, nil)
	activities := objects(attributes["activity_id"], "enum")
	var types []any
	for id := range activities {
		n, err := strconv.Atoi(id)
		require.NoError(o.t, err)
		types = append(types, uid*100+n)
	}
	schema["properties"].(object)["type_uid"] = object{"enum": types}
	schema["$defs"] = o.defs
	o.classes[uid] = ocsfClass{compile(o.t, schema), attributes}
}

// merge lays the attributes of a file, and of the profiles that it includes, over
// those of the files above it and of the dictionary.
func (o *ocsf) merge(attributes map[string]object, content object) {
	own, _ := content["attributes"].(object)
	includes, _ := own["$include"].([]any)
	for _, include := range includes {
		// An export says that it has the profiles host and trace. Attributes of
		// others may not be used, and are not required.
		if profile, ok := readOCSF(o.t, include.(string)); ok {
			o.merge(attributes, profile)
		}
	}
	for name, attribute := range objects(content, "attributes") {
		merged := maps.Clone(attributes[name])
		if merged == nil {
			merged = maps.Clone(o.attributes[name])
			require.NotNil(o.t, merged, "the dictionary lacks %s", name)
		}
		for key, v := range attribute {
			if key != "enum" {
				merged[key] = v
				continue
			}
			enum := object{}
			for _, values := range []map[string]object{objects(merged, "enum"), objects(attribute, "enum")} {
				for k, v := range values {
					enum[k] = v
				}
			}
			merged["enum"] = enum
		}
		attributes[name] = merged
	}
}

// schema makes a schema of attributes: no others, those that are required, none that
// are deprecated, and what is asked for besides.
func (o *ocsf) schema(attributes map[string]object, constraints object) object {
	properties, required := object{}, []string{}
	for name, attribute := range attributes {
		if attribute["@deprecated"] != nil {
			continue
		}
		properties[name] = o.attribute(attribute)
		if attribute["requirement"] == "required" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	schema := object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	for constraint, keyword := range map[string]string{"at_least_one": "anyOf", "just_one": "oneOf"} {
		var choices []object
		names, _ := constraints[constraint].([]any)
		for _, name := range names {
			choices = append(choices, object{"required": []any{name}})
		}
		if len(choices) > 0 {
			schema[keyword] = choices
		}
	}
	return schema
}

func (o *ocsf) attribute(attribute object) object {
	name, _ := attribute["type"].(string)
	is := o.typ(name)
	if enum := objects(attribute, "enum"); len(enum) > 0 && is["type"] == "integer" {
		var values []any
		for id := range enum {
			n, err := strconv.Atoi(id)
			require.NoError(o.t, err)
			values = append(values, n)
		}
		is = object{"enum": values}
	}
	if attribute["is_array"] == true {
		return object{"type": "array", "items": is}
	}
	return is
}

// typ makes the schema of a type: a scalar of the dictionary, or an object. One that
// is not in testdata may not be used.
func (o *ocsf) typ(name string) object {
	scalar, ok := o.types[name]
	if !ok {
		return o.object(name)
	}
	base := name
	if parent, ok := scalar["type"].(string); ok {
		base = parent
	}
	is := object{}
	switch base {
	case "string_t":
		is["type"] = "string"
	case "integer_t", "long_t":
		is["type"] = "integer"
	case "float_t":
		is["type"] = "number"
	case "boolean_t":
		is["type"] = "boolean"
	}
	if pattern, ok := scalar["regex"].(string); ok {
		is["pattern"] = pattern
	}
	if most, ok := scalar["max_len"]; ok {
		is["maxLength"] = most
	}
	if limits, ok := scalar["range"].([]any); ok {
		is["minimum"], is["maximum"] = limits[0], limits[1]
	}
	return is
}

func (o *ocsf) object(name string) object {
	if name == "object" {
		return object{"type": "object"} // with whatever attributes
	}
	if _, made := o.defs[name]; !made {
		o.defs[name] = false
		attributes, constraints := make(map[string]object), object{}
		if o.inherit(attributes, constraints, name) {
			o.defs[name] = o.schema(attributes, constraints)
		}
	}
	return object{"$ref": "#/$defs/" + name}
}

func (o *ocsf) inherit(attributes map[string]object, constraints object, name string) bool {
	content, ok := readOCSF(o.t, "objects/"+name+".json")
	if !ok {
		return false
	}
	if parent, ok := content["extends"].(string); ok {
		require.True(o.t, o.inherit(attributes, constraints, parent), "%s extends %s", name, parent)
	}
	o.merge(attributes, content)
	own, _ := content["constraints"].(object)
	maps.Copy(constraints, own)
	return true
}

// checkSiblings holds texts to the captions of the numbers beside them, unless the
// number is 99: then there is a text, and it is the source's own.
func (o *ocsf) checkSiblings(t *testing.T, class int, said object) {
	for name, attribute := range o.classes[class].attributes {
		sibling, ok := attribute["sibling"].(string)
		id, there := said[name].(json.Number)
		if !ok || !there {
			continue
		}
		if attribute["enum"] == nil && id != "99" {
			continue // a number that is computed has no captions
		}
		caption, _ := objects(attribute, "enum")[id.String()]["caption"].(string)
		if id == "99" {
			require.NotEmpty(t, said[sibling], "%s is 99, without %s", name, sibling)
		} else if s, there := said[sibling]; there {
			require.Equal(t, caption, s, name)
		}
	}
}
