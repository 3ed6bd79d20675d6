package export

import (
	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// OCSF's classes. A submission that a request asked for from a known address is an
// API Activity; other events of jobs are Scheduled Job Activities; those of the
// audit itself, for which there is no class, are Base Events.
const (
	ocsfBase = 0
	ocsfJob  = 1006
	ocsfAPI  = 6003
)

// Activities: a class has no name for the end of a job, which is Other, with the
// type as its name.
const (
	ocsfCreate = 1
	ocsfStart  = 6
	ocsfOther  = 99
)

// The captions of the classes and activities.
var (
	ocsfClassNames    = map[int64]string{ocsfBase: "Base Event", ocsfJob: "Scheduled Job Activity", ocsfAPI: "API Activity"}
	ocsfActivityNames = map[int64]string{ocsfCreate: "Create", ocsfStart: "Start", ocsfOther: "Other"}
)

func ocsfClass(v *view) int64 {
	switch {
	case v.Job.ID == uuid.Nil:
		return ocsfBase
	case v.Type == jobaudit.JobSubmitted && v.RequestID != v.Job.ID && v.Where.SourceIP.IsValid():
		return ocsfAPI
	}
	return ocsfJob
}

func ocsfActivity(v *view) int64 {
	if ocsfClass(v) == ocsfBase {
		return ocsfOther
	}
	switch v.Type {
	case jobaudit.JobSubmitted:
		return ocsfCreate
	case jobaudit.JobStarted, jobaudit.AttemptStarted:
		return ocsfStart
	}
	return ocsfOther
}

// ocsfTable has the attributes of OCSF 1.9.0-dev. Those of agents are left out:
// the schema has not settled them. What it has no attribute for is unmapped.
var ocsfTable = []row{
	{"class_uid", func(v *view) value { return number(ocsfClass(v)) }},
	{"category_uid", func(v *view) value { return number(ocsfClass(v) / 1000) }},
	{"activity_id", func(v *view) value { return number(ocsfActivity(v)) }},
	{"activity_name", ocsfActivityName},
	{"type_uid", func(v *view) value { return number(ocsfClass(v)*100 + ocsfActivity(v)) }},
	{"type_name", ocsfTypeName},
	{"severity_id", func(v *view) value { return number(int64(levels[kindOf(v.Type).level].ocsf)) }},
	{"severity", func(v *view) value { return text(levels[kindOf(v.Type).level].ocsfName) }},
	{"time", func(v *view) value { return number(v.when().UnixMilli()) }},
	{"message", message},
	{"status_id", ocsfStatusID},
	{"status", ocsfStatus},
	{"status_code", errorCode},
	{"status_detail", errorMessage},
	{"metadata.version", constant("1.9.0-dev")},
	{"metadata.product.name", constant("jobaudit")},
	{"metadata.product.vendor_name", constant("jobaudit")},
	{"metadata.uid", eventID},
	{"metadata.event_code", eventType},
	{"metadata.correlation_uid", correlationID},
	{"metadata.log_name", system},
	{"metadata.logged_time", func(v *view) value { return number(v.Time.UnixMilli()) }},
	{"metadata.original_time", recorded},
	{"metadata.sequence", seq},
	{"metadata.tenant_uid", orgID},
	{"metadata.profiles", func(v *view) value {
		if ocsfClass(v) == ocsfAPI {
			return rawJSON(`["host","trace"]`)
		}
		return rawJSON(`["host"]`)
	}},
	{"actor.app_name", system},
	{"actor.user.uid", present(principalID)},
	{"actor.user.name", principalName},
	{"actor.user.type_id", ocsfUserType},
	{"actor.user.type", ocsfUserTypeName},
	{"actor.session.uid", authSession},
	{"device.type_id", func(v *view) value { return number(0) }},
	{"device.hostname", present(host)},
	{"device.uid", instance},
	{"job.uid", inClass(ocsfJob, jobID)},
	{"job.name", inClass(ocsfJob, present(action))},
	{"job.type_id", inClass(ocsfJob, func(v *view) value { return number(99) })},
	{"job.type", inClass(ocsfJob, constant("Background job"))},
	{"job.run_state_id", inClass(ocsfJob, ocsfRunState)},
	{"job.run_state", inClass(ocsfJob, ocsfRunStateName)},
	{"api.operation", inClass(ocsfAPI, present(action))},
	{"api.service.name", inClass(ocsfAPI, system)},
	{"api.request.uid", inClass(ocsfAPI, requestID)},
	{"src_endpoint.ip", inClass(ocsfAPI, sourceIP)},
	{"resources", inClass(ocsfAPI, func(v *view) value {
		return rawJSON(string(appendObject([]byte{'['}, ocsfResource, v)) + "]")
	})},
	{"trace.uid", inClass(ocsfAPI, traceID)},
	{"raw_data", original},
	{"raw_data_size", func(v *view) value { return number(int64(v.record.Len())) }},
	{"unmapped.phase", phase},
	{"unmapped.state", state},
	{"unmapped.attempt", attempt},
	{"unmapped.execution_id", executionID},
	{"unmapped.parent_id", parentID},
	{"unmapped.root_id", rootID},
	{"unmapped.retry_of", retryOf},
	{"unmapped.causation_id", causationID},
	{"unmapped.request_id", requestID},
	{"unmapped.traceparent", traceParent},
	{"unmapped.stream_id", streamID},
	{"unmapped.leaf_hash", leafHash},
	{"unmapped.assurance", assurance},
	{"unmapped.auth_method", authMethod},
	{"unmapped.carrier_key", proofKey},
	{"unmapped.on_behalf_of", onBehalfOf},
	{"unmapped.upstream_system", upstreamSys},
	{"unmapped.upstream_id", upstreamID},
	{"unmapped.queue_system", queueSystem},
	{"unmapped.queue_id", queueID},
	{"unmapped.resource", resource},
	{"unmapped.environment", environment},
	{"unmapped.version", version},
	{"unmapped.target", target},
	{"unmapped.source_ip", sourceIP},
	{"unmapped.trigger", trigger},
	{"unmapped.reason", reason},
	{"unmapped.ref", ref},
	{"unmapped.redaction", redaction},
	{"unmapped.policy", policy},
	{"unmapped.error_type", errorType},
	{"unmapped.error_frame", errorFrame},
	{"unmapped.line", line},
	{"unmapped.impact", impact},
	{"unmapped.inputs", inputs},
	{"unmapped.data", data},
}

// ocsfResource is what an API call was about: the job that it made.
var ocsfResource = []row{
	{"uid", jobID},
	{"name", action},
	{"type", constant("Background job")},
}

// present is a row's value that is there where the event's is empty, too: a schema asks for
// it, and an empty text says what was recorded.
func present(get func(*view) value) func(*view) value {
	return func(v *view) value {
		x := get(v)
		x.form = max(x.form, isText)
		return x
	}
}

// inClass is a row's value in one class alone.
func inClass(class int64, get func(*view) value) func(*view) value {
	return func(v *view) value {
		if ocsfClass(v) != class {
			return value{}
		}
		return get(v)
	}
}

func ocsfActivityName(v *view) value {
	if activity := ocsfActivity(v); activity != ocsfOther {
		return text(ocsfActivityNames[activity])
	}
	return eventType(v)
}

// ocsfTypeName is the captions of the class and of the activity.
func ocsfTypeName(v *view) value {
	return text(ocsfClassNames[ocsfClass(v)] + ": " + ocsfActivityNames[ocsfActivity(v)])
}

func ocsfStatusID(v *view) value {
	switch kindOf(v.Type).outcome {
	case "success":
		return number(1)
	case "failure":
		return number(2)
	}
	return number(99)
}

// ocsfStatus is the caption of the status, or the source's own word for it.
func ocsfStatus(v *view) value {
	switch kindOf(v.Type).outcome {
	case "success":
		return text("Success")
	case "failure":
		return text("Failure")
	}
	if v.Job.State == "" {
		return text("Recorded")
	}
	return state(v)
}

func ocsfUserType(v *view) value {
	switch v.Who.Principal.Kind {
	case jobaudit.User:
		return number(1)
	case jobaudit.System:
		return number(3)
	case jobaudit.Service:
		return number(4)
	}
	return number(99)
}

func ocsfUserTypeName(v *view) value {
	switch v.Who.Principal.Kind {
	case jobaudit.User:
		return text("User")
	case jobaudit.System:
		return text("System")
	case jobaudit.Service:
		return text("Service")
	}
	return principalKind(v)
}

func ocsfRunState(v *view) value {
	switch v.Job.State {
	case jobaudit.Pending:
		return number(2)
	case jobaudit.Running:
		return number(3)
	case jobaudit.Success, jobaudit.Failed, jobaudit.Cancelled:
		return number(4)
	}
	return number(99)
}

func ocsfRunStateName(v *view) value {
	switch v.Job.State {
	case jobaudit.Pending:
		return text("Queued")
	case jobaudit.Running:
		return text("Running")
	case jobaudit.Success, jobaudit.Failed, jobaudit.Cancelled:
		return text("Stopped")
	}
	return state(v)
}

func appendOCSF(dst []byte, v *view) []byte {
	return append(appendObject(dst, ocsfTable, v), '\n')
}
