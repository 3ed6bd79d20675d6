// Package auditlog is a verifiable, append-only log: an RFC 6962 Merkle tree
// over lines of bytes, signed by commit lines that stand between them.
//
// It knows no job and no storage medium. A sink brings the bytes and the
// fsync; auditlog brings the tree, the signatures, the proofs and the
// verification. Which call for which need:
//
//   - writing: [CheckLeaf] and [HashLeaf] each line, [Tree.Append] its hash,
//     [Tree.Sign] once per batch, [AppendCommit] the commit line;
//   - opening: [OpenCommit] or [OpenCheckpoint] the newest head, [ResumeTree];
//   - keeping heads elsewhere: [Anchor], [Checker], [CheckAnchor], [AdvanceAnchor];
//   - proving one line to a person who has no log: [Prove], [OpenProof];
//   - proving that a log only grew: [ProveConsistency], [CheckConsistency];
//   - proving everything: [Verify].
//
// # The log
//
// A leaf is one line without its line feed. A batch is some leaves and one
// commit line: {"checkpoint":"<signed note>"}. The signed note is a C2SP
// tlog-checkpoint, so it holds the origin, the number of leaves so far and
// the root over all of them. A verifier that trusts one checkpoint trusts every
// leaf before it.
//
// # What a proof is worth
//
// A log that agrees with itself proves only that. Signatures prove something
// when the key comes from outside ([Options.Keys]), and a log that was cut
// short, rolled back or written again by the holder of the key is seen only by
// comparing it with a head that was kept outside ([Options.Heads]).
// [Level] says how far a verification came, and never more.
//
// Commit lines are not leaves. Removing one that later ones cover, or the
// newest, changes no leaf that a remaining commit or an outside head covers:
// the first is not noticed, the second leaves an unacknowledged tail.
//
// # Formats
//
// Hashes: RFC 6962 §2.1 with SHA-256. Signed notes: C2SP signed-note, made
// and checked by golang.org/x/mod/sumdb/note. Bodies: C2SP tlog-checkpoint.
// Proofs: RFC 6962 §2.1.1 and §2.1.2, in files C2SP tlog-proof. Stored hashes
// are in the order of golang.org/x/mod/sumdb/tlog. A tree has at most 2^53
// leaves.
package auditlog
