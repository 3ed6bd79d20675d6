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
// is no JSON is returned as it is, for validate to complain of.
func (k kind) values(input []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		if k == eventKind {
			number := 0
			for line := range bytes.Lines(input) {
				number++
				if !yield(number, bytes.TrimSuffix(line, []byte("\n"))) {
					return
				}
			}
			return
		}
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

// compile reads the schema of the kind, and checks it against its own schema.
func compile(dir string, kind kind) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(loader(dir))
	return compiler.Compile(baseURL + kind.file())
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

// validate returns what is wrong with the value, each fault with its path.
func validate(schema *jsonschema.Schema, value []byte) []string {
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return []string{"no JSON value: " + err.Error()}
	}
	err = schema.Validate(instance)
	if fault, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		faults := slices.Collect(leaves(fault))
		slices.Sort(faults)
		return slices.Compact(faults)
	}
	if err != nil {
		return []string{err.Error()}
	}
	return nil
}

// leaves returns the faults at the ends of the tree: those above only sum up.
func leaves(fault *jsonschema.ValidationError) iter.Seq[string] {
	printer := message.NewPrinter(language.English)
	return func(yield func(string) bool) {
		if len(fault.Causes) == 0 {
			yield("/" + strings.Join(fault.InstanceLocation, "/") + ": " + fault.ErrorKind.LocalizedString(printer))
			return
		}
		for _, cause := range fault.Causes {
			for leaf := range leaves(cause) {
				if !yield(leaf) {
					return
				}
			}
		}
	}
}
