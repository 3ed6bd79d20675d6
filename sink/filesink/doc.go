// Package filesink keeps the audit log in a directory of files: append-only
// JSON lines under signed heads, durable when Append returns, readable with
// tail and jq, verifiable with a public key. It is the embedded default.
//
//	key, err := filesink.LoadOrCreateKey("audit", "keys/audit.key", "example.com/jobs")
//	sink, err := filesink.Open(ctx, "audit", key, nil)
//	recorder, err := jobaudit.Open(ctx, sink, where, nil)
//
// Which call for which need: [Open] to write (one writer at a time holds the
// log) and to read along; [OpenReader] to read while another process writes;
// package auditlog to understand what a proof is worth.
//
// # What is where
//
// entries/ holds the log: event lines and commit lines (docs/format.md, F6). All else in
// the directory but torn/ is a cache: tree, index/, checkpoint can be deleted
// while no writer is open, and are made again. torn/ keeps bytes that a crash
// left behind the newest commit; they were never acknowledged.
//
// The key and the newest head lie outside: the default anchor is the key's
// path and ".anchor". A directory that was deleted, rolled back or swapped is
// refused when it is opened, with a [*RefusedError] that holds both heads. Back
// up entries/ as it is; a copy that was put back on purpose goes on as a
// successor, see [Options.Predecessor].
//
// # Durability
//
// Concurrent Appends share one write, one fsync and one signature; while a
// batch is made durable the next one gathers. A disk that fails makes Append
// fail and no more: what was under way is kept and stored first, as the same
// bytes, in a new file, as soon as the disk works again.
// What fsync promises is what is durable; a disk that lies about it may lose
// acknowledged events, which the anchors tell.
//
// # Ways out
//
// Every refusal names what was found, both heads where there are two, and what
// leads on:
//
//   - a lost or rotated key, a log restored from a copy, a copy that is to be
//     written to: a new key named by [auditlog.SuccessorOrigin], and
//     [Options.Predecessor] with the old verifier key. Auditors need both keys
//     from elsewhere than the log;
//   - a lost anchor: [Options.AllowMissingAnchor], for one open;
//   - an anchor that cannot be written beside the key: [Options.AnchorPath];
//   - a head that auditors hold and that is lost for good:
//     [VerifyOptions.AcceptLoss], by their decision and not by the log's.
//
// A log that is copied while it is written is copied with [Copy].
//
// # Limits
//
// [Open] makes six calls on the disk for each segment, less than a millisecond:
// 16 of them hold a GiB. Small ones do not pile up, as the last one is continued
// while it is below 256 KiB; only failed writes begin a new one early.
//
// [Open] warns, in slog.Default and in the report that becomes the audit.opened
// event, if no head is kept on other storage than the log, and if the key or
// everything is on storage that goes with the container, as far as the system
// tells (Linux).
//
// A key on the same host proves nothing against that host's root: keep the
// anchor, or a second one ([Options.Anchor]), elsewhere. One process writes a
// log, also from several containers that share a directory. A file system that
// gives no locks is refused. One that pretends to, as NFS mounted with nolock, or
// two machines that hold clones of one disk let two writers fork the
// log, which the anchors and Verify tell. A writer whose lock file is taken away
// stops. Directories cannot be synced on Windows: writing there is refused,
// reading works.
package filesink
