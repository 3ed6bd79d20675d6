// Package evidence makes files that prove what logs hold of some jobs, to people
// who have the logs' verifier keys and nothing else, and checks such files.
//
// [Collect] reads logs, proves them while it reads, and writes one file: all
// events of a job, of a family of jobs, of a correlation, or of the jobs of a
// period, each with its proof, under signed heads of the logs. [Open] checks the
// file without any log. [Page] makes a page of HTML of it, which checks the same
// bytes in a browser, and [OpenPage] checks such a page without believing its
// script. [Verifier] is that script's part that checks, for other pages.
//
// # What it is worth
//
// That the events are in the log, unaltered and at these places, is proven by
// the log's key. That no event is missing inside a stream is proven by the
// numbers and hash links of its events. That there are no further streams, and
// no later events, under this head is the statement of the person who made
// the file: a Merkle tree cannot show what it does not hold. Make the file again
// from the log to check that.
//
// The file's format is F8 of docs/format.md. Inside are C2SP checkpoints and
// C2SP tlog-proofs.
package evidence
