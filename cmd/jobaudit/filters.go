package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jobaudit/jobaudit"
)

// eventTypes are the types that an event can have.
var eventTypes = []jobaudit.EventType{
	jobaudit.JobSubmitted, jobaudit.JobDeduplicated, jobaudit.JobAuthorized, jobaudit.JobDenied, jobaudit.JobStarted,
	jobaudit.JobHeartbeat, jobaudit.JobLogged, jobaudit.JobSnapshot, jobaudit.JobSucceeded, jobaudit.JobFailed,
	jobaudit.JobCancelled, jobaudit.JobCorrected,
	jobaudit.AttemptStarted, jobaudit.AttemptFailed, jobaudit.AttemptDeferred, jobaudit.AttemptLost,
	jobaudit.AttemptSuperseded, jobaudit.AttemptLate,
	jobaudit.AuditOpened, jobaudit.AuditClosed, jobaudit.AuditPolicy, jobaudit.AuditDegraded, jobaudit.AuditLost,
	jobaudit.AuditProbed, jobaudit.AuditErased, jobaudit.AuditRead, jobaudit.AuditReviewed, jobaudit.AuditRequested, jobaudit.AuditHeld,
	jobaudit.AuditReleased, jobaudit.AuditRetention, jobaudit.AuditRetired,
}

var jobStates = []jobaudit.JobState{jobaudit.Pending, jobaudit.Running, jobaudit.Success, jobaudit.Failed, jobaudit.Cancelled}

// errorCodes are those of the library. A program may have others.
var errorCodes = []jobaudit.ErrorCode{
	jobaudit.CodeError, jobaudit.CodePanic, jobaudit.CodeGoexit, jobaudit.CodeTimeout, jobaudit.CodeCancelled,
	jobaudit.CodeForbidden, jobaudit.CodeDuplicate, jobaudit.CodeAbandoned, jobaudit.CodeExpired, jobaudit.CodeNotRun,
	jobaudit.CodeSkipped, jobaudit.CodeDeferred,
}

// filters are the flags that select events, or jobs.
type filters struct {
	job, correlation, root, principal, acting, org, action, resource, state, errorCode, since, until string

	types           []string
	local, redacted bool
}

// add adds the flags that events and jobs have in common.
func (f *filters) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.correlation, "correlation", "", "of this correlation")
	flags.StringVar(&f.root, "root", "", "of the family of this root job")
	flags.StringVar(&f.principal, "principal", "", "by the principal with this ID, or on behalf of it")
	flags.StringVar(&f.acting, "acting", "", "by the principal with this ID itself")
	flags.StringVar(&f.org, "org", "", "of this organization")
	flags.StringVar(&f.action, "action", "", "of jobs with this action")
	flags.StringVar(&f.resource, "resource", "", "of jobs that act on this resource")
	flags.StringVar(&f.errorCode, "error-code", "", "with an error of this code, as in TIMEOUT")
	flags.StringVar(&f.since, "since", "", "at or after this time: 30d, 90m or 2w ago, today, yesterday, 2026-02-03, 2026-02-03T15:04, 2026-02-03T15:04:05+01:00, '2026-02-03 15:04 Europe/Berlin'")
	flags.StringVar(&f.until, "until", "", "before this time, written in the same way")
	flags.BoolVar(&f.local, "local", false, "times in the zone of this machine, in what is given and in what is printed; default: UTC")
	flags.StringVar(&f.state, "state", "", "whose job was pending, running, success, failed or cancelled then")
	for _, name := range []string{"correlation", "root", "principal", "acting", "org", "action", "resource", "error-code", "since", "until", "state"} {
		onceOnly(cmd, name)
	}
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(texts(jobStates), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("error-code", cobra.FixedCompletions(texts(errorCodes), cobra.ShellCompDirectiveNoFileComp))
}

// onceOnly makes it an error to give a flag twice: the last one would answer for both.
func onceOnly(cmd *cobra.Command, name string) {
	flag := cmd.Flags().Lookup(name)
	flag.Value = &onceValue{flag.Value, flag}
}

// onceValue is a flag's value that can be set once.
type onceValue struct {
	pflag.Value
	flag *pflag.Flag
}

func (v *onceValue) Set(text string) error {
	if v.flag.Changed {
		return errors.New("it is given twice, and selects one value")
	}
	return v.Value.Set(text)
}

// addEvents adds the flags that events have alone, too.
func (f *filters) addEvents(cmd *cobra.Command) {
	f.add(cmd)
	cmd.Flags().StringVar(&f.job, "job", "", "of this job")
	onceOnly(cmd, "job")
	cmd.Flags().StringSliceVar(&f.types, "type", nil, "of these types, as in job.failed,attempt.failed; job.* stands for all that begin so")
	cmd.Flags().BoolVar(&f.redacted, "redacted", false, "of which something was not stored, which the line names, with the policy")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(texts(eventTypes), cobra.ShellCompDirectiveNoFileComp))
}

// query returns the query, and a text that all that match contain.
func (f *filters) query() (q jobaudit.Query, contains string, err error) {
	for _, id := range []struct {
		name, text string
		to         *uuid.UUID
	}{{"--correlation", f.correlation, &q.CorrelationID}, {"--root", f.root, &q.RootID}, {"--job", f.job, &q.JobID}} {
		if id.text == "" {
			continue
		}
		if *id.to, err = readID(id.name, id.text); err != nil {
			return q, "", err
		}
		contains = id.to.String()
	}
	q.PrincipalID, q.ActingFor, q.OrgID, q.Action, q.Resource = f.acting, f.principal, f.org, f.action, f.resource
	for _, t := range f.types {
		types, err := typesOf(t)
		if err != nil {
			return q, "", err
		}
		q.Types = append(q.Types, types...)
	}
	if q.State, err = known("--state", f.state, jobStates); err != nil {
		return q, "", err
	}
	q.ErrorCode = jobaudit.ErrorCode(f.errorCode) // programs have codes of their own
	q.Since, q.Until, err = f.period()
	return q, contains, err
}

// period reads since and until.
func (f *filters) period() (since, until time.Time, err error) {
	zone, now := time.UTC, time.Now()
	if f.local {
		zone = time.Local
	}
	if since, err = moment("--since", f.since, now, zone); err != nil {
		return since, until, err
	}
	if until, err = moment("--until", f.until, now, zone); err != nil {
		return since, until, err
	}
	switch {
	case f.since != "" && since.After(now):
		return since, until, usagef("--since %s is in the future", since.Format(time.RFC3339))
	case f.since != "" && f.until != "" && !since.Before(until):
		return since, until, usagef("--since %s is not before --until %s", since.Format(time.RFC3339), until.Format(time.RFC3339))
	}
	return since, until, nil
}

// typesOf returns the type that a text names, or those that begin as it says.
func typesOf(text string) (types []jobaudit.EventType, err error) {
	if prefix, ok := strings.CutSuffix(text, "*"); ok {
		for _, t := range eventTypes {
			if strings.HasPrefix(string(t), prefix) {
				types = append(types, t)
			}
		}
		if len(types) > 0 {
			return types, nil
		}
	}
	t, err := known("--type", text, eventTypes)
	return []jobaudit.EventType{t}, err
}

// known returns the value that a text names; an empty one is none.
func known[T ~string](flag, text string, values []T) (T, error) {
	if text == "" || slices.Contains(values, T(text)) {
		return T(text), nil
	}
	return "", usagef("%s %s is not known%s", flag, quoted(text), suggestion(text, texts(values)))
}

// suggestion names the values that a text may have been meant for, or all.
func suggestion(text string, values []string) string {
	if near := nearest(text, values); len(near) > 0 {
		return ": did you mean " + alternatives(near) + "?"
	}
	return ": it is " + alternatives(values)
}

func alternatives(values []string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}

// nearest returns the values that are like a text, the most similar first, at
// most three.
func nearest(text string, values []string) []string {
	type near struct {
		value    string
		distance int
	}
	var found []near
	lower := strings.ToLower(text)
	if len(lower) > 256 { // nobody means something by that
		return nil
	}
	for _, v := range values {
		d := distance(lower, strings.ToLower(v))
		if d <= max(1, len(v)/3) || len(lower) > 2 && strings.Contains(strings.ToLower(v), lower) {
			found = append(found, near{v, d})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return cmp.Compare(a.distance, b.distance) })
	var names []string
	for _, n := range found[:min(3, len(found))] {
		names = append(names, plain(n.value))
	}
	return names
}

// distance counts the characters to insert, remove or replace, and the pairs to swap.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, row := make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i := range s {
		next := make([]int, len(t)+1)
		next[0] = i + 1
		for j := range t {
			next[j+1] = row[j]
			if s[i] != t[j] {
				next[j+1] = 1 + min(row[j], row[j+1], next[j])
			}
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(t)]
}

func texts[T ~string](values []T) (list []string) {
	for _, v := range values {
		list = append(list, string(v))
	}
	return list
}

// layouts are the ways to write a time. A zone that is left out is the given
// one.
var layouts = []string{
	time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02 15:04:05Z07:00",
	"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly, "2006-01",
}

// moment reads a time, or how long ago it was.
func moment(name, text string, now time.Time, zone *time.Location) (time.Time, error) {
	text = strings.TrimSpace(text)
	midnight := func(day time.Time) time.Time {
		y, m, d := day.In(zone).Date()
		return time.Date(y, m, d, 0, 0, 0, 0, zone)
	}
	switch text {
	case "":
		return time.Time{}, nil
	case "now":
		return now, nil
	case "today":
		return midnight(now), nil
	case "yesterday":
		return midnight(midnight(now).Add(-time.Hour)), nil
	}
	if t, ok := written(text, zone); ok {
		return t, nil
	}
	if d, err := ago(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, usagef("%s %s is no time: it is written as 2026-02-03, 2026-02-03T15:04:05Z, '2026-02-03 15:04 Europe/Berlin' or, for so long ago, as 30d, 12h or 90m", name, quoted(text))
}

// written reads a time that is written out, behind which a zone may stand.
func written(text string, zone *time.Location) (time.Time, bool) {
	for _, layout := range layouts {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, true
		}
	}
	if at := strings.LastIndexByte(text, ' '); at > 0 {
		if named, err := time.LoadLocation(text[at+1:]); err == nil && text[at+1:] != "" {
			return written(text[:at], named)
		}
	}
	return time.Time{}, false
}

// ago reads a duration, which may count days and weeks: 30d, 2w, 1d12h.
func ago(text string) (time.Duration, error) {
	var total time.Duration
	rest := text
	for _, unit := range []struct {
		letter string
		long   time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, behind, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, err
		}
		total, rest = total+time.Duration(n)*unit.long, behind
	}
	if rest == "" && text != "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err == nil && d < 0 {
		err = fmt.Errorf("%s is negative", d)
	}
	return total + d, err
}
