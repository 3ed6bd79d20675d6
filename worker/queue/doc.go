// Package queue is what the adapters in worker have in common: how they read the
// logs of several processes ([Logs]), what a comparison of a queue with the logs
// takes and reports ([ReconcileOptions], [Report]), and how an operator's act on
// a queue is recorded ([Act]). Programs meet it as arguments and results of an
// adapter; an adapter of your own may use it as those here do.
//
// # Several processes, one truth
//
// Where each process has a log of its own, one log holds a part of a job: the
// web server's the submission, a worker's the start and the end. A reader who asks
// "is this job on record?" has to be given every log. An adapter that compares a
// queue with the logs finds out when it was not, in two ways:
//
//   - A Carrier names the recorder of the submission. If neither the submission
//     nor that recorder's audit.opened event is in the logs, the submission stands
//     in another one. If the audit.opened event is there and the submission is
//     not, it was lost, and is recorded.
//   - The queue shows attempts. A worker with the adapter records a start
//     before it works, so an attempt without a start in the logs stands in
//     another one, unless [ReconcileOptions] say that there are workers without
//     the adapter.
//
// It then records nothing of that job, and says so: [ErrPartialLog].
package queue
