package jobcheck

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// A Recovery is what an audit.opened record says of the log that its recorder
// opened, where that was not simply in order.
type Recovery struct {
	Index int64     `json:"-"`
	Event uuid.UUID `json:"-"`

	Closed bool  `json:"closed"`
	Head   *Head `json:"head"`
	Anchor *Head `json:"anchor"`
	Torn   *struct {
		Bytes  int64         `json:"bytes"`
		SHA256 jobaudit.Hash `json:"sha256"`
		Heads  []Head        `json:"heads"`
		Files  []string      `json:"files"`
	} `json:"torn"`
	Predecessor string   `json:"predecessor"`
	Overrides   []string `json:"overrides"`
	Warnings    []string `json:"warnings"`
}

// Several reports whether the report is, or may be, of the logs of several sinks, so that
// its one head need not be of the log that it stands in: names of files, safeguards and
// warnings say of which sink they are. Those of the first had no such name once, but the
// event that tells of an open follows the head that the open found.
func (r *Recovery) Several() bool {
	size := int64(0)
	if r.Head != nil {
		size = r.Head.Size
	}
	if size != r.Index {
		return true
	}
	names := slices.Concat(r.Overrides, r.Warnings)
	if r.Torn != nil {
		names = append(names, r.Torn.Files...)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		number, found := strings.CutPrefix(name, "sink ")
		number, _, more := strings.Cut(number, ": ")
		_, err := strconv.ParseUint(number, 10, 32)
		return found && more && err == nil
	})
}

// Head is a size and a root.
type Head struct {
	Size int64         `json:"size"`
	Root jobaudit.Hash `json:"root"`
}

// Names reports whether the recovery names a head that the log does not have:
// in its torn tail, or as that of its predecessor.
func (r *Recovery) Names(h Head) bool {
	if r.Torn != nil && slices.Contains(r.Torn.Heads, h) {
		return true
	}
	return r.Predecessor != "" && r.Anchor != nil && *r.Anchor == h
}

// maxRecoveries bounds what is kept.
const maxRecoveries = 10_000

// opened looks at an audit.opened record.
func (c *Checks) opened(l auditlog.Leaf) {
	record, err := jobaudit.ParseRecord(l.Bytes)
	if err != nil {
		return // it is found where all are parsed
	}
	if of := record.Event().Data.CompanionOf; of.Origin != "" {
		head := auditlog.Head{Origin: of.Origin, Size: of.Head.N, Root: of.Head.Hash}
		if n := len(c.companionOf); n < maxRecoveries && (n == 0 || c.companionOf[n-1] != head) {
			c.companionOf = append(c.companionOf, head)
		}
	}
	r := Recovery{Index: l.Index, Event: record.ID()}
	if json.Unmarshal(record.Event().Data.Recovery, &r) != nil {
		return
	}
	if len(c.recoveries) < maxRecoveries && (r.Torn != nil || r.Predecessor != "" || len(r.Overrides) > 0) {
		c.recoveries = append(c.recoveries, r)
	}
}

// CompanionOf returns the heads of other logs that audit.opened records name as
// what their acts are about, in the order of the log; at most 10,000.
func (c *Checks) CompanionOf() []auditlog.Head { return c.companionOf }

// Recoveries returns those that say something, in the order of the log.
func (c *Checks) Recoveries() []Recovery { return c.recoveries }
