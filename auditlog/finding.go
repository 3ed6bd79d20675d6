package auditlog

import "fmt"

// A Level says how far a verification came. Each level holds what the ones
// below it hold.
type Level int

const (
	// Unverified: something does not agree, or nothing was compared.
	Unverified Level = iota
	// Consistent, printed as L0: the leaves hash to the roots in the commit
	// lines. Without a key anyone could have written such a log.
	Consistent
	// Signed, printed as L1: the commit lines are signed by a given key.
	Signed
	// Anchored, printed as L2: the log agrees with every given head, and at
	// least one of them covers leaves; see [Report.Anchored] for how many.
	Anchored
)

// String returns "unverified", "L0", "L1" or "L2".
func (l Level) String() string {
	switch l {
	case Consistent:
		return "L0"
	case Signed:
		return "L1"
	case Anchored:
		return "L2"
	}
	return "unverified"
}

// A Kind says what a [Finding] is about.
type Kind string

// The kinds. The first group is about commit lines, the second about leaves,
// the third about the log as a whole.
const (
	// KindCommit: a commit line that is malformed, missing at the end of a
	// segment, or contradicted by leaves that a later commit line confirms.
	KindCommit Kind = "bad_commit"
	// KindOrigin: a commit line, or an outside head, of another log.
	KindOrigin Kind = "wrong_origin"
	// KindKey: a commit line that is not signed by the key it should be.
	KindKey Kind = "unknown_key"
	// KindSignature: a commit line whose signature is not valid.
	KindSignature Kind = "bad_signature"
	// KindOrder: a commit line that does not move the log on: repeated, or
	// moved behind a later one together with its leaves.
	KindOrder Kind = "commit_out_of_order"

	// KindSize: more or fewer leaves in a batch than its commit line says.
	KindSize Kind = "wrong_size"
	// KindRoot: the leaves of a batch do not give the commit line's root.
	KindRoot Kind = "wrong_root"
	// KindLeaf: a line that cannot be a leaf, see [CheckLeaf].
	KindLeaf Kind = "leaf_refused"
	// KindChanged: this leaf is not the one that was signed for.
	KindChanged Kind = "leaf_changed"
	// KindMissing: leaves that were signed for are not there.
	KindMissing Kind = "leaf_missing"
	// KindInserted: leaves are there that were not signed for.
	KindInserted Kind = "leaf_inserted"
	// KindReordered: the leaves are there, in another order.
	KindReordered Kind = "leaf_reordered"

	// KindGap: a segment does not begin where the one before it ends.
	KindGap Kind = "segment_gap"
	// KindAcknowledged: a tail that no interrupted write can have left, so
	// that leaves in it were acknowledged; see [InspectTail].
	KindAcknowledged Kind = "acknowledged_tail"
	// KindStray: bytes behind the commit line at which the next segment begins
	// that are no interrupted write of its first batch.
	KindStray Kind = "stray_bytes"
	// KindTruncated: an outside head is newer than the log.
	KindTruncated Kind = "truncated"
	// KindFork: the log has another root at the size of an outside head.
	KindFork Kind = "fork"
)

// A Finding is one thing that is wrong with a log, and where.
type Finding struct {
	Kind Kind `json:"kind"`
	// Index is the first bad leaf, from 0; -1 when only the batch is known,
	// or when no leaf is accused.
	Index int64 `json:"index"`
	// First and End bound the batch concerned, [First, End), as commit lines
	// that are good give it. Leaves outside are not accused.
	First int64 `json:"first"`
	End   int64 `json:"end"`
	// Commit is the number in the log, from 0, of the commit line at which
	// the finding was made; -1 when there was none.
	Commit int64 `json:"commit"`
	// Segment and Offset, in bytes, are where the bad line begins or, when
	// only the batch is known, where the batch begins; Offset is -1 when the
	// finding is not about a place.
	Segment string `json:"segment,omitempty"`
	Offset  int64  `json:"offset"`
	// Expected and Found are sizes, hashes or origins, for people.
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	// Head is the outside head that a fork, a truncation or an unknown origin was
	// found by; else it is zero.
	Head Head `json:"-"`
}

// String returns the finding in one line, for people.
func (f Finding) String() string {
	s := string(f.Kind)
	if f.Index >= 0 {
		s += fmt.Sprintf(" at index %d", f.Index)
	}
	if f.End > f.First {
		s += fmt.Sprintf(" in leaves %d to %d", f.First, f.End-1)
	}
	sep := ": "
	if f.Expected != "" {
		s += sep + "expected " + f.Expected
		sep = ", "
	}
	if f.Found != "" {
		s += sep + "found " + f.Found
	}
	return s
}

// maxFindings bounds the findings that one verification holds.
const maxFindings = 1000

// A VerifyError holds what [Verify] found, in the order of the log; findings
// about outside heads may come last.
type VerifyError struct {
	// Findings has at least one and at most 1,000 elements.
	Findings []Finding
	// More counts the findings beyond these.
	More int
}

func (e *VerifyError) Error() string {
	if n := len(e.Findings) + e.More; n > 1 {
		return fmt.Sprintf("log not verified: %d findings, the first: %v", n, e.Findings[0])
	}
	return fmt.Sprintf("log not verified: %v", e.Findings[0])
}
