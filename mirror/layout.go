package mirror

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/jobaudit/jobaudit/auditlog"
)

// The names of objects (docs/format.md, F9).
const (
	branchPrefix  = "branches/"
	contactPrefix = "contacts/"

	maxSize   = 1 << 53
	maxBranch = 999
	maxSlots  = 100
)

// How many bytes of an object are read. No log has a batch that is too large for
// maxChunk; but more than usualChunk is read only where a head says that a chunk
// has to be there.
const (
	maxHead    = 64 << 10
	maxRecord  = 1 << 20
	usualChunk = 16 << 20

	maxChunk int64 = 4 << 30
)

func branchName(branch int) string { return fmt.Sprintf("%s%03d", branchPrefix, branch) }

func chunkName(branch int, first int64) string {
	return fmt.Sprintf("%03d/chunks/%020d", branch, first)
}

func headPrefix(branch int) string { return fmt.Sprintf("%03d/heads/", branch) }

// headName sorts larger heads first: what is listed first is the newest.
func headName(branch int, size int64) string {
	return fmt.Sprintf("%s%016d.%d", headPrefix(branch), maxSize-size, size)
}

// headSize returns the size that a head's name tells.
func headSize(branch int, name string) (int64, bool) {
	inverse, rest, _ := strings.Cut(strings.TrimPrefix(name, headPrefix(branch)), ".")
	digits, _, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || n > maxSize || len(inverse) != 16 || !strings.HasPrefix(name, headName(branch, n)) {
		return 0, false
	}
	return n, true
}

// slot is the name to use when those before it are taken by something else.
func slot(name string, n int) string {
	if n == 0 {
		return name
	}
	return fmt.Sprintf("%s.%d", name, n)
}

// headTitle begins a head's object.
const headTitle = "jobaudit.mirror/head/v1\n"

// encodeHead writes a head with its frontier: the hashes of the complete subtrees
// that make up its tree, from the largest.
func encodeHead(f *fold) []byte {
	b := []byte(headTitle)
	for _, h := range f.frontier() {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, f.head.Signed()...)
}

var errHead = errors.New("no head of a mirror")

// openHead reads a head's object and proves it: the signature is one of the
// keys', and the frontier leads to the head's root.
func openHead(data []byte, keys []note.Verifier) (*fold, error) {
	hashes, signed, err := splitHead(data)
	if err != nil {
		return nil, err
	}
	c, err := openCheckpoint(signed, keys)
	if err != nil {
		return nil, err
	}
	return resumeFold(c, hashes, keys)
}

// splitHead returns the frontier and the signed note of a head's object.
func splitHead(data []byte) (hashes []tlog.Hash, signed []byte, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(headTitle))
	if !ok || len(data) > maxHead {
		return nil, nil, errHead
	}
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok || len(hashes) > 53 {
			return nil, nil, errHead
		}
		if rest = after; len(line) == 0 {
			return hashes, rest, nil
		}
		h, err := tlog.ParseHash(string(line))
		if err != nil {
			return nil, nil, errHead
		}
		hashes = append(hashes, h)
	}
}

// claimedSize returns the size of a head's object that no key has proven: it has the
// form of one, of a log in this line of successors, and the frontier leads to its root.
func claimedSize(data []byte, line string) (int64, error) {
	hashes, signed, err := splitHead(data)
	if err != nil {
		return 0, err
	}
	head, err := auditlog.CommitHead(commitLine(signed))
	if err != nil {
		return 0, err
	}
	if first, _ := auditlog.SplitOrigin(head.Origin); first != line {
		return 0, fmt.Errorf("%w: it is a head of %q", auditlog.ErrOrigin, head.Origin)
	}
	if head.Size > maxSize || len(hashes) != bits.OnesCount64(uint64(head.Size)) {
		return 0, errHead
	}
	if root, err := tlog.TreeHash(head.Size, frontierReader(head.Size, hashes)); err != nil || root != head.Root {
		return 0, errRoot
	}
	return head.Size, nil
}

// commitLine writes a signed note as the line that commits it.
func commitLine(signed []byte) []byte {
	text := strings.NewReplacer("\n", `\n`, `"`, `\"`, `\`, `\\`).Replace(string(signed))
	return []byte(`{"checkpoint":"` + text + `"}`)
}

// openCheckpoint opens a checkpoint with the key of its origin.
func openCheckpoint(signed []byte, keys []note.Verifier) (auditlog.Checkpoint, error) {
	err := fmt.Errorf("checkpoint: %w", auditlog.ErrUnknownKey)
	for _, key := range keys {
		c, keyErr := auditlog.OpenCheckpoint(signed, key)
		if keyErr == nil {
			return c, nil
		}
		if !errors.Is(keyErr, auditlog.ErrOrigin) {
			err = keyErr
		}
	}
	return auditlog.Checkpoint{}, err
}

// frontierReader gives [auditlog.ResumeTree] the hashes that it asks for.
func frontierReader(size int64, hashes []tlog.Hash) tlog.HashReader {
	at := make(map[int64]tlog.Hash, len(hashes))
	i := 0
	for l := bits.Len64(uint64(size)) - 1; l >= 0; l-- {
		if size>>l&1 == 1 && i < len(hashes) {
			at[tlog.StoredHashIndex(l, size>>l-1)] = hashes[i]
			i++
		}
	}
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			h, ok := at[index]
			if !ok {
				return nil, errHead
			}
			out[i] = h
		}
		return out, nil
	})
}

// branchFormat is the format of a branch's record.
const branchFormat = "jobaudit.mirror/v1"

// A Branch is one line of history that a mirror holds. The first one has number
// 1. Another one begins where an operator accepted a successor whose log does not
// go on from the branch before it, see [Mirror.Accept]: up to Size it is Base,
// from there on its own.
type Branch struct {
	Format string `json:"format"`
	// Number counts from 1.
	Number int `json:"branch"`
	// Origin is that of the first log in a line of successors.
	Origin string `json:"origin"`
	// Base is the branch that this one leaves, at Size, where both have Root;
	// 0 for the first branch.
	Base int       `json:"base,omitempty"`
	Size int64     `json:"size,omitempty"`
	Root tlog.Hash `json:"root,omitzero"`
	// Mirrored and Log are the signed heads that contradicted each other, as
	// text: what the mirror held, and what the log had instead.
	Mirrored string `json:"mirrored,omitempty"`
	Log      string `json:"log,omitempty"`
	// By and Reason are what the operator gave, and Time when it was recorded,
	// by the operator's clock.
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Time   time.Time `json:"time,omitzero"`
}

// parseBranch reads a branch's record, of which the name gives the number.
func parseBranch(data []byte, number int) (Branch, error) {
	var b Branch
	if len(data) > maxRecord {
		return b, fmt.Errorf("%s: it has more than %d bytes", branchName(number), maxRecord)
	}
	switch err := json.Unmarshal(data, &b); {
	case err != nil:
		return b, fmt.Errorf("%s: no branch of a mirror", branchName(number))
	case b.Format != branchFormat:
		return b, fmt.Errorf("%s: its format is not %s: a newer version may have written it", branchName(number), branchFormat)
	case b.Number != number || b.Base >= number || b.Base < 0 || number > 1 && b.Base == 0 || b.Size < 0 || b.Size > maxSize:
		return b, fmt.Errorf("%s: not a branch of this place", branchName(number))
	}
	if err := auditlog.CheckOrigin(b.Origin); err != nil {
		return b, fmt.Errorf("%s: %w", branchName(number), err)
	}
	return b, nil
}

func (b Branch) encode() ([]byte, error) {
	data, err := json.Marshal(b)
	return append(data, '\n'), err
}
