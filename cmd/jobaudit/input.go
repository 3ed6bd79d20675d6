package main

import (
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
