package multisink

import (
	"crypto/sha256"
	"slices"

	"github.com/jobaudit/jobaudit"
)

// Recovery is for [jobaudit.Open]: what the first sink found that has a torn tail, a
// safeguard that was switched off or a predecessor to tell of, or else the first that
// tells anything, if it can be one that is not new; closed only if the log of each was
// that is not new. With that stand the torn heads of all, what the others' predecessors
// had at last among them, and the files, safeguards and warnings of all. Where there are
// several sinks each of these begins with the name of its own, "sink 1: ", as the report
// stands in the logs of all. Policies are those that every sink holds. It reports false
// if no sink has a Recovery.
func (s *Sink) Recovery() (jobaudit.Recovery, bool) {
	found := make([]*jobaudit.Recovery, len(s.members))
	for i, m := range s.members {
		if r, ok := recoveryOf(m.sink); ok {
			found[i] = &r
		}
	}
	most := mostTelling(found)
	if most < 0 {
		return jobaudit.Recovery{}, false
	}
	all := *found[most]
	all.TornHeads = slices.Clone(all.TornHeads)
	all.TornFiles, all.Overrides, all.Warnings = nil, nil, nil
	all.Closed = closed(found)
	for i, r := range found {
		if r == nil {
			continue
		}
		name := ""
		if len(s.members) > 1 {
			name = s.members[i].name + ": "
		}
		all.TornFiles = appendNamed(all.TornFiles, name, r.TornFiles)
		all.Overrides = appendNamed(all.Overrides, name, r.Overrides)
		all.Warnings = appendNamed(all.Warnings, name, r.Warnings)
		if r.Predecessor != "" && name != "" {
			all.Warnings = append(all.Warnings, name+"continues "+r.Predecessor)
		}
		if i != most {
			merge(&all, r)
		}
	}
	if len(all.TornHeads) > 0 && all.TornBytes == 0 {
		all.TornSHA256 = sha256.Sum256(nil)
	}
	all.Policies = slices.DeleteFunc(slices.Clone(all.Policies), func(p jobaudit.Hash) bool {
		return slices.ContainsFunc(found, func(r *jobaudit.Recovery) bool { return r == nil || !slices.Contains(r.Policies, p) })
	})
	return all, true
}

// mostTelling returns which report is the one that the others are merged into, -1 if
// there is none: one with a head, as all but that can be merged.
func mostTelling(found []*jobaudit.Recovery) int {
	for _, ranks := range []func(r *jobaudit.Recovery) bool{
		func(r *jobaudit.Recovery) bool { return r.Head != nil && tells(r) },
		func(r *jobaudit.Recovery) bool { return r.Head != nil },
		tells,
		func(*jobaudit.Recovery) bool { return true },
	} {
		if i := slices.IndexFunc(found, func(r *jobaudit.Recovery) bool { return r != nil && ranks(r) }); i >= 0 {
			return i
		}
	}
	return -1
}

// tells reports whether a sink found more than that its log was closed or not.
func tells(r *jobaudit.Recovery) bool {
	return r.TornBytes > 0 || len(r.TornHeads) > 0 || len(r.Overrides) > 0 || r.Predecessor != ""
}

// closed reports whether each log was closed that is not new, and there is one.
func closed(found []*jobaudit.Recovery) bool {
	one := false
	for _, r := range found {
		switch {
		case r == nil:
		case r.Closed:
			one = true
		case r.Head != nil || r.TornBytes > 0: // else it is new, and was not open
			return false
		}
	}
	return one
}

// merge adds to a report what another sink has found that has no name.
func merge(all, r *jobaudit.Recovery) {
	if all.TornBytes == 0 {
		all.TornBytes, all.TornSHA256 = r.TornBytes, r.TornSHA256
	}
	heads := r.TornHeads
	if r.Predecessor != "" && r.Anchor != nil { // the report has one anchor only
		heads = append(slices.Clone(heads), *r.Anchor)
	}
	for _, h := range heads {
		if !slices.Contains(all.TornHeads, h) {
			all.TornHeads = append(all.TornHeads, h)
		}
	}
}

// recoveryOf asks one sink, which may be one around others.
func recoveryOf(sink jobaudit.AuditSink) (jobaudit.Recovery, bool) {
	switch s := sink.(type) {
	case interface{ Recovery() jobaudit.Recovery }:
		return s.Recovery(), true
	case interface {
		Recovery() (jobaudit.Recovery, bool)
	}:
		return s.Recovery()
	}
	return jobaudit.Recovery{}, false
}

func appendNamed(list []string, name string, more []string) []string {
	for _, text := range more {
		list = append(list, name+text)
	}
	return list
}
