// Reads events, one JSON object a line, as the release it is compiled with does.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/jobaudit/jobaudit"
)

func main() {
	if err := read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	count := 0
	for lines.Scan() {
		record, err := jobaudit.ParseRecord(lines.Bytes())
		if err != nil {
			return fmt.Errorf("event %d: %w", count+1, err)
		}
		if record.Event().Type == "" {
			return fmt.Errorf("event %d has no type", count+1)
		}
		count++
	}
	if count == 0 {
		return fmt.Errorf("there are no events")
	}
	fmt.Println(count)
	return lines.Err()
}
