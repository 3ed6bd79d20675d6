// Schematest validates JSON against the schemas in docs/schema. It reads
// standard input, and fails if a value there is not what it should be, with the
// line and the path of each fault. An event's keys must also stand in order:
//
//	go run -C internal/tools/schematest . [-event | -job | -jobstatus] < values
//
// Events stand one on a line; jobs and job statuses may span lines.
//
// It is a module of its own so that the validator,
// github.com/santhosh-tekuri/jsonschema, is no dependency of the library. That
// validator passes the official test suite for draft 2020-12, has no
// dependencies but x/text, and reports where a fault is.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	event := flag.Bool("event", false, "the input is events, one a line (the default)")
	job := flag.Bool("job", false, "the input is jobs")
	status := flag.Bool("jobstatus", false, "the input is job statuses")
	dir := flag.String("schemas", "../../../docs/schema", "the directory of the schemas")
	flag.Parse()

	kind := eventKind
	switch {
	case *job:
		kind = jobKind
	case *status:
		kind = jobStatusKind
	}
	if flag.NArg() > 0 || *event && *job || *event && *status || *job && *status {
		flag.Usage()
		os.Exit(2)
	}
	count, err := check(*dir, kind, os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d values are valid by %s\n", count, kind.file())
}

// check validates all values of r and returns how many there are. No value at
// all is an error: it would hide that nothing was written.
func check(dir string, kind kind, r io.Reader) (count int, err error) {
	validator, err := newValidator(dir, kind)
	if err != nil {
		return 0, err
	}
	input, err := io.ReadAll(r)
	if err != nil {
		return 0, fmt.Errorf("read the input: %w", err)
	}
	var faults []error
	for line, value := range kind.values(input) {
		count++
		for _, fault := range validator.faults(value) {
			faults = append(faults, fmt.Errorf("line %d: %s", line, fault))
		}
	}
	if count == 0 {
		return 0, errors.New("the input is empty")
	}
	return count, errors.Join(faults...)
}
