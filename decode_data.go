package jobaudit

import (
	"encoding/json"
)

func (d decoder) redaction(raw []byte) *Redaction {
	var r Redaction
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "policy":
			r.Policy = d.String(raw)
		case "version":
			r.Version = d.String(raw)
		case "digest":
			r.Digest = d.Hash(raw)
		case "outcome":
			r.Outcome = RedactionOutcome(d.String(raw))
		case "removed":
			d.List(raw, func(raw []byte) {
				path, class := d.pair(raw, "path", "class")
				r.Removed = append(r.Removed, struct{ Path, Class string }{path, class})
			})
		case "removedCount":
			r.RemovedCount = d.Integer(raw)
		case "hits":
			d.List(raw, func(raw []byte) {
				path, rule := d.pair(raw, "path", "rule")
				r.Hits = append(r.Hits, struct{ Path, Rule string }{path, rule})
			})
		case "more":
			r.More = d.Integer(raw)
		case "taint":
			r.Taint = d.String(raw)
		}
	})
	return &r
}

func (d decoder) pair(raw []byte, first, second string) (a, b string) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case first:
			a = d.String(raw)
		case second:
			b = d.String(raw)
		}
	})
	return a, b
}

func (d decoder) data(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "decision":
			e.Data.Decision = d.decision(raw)
		case "output":
			e.Data.Output = d.Raw(raw)
		case "impact":
			e.Data.Impact = d.Text(raw)
		case "error":
			e.Data.Error = d.errorDetail(raw)
		case "line":
			e.Data.Line = d.Text(raw)
		case "snapshot":
			e.Data.Snapshot = d.snapshot(raw)
		case "heartbeat":
			d.heartbeat(raw, e)
		case "correction":
			e.Data.Correction = d.correction(raw)
		case "existing":
			e.Data.Existing = d.UUID(raw)
		case "evidence":
			d.evidence(raw, e)
		case "lost":
			d.lost(raw, e)
		case "degraded":
			d.degraded(raw, e)
		case "erased":
			d.erased(raw, e)
		case "act":
			d.act(raw, e)
		case "affected":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "count":
					e.Data.Affected.Count = d.Integer(raw)
				case "unit":
					e.Data.Affected.Unit = d.String(raw)
				}
			})
		case "missing":
			d.List(raw, func(raw []byte) { e.Data.Missing = append(e.Data.Missing, d.String(raw)) })
		case "environment":
			d.environment(raw, e)
		case "companionOf":
			d.companion(raw, e)
		case "recovery":
			e.Data.Recovery = json.RawMessage(d.Raw(raw))
		case "policy":
			e.Data.Policy = json.RawMessage(d.Raw(raw))
		}
	})
}

func (d decoder) decision(raw []byte) *Decision {
	var v Decision
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "allowed":
			v.Allowed = d.Bool(raw)
		case "by":
			v.By = d.String(raw)
		case "permission":
			v.Permission = d.String(raw)
		case "reason":
			v.Reason = d.Text(raw)
		}
	})
	return &v
}

func (d decoder) errorDetail(raw []byte) *ErrorDetail {
	var v ErrorDetail
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "code":
			v.Code = ErrorCode(d.String(raw))
		case "message":
			v.Message = d.Text(raw)
		case "type":
			v.Type = d.String(raw)
		case "frame":
			v.Frame = d.String(raw)
		}
	})
	return &v
}

func (d decoder) snapshot(raw []byte) *Snapshot {
	var v Snapshot
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "resource":
			v.Resource = d.Text(raw)
		case "moment":
			v.After = d.String(raw) == "after"
		case "digest":
			v.Digest = d.String(raw)
		case "summary":
			v.Summary = d.Text(raw)
		case "value":
			v.Value = json.RawMessage(d.Raw(raw))
		}
	})
	return &v
}

func (d decoder) heartbeat(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "progress":
			var p struct{ Done, Total int64 }
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "done":
					p.Done = d.Integer(raw)
				case "total":
					p.Total = d.Integer(raw)
				}
			})
			e.Data.Heartbeat.Progress = &p
		case "deadline":
			e.Data.Heartbeat.Deadline = d.Time(raw)
		}
	})
}

func (d decoder) correction(raw []byte) *Correction {
	var v Correction
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "of":
			v.Of = d.UUID(raw)
		case "kind":
			v.Reversal = d.String(raw) == "reversal"
		case "reason":
			v.Reason = d.Text(raw)
		case "value":
			v.Value = json.RawMessage(d.Raw(raw))
		}
	})
	return &v
}

func (d decoder) lost(raw []byte, e *Event) {
	v := &e.Data.Lost
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "count":
			v.Count = d.Integer(raw)
		case "types":
			d.List(raw, func(raw []byte) { v.Types = append(v.Types, EventType(d.String(raw))) })
		case "more":
			v.More = d.Integer(raw)
		case "from":
			v.From = d.Time(raw)
		case "to":
			v.To = d.Time(raw)
		}
	})
}

func (d decoder) erased(raw []byte, e *Event) {
	v := &e.Data.Erased
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "keys":
			d.List(raw, func(raw []byte) { v.Keys = append(v.Keys, d.String(raw)) })
		case "more":
			v.More = d.Integer(raw)
		case "reason":
			v.Reason = d.Text(raw)
		}
	})
}

func (d decoder) evidence(raw []byte, e *Event) {
	v := &e.Data.Evidence
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "last":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "id":
					v.Last.ID = d.UUID(raw)
				case "type":
					v.Last.Type = d.eventType(raw)
				case "time":
					v.Last.Time = d.Time(raw)
				}
			})
		case "heartbeat":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "id":
					v.Heartbeat.ID = d.UUID(raw)
				case "time":
					v.Heartbeat.Time = d.Time(raw)
				}
			})
		case "deadline":
			v.Deadline = d.Time(raw)
		case "owner":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "stream":
					v.Owner.Stream = d.UUID(raw)
				case "host":
					v.Owner.Host = d.String(raw)
				case "instance":
					v.Owner.Instance = d.String(raw)
				}
			})
		}
	})
}

func (d decoder) degraded(raw []byte, e *Event) {
	v := &e.Data.Degraded
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "stream":
			v.Stream = d.UUID(raw)
		case "event":
			v.Event = d.UUID(raw)
		case "count":
			v.Count = d.Integer(raw)
		case "reason":
			v.Reason = d.Text(raw)
		}
	})
}

func (d decoder) environment(raw []byte, e *Event) {
	v := &e.Data.Environment
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "go":
			v.Go = d.String(raw)
		case "os":
			v.OS = d.String(raw)
		case "arch":
			v.Arch = d.String(raw)
		case "module":
			v.Module.Path, v.Module.Version = d.pair(raw, "path", "version")
		case "vcs":
			d.Object(raw, func(name, raw []byte) {
				switch string(name) {
				case "revision":
					v.VCS.Revision = d.String(raw)
				case "time":
					v.VCS.Time = d.String(raw)
				case "modified":
					v.VCS.Modified = d.Bool(raw)
				}
			})
		case "dependencies":
			v.Dependencies = d.Hash(raw)
		case "image":
			v.Image = d.String(raw)
		case "orchestrator":
			v.Orchestrator = map[string]string{}
			d.List(raw, func(raw []byte) {
				name, value := d.pair(raw, "name", "value")
				v.Orchestrator[name] = value
			})
		case "clock":
			d.clock(raw, e)
		case "facts":
			v.Facts = json.RawMessage(d.Raw(raw))
		}
	})
}

func (d decoder) clock(raw []byte, e *Event) {
	v := &e.Data.Environment.Clock
	v.Known = true
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "synchronized":
			v.Synchronized = d.Bool(raw)
		case "errorMicros":
			v.ErrorMicros = d.Integer(raw)
		case "source":
			v.Source = d.String(raw)
		}
	})
}

func (d decoder) companion(raw []byte, e *Event) {
	v := &e.Data.CompanionOf
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "origin":
			v.Origin = d.String(raw)
		case "size":
			v.Head.N = d.Integer(raw)
		case "root":
			v.Head.Hash = d.Hash(raw)
		}
	})
}

func (d decoder) act(raw []byte, e *Event) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "scope":
			d.scope(raw, &e.Data.Act.Scope)
		case "data":
			e.Data.Act.Data = d.Raw(raw)
		}
	})
}

func (d decoder) scope(raw []byte, q *Query) {
	d.Object(raw, func(name, raw []byte) {
		switch string(name) {
		case "jobId":
			q.JobID = d.UUID(raw)
		case "correlationId":
			q.CorrelationID = d.UUID(raw)
		case "rootId":
			q.RootID = d.UUID(raw)
		case "principalId":
			q.PrincipalID = d.String(raw)
		case "actingFor":
			q.ActingFor = d.String(raw)
		case "orgId":
			q.OrgID = d.String(raw)
		case "action":
			q.Action = d.String(raw)
		case "resource":
			q.Resource = d.String(raw)
		case "types":
			d.List(raw, func(raw []byte) { q.Types = append(q.Types, EventType(d.String(raw))) })
		case "state":
			q.State = JobState(d.String(raw))
		case "errorCode":
			q.ErrorCode = ErrorCode(d.String(raw))
		case "since":
			q.Since = d.Time(raw)
		case "until":
			q.Until = d.Time(raw)
		}
	})
}
