// Package verdict takes the outcome of jobs from River's own decision, for
// package riveraudit: it is the part that needs River's client.
//
//   - [Handler] records attempts that fail, and those that no worker saw.
//   - [Follow] records outcomes as River commits them.
//   - [Reconcile] compares River's table with the log and records what is
//     missing, whatever the reason.
//   - [Admin] cancels, retries and deletes jobs and pauses queues, and records
//     who did and why.
//
// River is used through its public client, in the version that this module
// requires: its subscriptions, its error handler and its job list.
package verdict
