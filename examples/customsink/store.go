package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"sync"
)

// Row is a row of a [Store].
type Row struct{ Key, Value string }

// Store is the store that you have already: here a table with a unique key, in
// a file. What Update changes is durable when it returns, all of it or
// nothing.
type Store struct {
	mu    sync.Mutex
	file  *os.File
	size  int64 // of what is durable
	rows  []Row // in the order of insertion
	byKey map[string]string
}

// OpenStore opens or creates the store in a file.
func OpenStore(path string) (*Store, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	s := &Store{file: file, byKey: make(map[string]string)}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF { // what stands behind the last line feed was never committed
			return s, file.Truncate(s.size)
		}
		var rows []Row
		if err == nil {
			err = json.Unmarshal(line, &rows)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
		}
		s.commit(rows, len(line))
	}
}

func (s *Store) commit(rows []Row, size int) {
	s.rows, s.size = append(s.rows, rows...), s.size+int64(size)
	for _, row := range rows {
		s.byKey[row.Key] = row.Value
	}
}

// Tx is a transaction.
type Tx struct {
	store *Store
	rows  []Row
}

// Get returns the value of a key.
func (tx *Tx) Get(key string) (value string, ok bool) {
	for _, row := range tx.rows {
		if row.Key == key {
			return row.Value, true
		}
	}
	value, ok = tx.store.byKey[key]
	return value, ok
}

// Insert adds a row, whose key must be new.
func (tx *Tx) Insert(key, value string) { tx.rows = append(tx.rows, Row{key, value}) }

// Update runs f in a transaction and commits it, unless f returns an error or
// ctx has ended.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	tx := &Tx{store: s}
	if err := f(tx); err != nil {
		return err
	}
	line, err := json.Marshal(tx.rows)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	_, err = s.file.WriteAt(line, s.size)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil { // nothing of it may be found by the next open
		return errors.Join(err, s.file.Truncate(s.size))
	}
	s.commit(tx.rows, len(line))
	return nil
}

// Rows iterates over the rows behind a key, or all for "", in the order of
// insertion or its reverse. An error ends the iteration.
func (s *Store) Rows(ctx context.Context, after string, backward bool) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		s.mu.Lock()
		rows := slices.Clone(s.rows)
		s.mu.Unlock()
		if backward {
			slices.Reverse(rows)
		}
		first := 0
		if after != "" {
			first = 1 + slices.IndexFunc(rows, func(row Row) bool { return row.Key == after })
			if first == 0 {
				yield(Row{}, fmt.Errorf("no row has the key %q", after))
				return
			}
		}
		for _, row := range rows[first:] {
			if err := ctx.Err(); err != nil {
				yield(Row{}, err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// Close closes the store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Close()
}
