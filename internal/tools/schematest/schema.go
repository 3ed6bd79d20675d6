package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// kind is what values are; it names their schema.
type kind string

const (
	eventKind     kind = "event"
	jobKind       kind = "job"
	jobStatusKind kind = "jobstatus"
)

func (k kind) file() string { return string(k) + ".schema.json" }

// values returns the values of the input with the numbers of the lines on which
// they begin. Events stand one on a line, each ended by a line feed; input that
// is no JSON is returned as it is, for validation to complain of.
func (k kind) values(input []byte) iter.Seq2[int, []byte] {
	if k == eventKind {
		return lines(input)
	}
	return jsonValues(input)
}

func lines(input []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		number := 0
		for line := range bytes.Lines(input) {
			number++
			if !yield(number, bytes.TrimSuffix(line, []byte("\n"))) {
				return
			}
		}
	}
}

func jsonValues(input []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		decoder := json.NewDecoder(bytes.NewReader(input))
		for {
			var value json.RawMessage
			err := decoder.Decode(&value)
			if errors.Is(err, io.EOF) {
				return
			}
			end := int(decoder.InputOffset())
			if err != nil {
				value = bytes.TrimSpace(input[end:])
				end = len(bytes.TrimSpace(input))
			}
			if !yield(1+bytes.Count(input[:end-len(value)], []byte("\n")), value) || err != nil {
				return
			}
		}
	}
}

// validator knows what values of one kind look like.
type validator struct {
	schema *jsonschema.Schema
	order  *order // of an event's keys
}

// newValidator reads the kind's schema from the directory, and checks that it
// is a schema.
func newValidator(dir string, kind kind) (validator, error) {
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(loader(dir))
	schema, err := compiler.Compile(baseURL + kind.file())
	if err != nil {
		return validator{}, err
	}
	v := validator{schema: schema}
	if kind == eventKind {
		content, err := os.ReadFile(filepath.Join(dir, kind.file()))
		if err != nil {
			return validator{}, err
		}
		v.order = newOrder(content)
	}
	return v, nil
}

const baseURL = "https://github.com/jobaudit/jobaudit/raw/main/docs/schema/"

// loader finds the schemas by their URLs in a directory, and nothing elsewhere.
type loader string

func (dir loader) Load(url string) (any, error) {
	name, ok := strings.CutPrefix(url, baseURL)
	if !ok {
		return nil, errors.New("not one of our schemas: " + url)
	}
	content, err := os.ReadFile(filepath.Join(string(dir), name))
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(content))
}

// faults returns what is wrong with the value, each fault with its path.
func (v validator) faults(value []byte) []string {
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return []string{"no JSON value: " + err.Error()}
	}
	var faults []string
	err = v.schema.Validate(instance)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		faults = slices.Sorted(leaves(invalid))
	} else if err != nil {
		faults = []string{err.Error()}
	}
	if v.order != nil {
		faults = append(faults, v.order.faults(value)...)
	}
	return slices.Compact(faults)
}

// leaves returns the faults at the ends of the tree: those above only sum up.
func leaves(fault *jsonschema.ValidationError) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(fault.Causes) == 0 {
			printer := message.NewPrinter(language.English)
			yield("/" + strings.Join(fault.InstanceLocation, "/") + ": " + fault.ErrorKind.LocalizedString(printer))
			return
		}
		for _, cause := range fault.Causes {
			if !forward(yield, leaves(cause)) {
				return
			}
		}
	}
}
