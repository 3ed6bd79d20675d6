package export

import "github.com/jobaudit/jobaudit"

// level is how much an event wants to be seen.
type level int

const (
	info level = iota
	warning
	failure
)

// levels has the severity of a level in each format.
var levels = [...]struct {
	name                    string // ECS log.level
	syslog, cef, ocsf, otlp int
	ocsfName, otlpName      string
}{
	info:    {name: "info", syslog: 6, cef: 2, ocsf: 1, otlp: 9, ocsfName: "Informational", otlpName: "INFO"},
	warning: {name: "warn", syslog: 4, cef: 5, ocsf: 3, otlp: 13, ocsfName: "Medium", otlpName: "WARN"},
	failure: {name: "error", syslog: 3, cef: 7, ocsf: 4, otlp: 17, ocsfName: "High", otlpName: "ERROR"},
}

// kind is what formats want to know of a type of event.
type kind struct {
	level   level
	outcome string // "success" or "failure"; "" if the event is neither
	ecsType string // what ECS calls it: start, end, change, info
}

// kinds has the types that are not plain information.
var kinds = map[jobaudit.EventType]kind{
	jobaudit.JobDenied:         {warning, "failure", "end"},
	jobaudit.JobStarted:        {info, "success", "start"},
	jobaudit.JobSucceeded:      {info, "success", "end"},
	jobaudit.JobFailed:         {failure, "failure", "end"},
	jobaudit.JobCancelled:      {warning, "", "end"},
	jobaudit.JobCorrected:      {warning, "", "change"},
	jobaudit.AttemptStarted:    {info, "success", "start"},
	jobaudit.AttemptFailed:     {warning, "failure", "end"},
	jobaudit.AttemptDeferred:   {info, "", "end"},
	jobaudit.AttemptLost:       {failure, "failure", "end"},
	jobaudit.AttemptSuperseded: {warning, "", "end"},
	jobaudit.AttemptLate:       {warning, "", "end"},
	jobaudit.AuditDegraded:     {failure, "failure", "info"},
	jobaudit.AuditLost:         {failure, "failure", "info"},
	jobaudit.AuditErased:       {warning, "success", "change"},
}

// kindOf returns what is known of a type. Types that this version does not know
// are information.
func kindOf(t jobaudit.EventType) kind {
	if k, ok := kinds[t]; ok {
		return k
	}
	return kind{ecsType: "info"}
}
