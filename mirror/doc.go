// Package mirror keeps a copy of a log where the host that writes it cannot
// change it: on another disk, or in object storage under lock. A host that is
// taken over, wiped or rolled back then does not take its history with it.
//
//	m, err := mirror.Start(ctx, sink, store, &mirror.Options{Keys: keys})
//
// Which call for which need: [Start] to mirror beside a writer for as long as it
// runs; [New] and [Mirror.Sync] for one pass, as from cron; [OpenReader] to read
// a mirror, to verify it and to restore a log from it. The command line has the
// same as jobaudit mirror and jobaudit restore.
//
// # What is promised
//
// Only durable heads are mirrored, so a crash of the writer takes back nothing
// that the mirror holds. The mirror hashes the lines itself and checks each
// signature: what it stores is under a good head, whatever the log's files say.
// An event is mirrored when its chunk and then the head that covers it are
// stored and the store has said so; [Status.Head] is such a head.
//
// A log that is shorter than its mirror, or has another history, is refused with
// a [*RefusedError] that holds both heads. The mirror keeps what it has. When the
// log goes on as a successor on purpose, [Mirror.Accept] begins another branch
// beside the first: nothing is overwritten, and readers show both.
//
// # Where it can fail
//
// A store may be away for as long as it likes: the mirror goes on where it was,
// and [Status] says by how much it is behind. A mirror that is killed at any
// moment goes on from the newest stored head that verifies. Several mirrors of
// one log into one store do no harm. An object that stands in the way and is not
// the mirror's is reported as a [*SquattedError] and passed by.
//
// What a mirror proves is what its heads are worth: they are signed by the log's
// key. The holder of that key, on a host that was taken over, can have the mirror
// store false events from then on, but can change nothing that it holds, as far
// as the store forbids it.
//
// Memory does not grow with the log: one chunk is held at a time, or one batch
// if that is larger. Stored bytes are described in docs/format.md, F9.
package mirror
