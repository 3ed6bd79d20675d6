package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// order is what JSON Schema cannot say: the keys of an event stand in the order
// in which its schema lists the properties.
type order struct {
	names      []string // of the properties, as listed
	properties map[string]*order
	items      *order
}

// newOrder reads it from a schema that refers to nothing outside itself. Its
// references do not lead in a circle: an event has no parts of its own kind.
func newOrder(schema json.RawMessage) *order {
	return orderOf(schema, maps.Collect(members(member(schema, "$defs"))))
}

func orderOf(schema json.RawMessage, definitions map[string]json.RawMessage) *order {
	o := &order{properties: make(map[string]*order)}
	for keyword, content := range members(schema) {
		switch keyword {
		case "$ref":
			var ref string
			if json.Unmarshal(content, &ref) == nil {
				return orderOf(definitions[strings.TrimPrefix(ref, "#/$defs/")], definitions)
			}
		case "items":
			o.items = orderOf(content, definitions)
		case "properties":
			for name, property := range members(content) {
				o.names = append(o.names, name)
				o.properties[name] = orderOf(property, definitions)
			}
		}
	}
	return o
}

// faults names the keys of the value that stand too late.
func (o *order) faults(value []byte) []string {
	return slices.Collect(o.check("", value))
}

// check goes through a value; a nil order has nothing to say.
func (o *order) check(path string, value []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		switch {
		case o == nil:
		case bytes.HasPrefix(value, []byte("[")):
			for i, item := range elements(value) {
				if !forward(yield, o.items.check(fmt.Sprintf("%s/%d", path, i), item)) {
					return
				}
			}
		case bytes.HasPrefix(value, []byte("{")):
			last := -1
			for name, inner := range members(value) {
				at := slices.Index(o.names, name)
				if at < 0 {
					continue // for the schema to refuse
				}
				if at < last && !yield(fmt.Sprintf("%s: %s stands behind %s", cmp.Or(path, "/"), name, o.names[last])) {
					return
				}
				last = max(last, at)
				if !forward(yield, o.properties[name].check(path+"/"+name, inner)) {
					return
				}
			}
		}
	}
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
