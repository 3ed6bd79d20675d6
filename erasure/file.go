package erasure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// FileKeys is a [KeyStore] in a directory, one file a key, readable by its
// owner only. A key is on the medium before SubjectKey returns it; a deleted
// one is overwritten first, as far as the medium overwrites at all. Several
// processes may use the directory. Keep it apart from the log and out of the
// log's backups: who has both reads everything, and a backup of a key outlives
// its erasure.
type FileKeys struct {
	dir string

	mu        sync.Mutex
	root      *os.Root
	bySubject map[string]Key // what was read last; the files decide
}

// keyFile is what a key's file holds.
type keyFile struct {
	Subject string `json:"subject"`
	Secret  []byte `json:"secret"`
}

const keySuffix = ".key"

// OpenFileKeys opens a directory of keys and makes it if need be. Close it
// after the last use.
func OpenFileKeys(dir string) (*FileKeys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	f := &FileKeys{dir: dir, root: root}
	if err := f.load(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return f, nil
}

// Close releases the directory.
func (f *FileKeys) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.root.Close()
}

// SubjectKey is as [KeyStore] says.
func (f *FileKeys) SubjectKey(subject string) (Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range 2 {
		if key, ok := f.bySubject[subject]; ok {
			if _, err := f.root.Stat(key.ID + keySuffix); err == nil {
				return key, nil
			}
		}
		if err := f.load(); err != nil { // another process may have changed it
			return Key{}, err
		}
	}
	key := NewKey()
	if err := f.write(subject, key); err != nil {
		return Key{}, fmt.Errorf("write a key: %w", err)
	}
	f.bySubject[subject] = key
	return key, nil
}

// KeyByID is as [KeyStore] says.
func (f *FileKeys) KeyByID(id string) (Key, error) {
	if !isKeyID(id) {
		return Key{}, ErrErased
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key, _, err := f.read(id + keySuffix)
	return key, err
}

// Erase is as [KeyStore] says.
func (f *FileKeys) Erase(subject string) (ids []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err = f.each(func(key Key, owner string) error {
		if owner != subject {
			return nil
		}
		if err := f.delete(key.ID + keySuffix); err != nil {
			return err
		}
		ids = append(ids, key.ID)
		return nil
	})
	delete(f.bySubject, subject)
	slices.Sort(ids)
	if len(ids) > 0 {
		err = errors.Join(err, syncDir(f.dir))
	}
	return ids, err
}

func (f *FileKeys) load() error {
	f.bySubject = map[string]Key{}
	return f.each(func(key Key, subject string) error {
		// Two processes may have made two keys: all use the lower one.
		if have, ok := f.bySubject[subject]; !ok || key.ID < have.ID {
			f.bySubject[subject] = key
		}
		return nil
	})
}

// each calls visit with every key in the directory.
func (f *FileKeys) each(visit func(key Key, subject string) error) error {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), keySuffix) {
			continue
		}
		key, subject, err := f.read(entry.Name())
		if errors.Is(err, ErrErased) {
			continue
		}
		if err == nil {
			err = visit(key, subject)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *FileKeys) read(name string) (Key, string, error) {
	content, err := f.root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, "", ErrErased
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("read a key: %w", err)
	}
	var file keyFile
	key := Key{ID: strings.TrimSuffix(name, keySuffix)}
	if json.Unmarshal(content, &file) != nil || copy(key.Secret[:], file.Secret) != len(key.Secret) {
		if strings.Trim(string(content), "\x00") == "" { // half erased
			return Key{}, "", ErrErased
		}
		return Key{}, "", fmt.Errorf("read a key: %s is damaged", name)
	}
	return key, file.Subject, nil
}

// write makes the key's file whole or not at all.
func (f *FileKeys) write(subject string, key Key) error {
	content, err := json.Marshal(keyFile{subject, key.Secret[:]})
	if err != nil {
		return err
	}
	name := key.ID + ".new"
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, f.root.Remove(name))
	}
	if err := f.root.Rename(name, key.ID+keySuffix); err != nil {
		return err
	}
	return syncDir(f.dir)
}

// delete overwrites a key's file and removes it.
func (f *FileKeys) delete(name string) error {
	file, err := f.root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("erase a key: %w", err)
	}
	info, err := file.Stat()
	if err == nil {
		_, err = file.Write(make([]byte, info.Size()))
	}
	if err = errors.Join(err, file.Sync(), file.Close(), f.root.Remove(name)); err != nil {
		return fmt.Errorf("erase a key: %w", err)
	}
	return nil
}

// syncDir makes what was made, renamed and removed in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
