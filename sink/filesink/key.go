package filesink

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"golang.org/x/mod/sumdb/note"
)

// A Key signs one log. Its file holds the secret. A person who has the file can
// rewrite the log, so keep it outside of the log's directory. The verifier key
// is what auditors get. A Key is immutable and safe for concurrent use.
type Key struct {
	signer      note.Signer
	verifier    note.Verifier
	verifierKey string
	path        string
}

// A KeyError says why there is no key to sign a log with.
type KeyError struct {
	Path   string
	Reason string
	Err    error // may be nil
}

func (e *KeyError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("key %s: %s", e.Path, e.Reason)
	}
	return fmt.Sprintf("key %s: %s: %v", e.Path, e.Reason, e.Err)
}

func (e *KeyError) Unwrap() error { return e.Err }

// LoadOrCreateKey reads the key of the log in dir from the file keyPath, or
// makes a new key there if there is no such file. name becomes the log's
// origin, see [auditlog.CheckOrigin], such as example.com/jobs. The file is
// durable when the call returns, and readable by its owner only.
//
// No key is made for a directory that has entries, which have a key already;
// only for a successor of its log, whose name [auditlog.SuccessorOrigin] gives,
// or of a successor's
// (see [Options.Predecessor]). keyPath may not be inside dir. One key signs one
// log. The error is a [*KeyError] or an [*auditlog.OriginError].
func LoadOrCreateKey(dir, keyPath, name string) (*Key, error) {
	return loadOrCreateKey(disk.OS{}, dir, keyPath, name)
}

func loadOrCreateKey(d disk.Disk, dir, keyPath, name string) (*Key, error) {
	if err := auditlog.CheckOrigin(name); err != nil {
		return nil, err
	}
	if err := checkOutside(d, dir, keyPath); err != nil {
		return nil, err
	}
	folder, err := d.OpenDir(filepath.Dir(keyPath), true)
	if err != nil {
		return nil, &KeyError{keyPath, "open its directory", err}
	}
	defer folder.Close()
	base := filepath.Base(keyPath)
	if err := checkMode(folder, keyPath, base); err != nil {
		return nil, err
	}
	secret, err := readAll(folder, base, 4096)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mayCreateKey(d, dir, keyPath, name); err != nil {
			return nil, err
		}
		secret, err = createKey(folder, base, name)
	}
	if err != nil {
		return nil, &KeyError{keyPath, "read", err}
	}
	_ = folder.Sync(".") // a process that has just made it may not have come to that; it need not be possible
	return parseKey(keyPath, name, string(secret))
}

// checkMode refuses a key file that others can write to: they could put a key of
// theirs in its place. One that others can read is reported: secrets that are
// mounted are often readable by a group.
func checkMode(folder disk.Dir, keyPath, base string) error {
	info, err := folder.Stat(base)
	if err != nil || !info.Permissions {
		return nil // reading it gives the error
	}
	if info.Mode&0o022 != 0 {
		return &KeyError{keyPath, fmt.Sprintf("others than its owner can write to it (mode %04o): take that away with chmod go-w", info.Mode), nil}
	}
	if info.Mode&0o044 != 0 {
		slog.Default().Warn("job audit log: others than its owner can read the key, and somebody who can sign can write the log again",
			slog.String("key", keyPath), slog.String("mode", fmt.Sprintf("%04o", info.Mode)))
	}
	return nil
}

func parseKey(keyPath, name, secret string) (*Key, error) {
	secret = strings.TrimSpace(secret)
	k := &Key{path: keyPath}
	var err error
	if k.signer, err = note.NewSigner(secret); err != nil {
		return nil, &KeyError{keyPath, "holds no signer key. If the program that made the file was interrupted then, and no log was written with it, remove it", nil} // the text is secret
	}
	if k.verifierKey, err = auditlog.VerifierKey(secret); err == nil {
		k.verifier, err = note.NewVerifier(k.verifierKey)
	}
	if err != nil {
		return nil, &KeyError{keyPath, "holds a key of another kind", nil}
	}
	if k.signer.Name() != name {
		return nil, &KeyError{keyPath, fmt.Sprintf("is the key of %q, not of %q", k.signer.Name(), name), nil}
	}
	return k, nil
}

// checkOutside refuses a file inside a log's directory: it would be copied,
// restored and lost together with what it vouches for.
func checkOutside(d disk.Disk, dir, file string) error {
	inner, err := d.Resolve(file)
	if err != nil {
		return &KeyError{file, "find", err}
	}
	outer, err := d.Resolve(dir)
	if err != nil {
		return &KeyError{file, "find the log's directory", err}
	}
	relative, err := filepath.Rel(outer, inner)
	if err == nil && relative != ".." && !strings.HasPrefix(relative, ".."+string(filepath.Separator)) {
		return &KeyError{file, "may not be inside the log's directory " + dir, nil}
	}
	return nil
}

// mayCreateKey refuses a new key for a log that has one.
func mayCreateKey(d disk.Disk, dir, keyPath, name string) error {
	log, err := d.OpenDir(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &KeyError{keyPath, "look at the log's directory", err}
	}
	defer log.Close()
	firsts, err := listSegments(log)
	if err != nil {
		return &KeyError{keyPath, "look at the log's directory", err}
	}
	if len(firsts) == 0 {
		return nil
	}
	head, err := claimedHead(log, firsts)
	if err != nil && !errors.Is(err, auditlog.ErrNoHead) {
		return &KeyError{keyPath, "look at the log's directory", err}
	}
	_, number := auditlog.SplitOrigin(name)
	if later(name, head.Origin) || err != nil && number > 1 {
		return nil // also where the logs in between left nothing here
	}
	reason := fmt.Sprintf("is missing, and the log in %s has entries: a new key could not continue it. ", dir)
	line, _ := auditlog.SplitOrigin(name)
	if of, _ := auditlog.SplitOrigin(head.Origin); err == nil && of != line {
		reason += fmt.Sprintf("They are of %s, and no key of another name than its successors' can continue that. Give its key; or, if that is lost, %s", head.Origin, successorOf(head.Origin, ""))
	} else if later(head.Origin, name) {
		reason += fmt.Sprintf("They are of its successor %s already. Give that one's key; or, if it is lost, %s", head.Origin, successorOf(head.Origin, ""))
	} else {
		reason += "Put the key back; or, if it is lost, " + successorOf(name, head.Origin)
	}
	return &KeyError{keyPath, reason + ": the log goes on as a successor, whose verifier key auditors need too", fs.ErrNotExist}
}

// createKey makes a key, and returns the one that is there then: another process
// may have been faster, and what is signed with a key that no file holds can never be
// continued.
func createKey(folder disk.Dir, base, name string) ([]byte, error) {
	secret, _, err := auditlog.GenerateKey(name)
	if err != nil {
		return nil, err
	}
	temp := base + "." + rand.Text() + tempSuffix // of this process alone
	if err := writeSecret(folder, temp, secret+"\n"); err != nil {
		_ = folder.Remove(temp) // it may stay: it is never read
		return nil, err
	}
	// A link makes a file that is there whole or not at all and, unlike a rename,
	// does not replace another one.
	err = folder.Link(temp, base)
	_ = folder.Remove(temp) // the same
	if errors.Is(err, errors.ErrUnsupported) {
		err = writeSecret(folder, base, secret+"\n")
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := folder.Sync("."); err != nil {
		return nil, err
	}
	return readAll(folder, base, 4096)
}

// writeSecret writes a durable file, which must not exist, that its owner alone can
// read.
func writeSecret(folder disk.Dir, name, secret string) error {
	f, err := folder.Create(name, true)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt([]byte(secret), 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Name returns the key's name, which is the log's origin. With KeyHash and
// Verify a Key is a [note.Verifier].
func (k *Key) Name() string { return k.verifier.Name() }

// KeyHash returns the key's hash, as signed notes have it.
func (k *Key) KeyHash() uint32 { return k.verifier.KeyHash() }

// Verify reports whether the key signed msg.
func (k *Key) Verify(msg, sig []byte) bool { return k.verifier.Verify(msg, sig) }

// Verifier returns the public half, which checks what the key signed.
func (k *Key) Verifier() note.Verifier { return k.verifier }

// String returns the verifier key, as [note.NewVerifier] reads it. It is
// public: give it to auditors.
func (k *Key) String() string { return k.verifierKey }

// readAll reads a small file of at most limit bytes.
func readAll(dir disk.Dir, name string, limit int64) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size > limit {
		return nil, fmt.Errorf("%d bytes, at most %d are expected", info.Size, limit)
	}
	b := make([]byte, info.Size)
	return b, readFull(f, b, 0)
}
