package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxInput bounds the small files that a caller names: keys, heads, policies,
// registries, certificates.
const maxInput = 16 << 20

// readInput reads a small file that the caller names.
func readInput(name string) ([]byte, error) { return readFile(name, maxInput) }

// readFile reads a file that the caller names, up to a size in bytes. It may be a
// pipe, as in --key <(command). One that nobody writes to is empty, where opening
// it as usual would wait for a writer and for no signal.
func readFile(name string, most int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s is larger than such a file can be, %d MiB", name, most>>20)
	}
	return text, err
}

// readJSON reads a JSON file that people or this program write: one value, in which
// nothing is null. A null would read as if the field, or all of the file, were not there.
func readJSON(text []byte, into any, strict bool) error {
	tokens := json.NewDecoder(bytes.NewReader(text))
	for {
		token, err := tokens.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && token == nil {
			err = errors.New("null stands in it, and a value is wanted")
		}
		if err != nil {
			return err
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind its JSON value")
	}
	return nil
}
