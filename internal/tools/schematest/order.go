package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// order is what JSON Schema cannot say: the keys of an event stand in the order
// in which its schema lists the properties.
type order struct {
	schema json.RawMessage
}

// faults names the keys of the value that stand too late.
func (o order) faults(value []byte) []string {
	return slices.Collect(o.check("", o.schema, value))
}

func (o order) check(path string, schema, value []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		schema = o.resolve(schema)
		switch {
		case bytes.HasPrefix(value, []byte("[")):
			items := member(schema, "items")
			for i, item := range elements(value) {
				if !forward(yield, o.check(fmt.Sprintf("%s/%d", path, i), items, item)) {
					return
				}
			}
		case bytes.HasPrefix(value, []byte("{")):
			properties := member(schema, "properties")
			wanted := names(properties)
			last := -1
			for name, inner := range members(value) {
				at := slices.Index(wanted, name)
				if at < 0 {
					continue // for the schema to refuse
				}
				if at < last && !yield(fmt.Sprintf("%s: %s stands behind %s", cmp.Or(path, "/"), name, wanted[last])) {
					return
				}
				last = max(last, at)
				if !forward(yield, o.check(path+"/"+name, member(properties, name), inner)) {
					return
				}
			}
		}
	}
}

// resolve follows a reference within the schema.
func (o order) resolve(schema []byte) []byte {
	var ref string
	if json.Unmarshal(member(schema, "$ref"), &ref) != nil {
		return schema
	}
	return member(member(o.schema, "$defs"), strings.TrimPrefix(ref, "#/$defs/"))
}

func forward(yield func(string) bool, faults iter.Seq[string]) bool {
	for fault := range faults {
		if !yield(fault) {
			return false
		}
	}
	return true
}

// members returns the members of a JSON object in the order in which they
// stand, and nothing for any other value.
func members(object []byte) iter.Seq2[string, json.RawMessage] {
	return func(yield func(string, json.RawMessage) bool) {
		decoder := json.NewDecoder(bytes.NewReader(object))
		if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
			return
		}
		for decoder.More() {
			name, err := decoder.Token()
			var value json.RawMessage
			if err != nil || decoder.Decode(&value) != nil || !yield(name.(string), value) {
				return
			}
		}
	}
}

func names(object []byte) []string {
	var all []string
	for name := range members(object) {
		all = append(all, name)
	}
	return all
}

func member(object []byte, wanted string) json.RawMessage {
	for name, value := range members(object) {
		if name == wanted {
			return value
		}
	}
	return nil
}

func elements(array []byte) []json.RawMessage {
	var all []json.RawMessage
	if json.Unmarshal(array, &all) != nil {
		return nil
	}
	return all
}
