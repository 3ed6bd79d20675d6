// Package export writes records in the formats that other systems read: CSV,
// JSON lines, CloudEvents, OCSF, ECS, syslog, CEF and OTLP.
//
//   - All records of a log, once: [Write].
//   - One event at a time: [New], then [Encoder.Append].
//   - On and on, to a system that may be down for a while: [Forward], with a
//     [Target] from [NewWriter], [NewSyslog] or [NewOTLP].
//
// # An export is not the record
//
// What is written here can be read by many, and verified by nobody: no format but
// JSON lines has the bytes that were hashed in the place of the event. CloudEvents,
// OCSF, ECS and OTLP have them in a field, and their leaf hash beside it, which
// leads back to the log. Redaction is done before anything is stored, so an export
// shows what the log shows and nothing besides.
//
// # Mappings
//
// Each format has one table, in the file of its name. docs/exports.md says for each
// what it cannot hold.
//
// # Resuming
//
// Events come in the order of the log, and each format has the event's ID, which
// never changes. To go on after an event give its ID as After in the
// [jobaudit.Query]. [Write] and [Forward] return the newest one that is out. What
// was sent and not confirmed is sent again: a receiver sees each event at least
// once, and knows a second one by its ID.
//
// # Speed
//
// Nothing is kept of the events that have gone out, and texts are appended to one
// buffer: memory does not grow with the log.
package export
