package main_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// The page docs/auditing.md shows commands, and what they print of the log that
// newShop writes. They run in one directory in the order of the page, and print
// what stands there, in which … stands for any text within a line.
//
// A block that begins with ```console holds them: lines that begin with $ are commands,
// the lines below what they print, to standard error too. To write the page's
// output again: UPDATE=1 go test -run TestThePageOnAuditing .
const auditingPage = "../../docs/auditing.md"

var (
	consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")
	question     = regexp.MustCompile(`(?m)^### .*\?$`)
)

func TestThePageOnAuditingShowsWhatTheCommandsPrint(t *testing.T) {
	content, err := os.ReadFile(auditingPage)
	require.NoError(t, err)
	dir := newShop(t)
	page := consoleBlock.ReplaceAllStringFunc(string(content), func(block string) string {
		shown := consoleBlock.FindStringSubmatch(block)[1]
		var b strings.Builder
		for _, call := range splitCalls(shown) {
			command, want, _ := strings.Cut(call, "\n")
			printed := runIn(t, dir, strings.TrimPrefix(command, "$ "))
			if os.Getenv("UPDATE") == "" {
				require.Regexp(t, "^"+strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*")+"$", printed, "%s", command)
			}
			if matched, _ := regexp.MatchString("^"+strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*")+"$", printed); matched {
				printed = want
			}
			b.WriteString(command + "\n" + printed)
		}
		return "```console\n" + b.String() + "```"
	})
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(auditingPage, []byte(page), 0o644))
	}
}

func TestThePageOnAuditingAnswersAtLeast25Questions(t *testing.T) {
	content, err := os.ReadFile(auditingPage)
	require.NoError(t, err)
	questions := question.FindAllStringIndex(string(content), -1)
	require.GreaterOrEqual(t, len(questions), 25)
	for i, at := range questions {
		end := len(content)
		if i+1 < len(questions) {
			end = questions[i+1][0]
		}
		require.Regexp(t, "(?m)^\\$ jobaudit ", string(content[at[0]:end]), "each is answered by a command")
	}
}

// splitCalls splits what a console shows into commands with their output.
func splitCalls(shown string) (calls []string) {
	for line := range strings.Lines(shown) {
		if strings.HasPrefix(line, "$ ") || len(calls) == 0 {
			calls = append(calls, "")
		}
		calls[len(calls)-1] += line
	}
	return calls
}

// runIn runs a command as a shell would that knows words and single quotation
// marks, and returns all that it prints.
func runIn(t *testing.T, dir, command string) string {
	t.Helper()
	args := splitWords(command)
	require.Equal(t, "jobaudit", args[0], command)
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), "COLUMNS=100", "TZ=UTC")
	if err := cmd.Run(); err != nil {
		_, exited := errors.AsType[*exec.ExitError](err)
		require.True(t, exited, "%v", err)
	}
	return leftOut.ReplaceAllString(out.String(), "")
}

// leftOut is what every command says of what it lists, which the page says once,
// and what filesink says of the machine's storage.
var leftOut = regexp.MustCompile(`(?m)^(jobaudit: not verified: |\d{4}/\d\d/\d\d \S+ WARN ).*\n`)

func splitWords(command string) (words []string) {
	quoted, word := false, ""
	for _, r := range command + " " {
		switch {
		case r == '\'':
			quoted = !quoted
		case r == ' ' && !quoted:
			if word != "" {
				words = append(words, word)
			}
			word = ""
		default:
			word += string(r)
		}
	}
	return words
}

// shopKey is no secret: it signs the log of newShop, so that what the page
// shows of keys stays.
const shopKey = "PRIVATE+KEY+example.com/jobs+f46cd5f2+AYKeuH7ivxyorSvL2gCitSg8MrBpsK7M6lgE1udiaPvE"

type order struct {
	Number string `json:"number"`
	Card   string `json:"card"`
}

// shop writes the log that the page is about, at times and with IDs that are
// the same each time.
type shop struct {
	dir      string
	now      atomic.Int64
	ids      atomic.Uint64
	sink     *filesink.Sink
	recorder *jobaudit.Recorder
}

// newShop writes the log in audit, with its key and anchor beside it, and a copy
// of the anchor as the auditor kept it, in head-of-15-march. It returns the
// directory that they are in.
func newShop(t *testing.T) string {
	t.Helper()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // the warnings about the test's own storage
	s := &shop{dir: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "audit.key"), []byte(shopKey+"\n"), 0o600))
	s.at("2025-03-01 06:00")
	s.openLog(t, "v1.4.0", "billing-1")
	s.modified(t)
	s.march(t)
	s.closeLog(t)
	return s.dir
}

func (s *shop) openLog(t *testing.T, version, instance string) {
	t.Helper()
	key, err := filesink.LoadOrCreateKey(filepath.Join(s.dir, "audit"), filepath.Join(s.dir, "audit.key"), "example.com/jobs")
	require.NoError(t, err)
	s.sink, err = filesink.Open(t.Context(), filepath.Join(s.dir, "audit"), key, nil)
	require.NoError(t, err)
	s.recorder = s.open(t, s.sink, version, instance)
}

func (s *shop) closeLog(t *testing.T) {
	t.Helper()
	require.NoError(t, s.recorder.Close(t.Context()))
	require.NoError(t, s.sink.Close())
}

func (s *shop) at(text string) {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	s.now.Store(t.UnixMicro())
}

func (s *shop) pass(d time.Duration) { s.now.Add(d.Microseconds()) }

func (s *shop) clock() time.Time { return time.UnixMicro(s.now.Load()).UTC() }

// newID makes a UUID of version 7 of the clock and a count.
func (s *shop) newID() uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], uint64(s.now.Load()/1000)<<16|0x7000)
	binary.BigEndian.PutUint64(id[8:], 1<<63|s.ids.Add(1)*0x9e3779b1)
	return id
}

func (s *shop) open(t *testing.T, sink jobaudit.AuditSink, version, instance string) *jobaudit.Recorder {
	t.Helper()
	policies := []jobaudit.Redactor{jobaudit.NewRedactor("charge", "3", jobaudit.InputPaths[order](jobaudit.Keep("number"), jobaudit.Drop("card", "payment")))}
	if version == "v1.3.9" {
		policies = nil // its first event stands alone in its stream
	}
	redactors, err := jobaudit.NewRegistry(nil, policies...)
	require.NoError(t, err)
	r, err := jobaudit.Open(t.Context(), sink,
		jobaudit.Source{System: "billing", Environment: "production", Host: "h1", Instance: instance, Version: version},
		&jobaudit.Options{Now: s.clock, NewID: s.newID, Heartbeat: -1, Redactors: redactors, Authorize: func(_ context.Context, sub jobaudit.Submission) (jobaudit.Decision, error) {
			if sub.Principal.ID == "mallory" {
				return jobaudit.Decision{By: "opa", Permission: "accounts.export", Reason: "not of this department"}, nil
			}
			return jobaudit.Decision{Allowed: true, By: "opa"}, nil
		}})
	require.NoError(t, err)
	return r
}

// modified writes a job of a program that was built from modified source: as
// tests are built from none, the recorder's first event is made to say so.
func (s *shop) modified(t *testing.T) {
	t.Helper()
	memory := memsink.New(nil)
	r := s.open(t, memory, "v1.3.9", "billing-0")
	s.run(t, r, s.charge("ada", "1041"), time.Second, nil)
	var records []jobaudit.Record
	for record, err := range memory.Records(t.Context(), jobaudit.Query{}) {
		require.NoError(t, err)
		if record.Type() == jobaudit.AuditOpened {
			record, err = jobaudit.ParseRecord(bytes.Replace(record.Bytes(), []byte(`"environment":{`),
				[]byte(`"environment":{"vcs":{"revision":"4f1c","modified":true},`), 1))
			require.NoError(t, err)
		}
		records = append(records, record)
	}
	require.NoError(t, s.sink.Append(t.Context(), records))
}

func (s *shop) charge(who, number string) jobaudit.Submission {
	return jobaudit.Submission{
		Action: "charge", Resource: "order/" + number, OrgID: "acme",
		Inputs:    order{Number: number, Card: "4111-1111-1111-1111"},
		Principal: jobaudit.Principal{Kind: jobaudit.User, ID: who, Verified: true, AuthMethod: "oidc"},
		Trigger:   jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "the customer asked", Ref: "SHOP-" + number},
	}
}

// run runs a job for a while.
func (s *shop) run(t *testing.T, r *jobaudit.Recorder, sub jobaudit.Submission, long time.Duration, result error) {
	t.Helper()
	_ = r.Run(t.Context(), sub, func(ctx context.Context) error {
		s.pass(long)
		return result
	})
}

// march is what happened.
func (s *shop) march(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	s.at("2025-03-03 09:15")
	s.run(t, s.recorder, s.charge("ada", "1042"), 2*time.Second, nil)

	s.at("2025-03-04 10:00") // for somebody else, with a part
	report := jobaudit.Submission{
		Action: "report", Resource: "accounts/2025-02", OrgID: "acme",
		Principal:  jobaudit.Principal{Kind: jobaudit.Service, ID: "reporter", Verified: true, AuthMethod: "mtls"},
		OnBehalfOf: []jobaudit.Principal{{Kind: jobaudit.User, ID: "ada", Verified: true, AuthMethod: "oidc"}},
		Trigger:    jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every month", Ref: "cron/report"},
	}
	_ = s.recorder.Run(ctx, report, func(ctx context.Context) error {
		s.pass(time.Minute)
		part := jobaudit.Submission{Action: "render", Trigger: jobaudit.Trigger{Kind: jobaudit.OnEvent, Reason: "a part of the report"}, Principal: report.Principal}
		err := s.recorder.Run(ctx, part, func(ctx context.Context) error {
			trail, _ := jobaudit.FromContext(ctx)
			trail.Log(ctx, "12 pages")
			s.pass(90 * time.Minute)
			return nil
		})
		trail, _ := jobaudit.FromContext(ctx)
		trail.SetImpact("the report of February was sent")
		trail.SetAffected(ctx, 12, "pages")
		return err
	})

	s.at("2025-03-10 14:30") // an operator cancels what ada asked for
	trail, err := s.recorder.Submit(ctx, jobaudit.Submission{
		Action: "purge", Resource: "orders/2019", OrgID: "acme", Principal: s.charge("ada", "").Principal,
		Trigger: jobaudit.Trigger{Kind: jobaudit.Manual, Reason: "old orders", Ref: "OPS-7"},
	})
	require.NoError(t, err)
	s.pass(time.Minute)
	require.NoError(t, trail.CancelBy(ctx, jobaudit.Principal{Kind: jobaudit.User, ID: "grace", Verified: true, AuthMethod: "oidc"}, "2019 is under legal hold"))

	s.at("2025-03-12 02:00") // three attempts
	flaky, err := s.recorder.Submit(ctx, jobaudit.Submission{
		Action: "backup", Resource: "db/orders", Principal: jobaudit.Principal{Kind: jobaudit.System, ID: "cron"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every night", Ref: "cron/backup"},
	})
	require.NoError(t, err)
	for n := range 3 {
		require.NoError(t, flaky.Start(ctx, jobaudit.Execution{}))
		s.pass(time.Minute)
		if n < 2 {
			flaky.Retrying(ctx, errors.New("the volume is busy"))
		}
	}
	require.NoError(t, flaky.Fail(ctx, errors.New("the volume is busy")))

	s.at("2025-03-15 08:00") // a new version
	s.closeLog(t)
	kept, err := os.ReadFile(filepath.Join(s.dir, "audit.key.anchor"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "head-of-15-march"), kept, 0o644))
	s.openLog(t, "v1.5.0", "billing-2")

	s.at("2025-03-17 11:00")
	s.run(t, s.recorder, s.charge("ada", "1043"), 30*time.Second, context.DeadlineExceeded)

	s.at("2025-03-18 16:45")
	denied := s.charge("mallory", "1044")
	denied.Action, denied.Resource = "export", "accounts/2025-02"
	s.run(t, s.recorder, denied, 0, nil)

	s.at("2025-03-20 03:00") // killed
	ghost, err := s.recorder.Submit(ctx, jobaudit.Submission{
		Action: "reindex", Resource: "search", Principal: jobaudit.Principal{Kind: jobaudit.System, ID: "cron"},
		Trigger: jobaudit.Trigger{Kind: jobaudit.Scheduled, Reason: "every week", Ref: "cron/reindex"},
	})
	require.NoError(t, err)
	require.NoError(t, ghost.Start(ctx, jobaudit.Execution{Deadline: time.Hour}))
	s.at("2025-03-31 23:00")
}
