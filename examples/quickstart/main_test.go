package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// plant makes a folder with files to hash.
func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n", "a/one.txt": "one\n", "a/two.txt": "two\n", "a/b/c/three.txt": "three\n", ".git/HEAD": "ref\n",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	return dir
}

// start runs the example, and returns what it prints without what differs from
// run to run, and the events that it writes.
func start(t *testing.T, dir string) (printed string, events []jobaudit.Record) {
	t.Helper()
	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "events.jsonl")
	require.NoError(t, run(t.Context(), &out, []string{"-dir", filepath.Join(t.TempDir(), "log"), "-events", file, dir}))
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for line := range bytes.Lines(content) {
		r, err := jobaudit.ParseRecord(bytes.TrimSuffix(line, []byte("\n")))
		require.NoError(t, err)
		events = append(events, r)
	}
	printed = strings.ReplaceAll(out.String(), dir, "DIR")
	for _, r := range [][2]string{
		{`\d\d:\d\d:\d\d\.\d{3}`, "TIME"},
		{` *\+\d+\.\d{6}s`, ""},
		{`[0-9a-f]{8}-[0-9a-f-]{27}`, "ID"},
		{`  [0-9.]+(µs|ms|s)  `, "  DURATION  "},
		{`user .* \(.*\)`, "user WHO"},
		{`host .*, instance`, "host HOST, version VERSION, instance"},
		{`, \d+ bytes`, ", N bytes"},
		{`under \d+ signatures`, "under N signatures"},
		{`root hash \S{44}\n`, "root hash HASH\n"},
		{`The log is in \S*log\.`, "The log is in LOG."},
		{`verify \S*log --key localhost/quickstart\+[0-9a-f]{8}\+\S{44}\n`, "verify LOG --key KEY\n"},
	} {
		printed = regexp.MustCompile(r[0]).ReplaceAllString(printed, r[1])
	}
	return printed, events
}

// told returns what the timeline says of one job. The jobs' events stand
// between each other's as the workers happen to run.
func told(printed, number string) string {
	var lines []string
	of := false
	for line := range strings.Lines(printed) {
		if rest, ok := strings.CutPrefix(line, "TIME  "); ok {
			line, of = strings.CutPrefix(rest, number)
		} else if !strings.HasPrefix(line, "   ") {
			of = false
		}
		if of {
			lines = append(lines, strings.TrimSpace(line)+"\n")
		}
	}
	return strings.Join(lines, "")
}

func TestTheTimelineTellsWhoWhatWhenWhereAndWhy(t *testing.T) {
	printed, _ := start(t, plant(t))
	require.Contains(t, printed, "TIMELINE of 3 of 6 jobs: the parent, what failed, what was tried again\n")
	// When a worker is done with a folder, and so the order of some lines, differs.
	require.ElementsMatch(t, strings.Split(`job.submitted    pending  inputs {"path":"DIR","workers":2}
redaction hash-tree 1: removed: token (credential)
who    user WHO
what   hash-tree on DIR
where  quickstart in demo, host HOST, version VERSION, instance ID
why    manual: to see what the record of a job looks like
job    ID
job.authorized   pending  allowed by quickstart for files:read: users may read what the operating system lets them read
job.started      running, attempt 1  next sign of life by TIME
job.snapshot     running  before manifest sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 “empty”
job.logged       | found 5 folders with files
job.logged       | trouble/deleted is not in the manifest
job.heartbeat    running  2 of 5 done (40 %), next sign of life by TIME
job.heartbeat    running  3 of 5 done (60 %), next sign of life by TIME
job.heartbeat    running  4 of 5 done (80 %), next sign of life by TIME
job.heartbeat    running  5 of 5 done (100 %), next sign of life by TIME
job.snapshot     running  after manifest sha256:8e827a7901961e0cc2f5e32ccd3a113bea53af0414bb378db308a6d5578e50ad “5 files”
changed: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 before, sha256:8e827a7901961e0cc2f5e32ccd3a113bea53af0414bb378db308a6d5578e50ad after
job.succeeded    success  output {"folders":5,"failed":1,"files":5,"bytes":47,"sha256":"8e827a7901961e0cc2f5e32ccd3a113bea53af0414bb378db308a6d5578e50ad"}
impact: a manifest of 5 files, 1 of 5 folders missing
`, "\n"), strings.Split(told(printed, "#1"), "\n"))
}

func TestAFileThatIsDeletedTooEarlyFailsItsJob(t *testing.T) {
	printed, _ := start(t, plant(t))
	require.Equal(t, `job.submitted    pending  inputs {"folder":"trouble/deleted","files":2}
redaction hash-folder 1: removed: token (credential)
what   hash-folder on trouble/deleted
why    event: its files belong into the manifest
job    ID, child of #1
who, where as in #1
job.authorized   pending  allowed by quickstart for files:read: users may read what the operating system lets them read
job.started      running, attempt 1  next sign of life by TIME
job.failed       failed  NOT_FOUND: soon-gone.txt was listed and is gone [*main.fileError]
`, told(printed, "#2"))
}

func TestAFileThatIsWrittenToIsTriedAgain(t *testing.T) {
	printed, _ := start(t, plant(t))
	_, attempts, _ := strings.Cut(told(printed, "#3"), "lets them read\n")
	require.Equal(t, `job.started      running, attempt 1  next sign of life by TIME
attempt.failed   running  CHANGED: report.txt had 10 bytes when it was listed, and has 24 [*main.fileError]
attempt.started  running, attempt 2  next sign of life by TIME
job.succeeded    success, attempt 2  output {"files":1,"bytes":24}
`, attempts)
}

func TestTheTreeAndTheSumShowEveryJob(t *testing.T) {
	printed, _ := start(t, plant(t))
	_, printed, _ = strings.Cut(printed, "TREE of 6 of 6 jobs\n\n")
	tree, rest, _ := strings.Cut(printed, "\nSTATUS")
	require.Equal(t, `✓ hash-tree on DIR  success  DURATION  ID
├─ ✗ hash-folder on trouble/deleted  failed  DURATION  NOT_FOUND: soon-gone.txt was listed and is gone [*main.fileError]  ID
├─ ✓ hash-folder on trouble/written  success  DURATION  2 executions  ID
├─ ✓ hash-folder on .  success  DURATION  ID
├─ ✓ hash-folder on a  success  DURATION  ID
└─ ✓ hash-folder on a/b/c  success  DURATION  ID
`, tree)
	_, sum, _ := strings.Cut(rest, "RECORD\n\n")
	require.Equal(t, `6 jobs: 5 success, 1 failed, 0 cancelled
38 events, N bytes; none holds the token that was among the inputs of every job
verified from disk with the public key alone: L1, 38 events under N signatures, of 6 jobs
root hash HASH

The log is in LOG. To verify it again:

    go run -C cmd/jobaudit . verify LOG --key KEY
`, sum)
}

func TestTheStatusAgreesWithTheEvents(t *testing.T) {
	dir := plant(t)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{"-dir", filepath.Join(t.TempDir(), "log"), dir}))
	_, printed, _ := strings.Cut(out.String(), "as JSON\n\n")
	printed, _, _ = strings.Cut(printed, "\n\nRECORD")
	var status jobaudit.JobStatus
	require.NoError(t, json.Unmarshal([]byte(printed), &status))
	require.Equal(t, jobaudit.Success, status.Job.State)
	require.Equal(t, []string{"found 5 folders with files", "trouble/deleted is not in the manifest"}, status.Job.Logs)
	require.JSONEq(t, fmt.Sprintf(`{"path":%q,"workers":2}`, dir), string(status.Job.Metadata.Inputs))
}

func TestALargeTreeIsShownInPart(t *testing.T) {
	dir := t.TempDir()
	for n := range 40 {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, fmt.Sprintf("d%02d", n)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("d%02d", n), "f"), nil, 0o600))
	}
	printed, events := start(t, dir)
	require.Contains(t, printed, "TIMELINE of 3 of 43 jobs")
	require.Contains(t, printed, "TREE of 13 of 43 jobs")
	require.Contains(t, printed, "\n43 jobs: 42 success, 1 failed, 0 cancelled\n")
	require.Equal(t, jobaudit.AuditOpened, events[0].Type())
	require.Equal(t, jobaudit.AuditClosed, events[len(events)-1].Type())
}

// interrupted is a sink that, like somebody at the keyboard, ends the run when
// it has seen some records.
type interrupted struct {
	*memsink.Sink
	after int
	stop  context.CancelFunc
}

func (s interrupted) Append(ctx context.Context, records []jobaudit.Record) error {
	if s.Len() >= s.after {
		s.stop()
	}
	return s.Sink.Append(ctx, records)
}

func TestAnInterruptedRunLeavesNoJobWithoutAnEnd(t *testing.T) {
	dir := plant(t)
	for after := 3; after < 40; after++ {
		ctx, stop := context.WithCancel(t.Context())
		sink := memsink.New(nil)
		id := uuid.Must(uuid.NewV7())
		_ = record(ctx, interrupted{sink, after, stop}, id, treeInputs{Path: dir}, nil)
		for _, job := range sink.Jobs() {
			folded, err := jobaudit.Replay(sink.Records(t.Context(), jobaudit.Query{JobID: job}))
			require.NoError(t, err)
			require.True(t, folded.State.Terminal(), "after %d records: %s is %s", after, folded.Metadata.Action, folded.State)
		}
	}
}

func TestTheLogIsVerifiedAgainWithThePrintedCommand(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command line")
	}
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{"-dir", filepath.Join(t.TempDir(), "log"), plant(t)}))
	_, printed, found := strings.Cut(out.String(), "    go ")
	require.True(t, found)
	command := exec.CommandContext(t.Context(), "go", strings.Fields(printed)...)
	command.Dir = filepath.Join("..", "..")
	told, err := command.Output()
	require.NoError(t, err, "%s", told)
	require.Contains(t, string(told), "verified L1")
}

func TestAChangedLogDoesNotVerify(t *testing.T) {
	var out bytes.Buffer
	log := filepath.Join(t.TempDir(), "log")
	require.NoError(t, run(t.Context(), &out, []string{"-dir", log, plant(t)}))
	file := filepath.Join(log, "entries", "00000000000000000000.jsonl")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.Replace(content, []byte("soon-gone.txt was listed"), []byte("soon-gone.txt was fetched"), 1), 0o600))
	key, err := filesink.LoadOrCreateKey(log, log+".key", "localhost/quickstart")
	require.NoError(t, err)
	require.ErrorContains(t, verify(t.Context(), &out, log, key.String()), "does not verify")
}

func TestASecondRunGoesOnWithTheLogAndDoesNotHashIt(t *testing.T) {
	dir := plant(t)
	log := filepath.Join(dir, "log")
	var out bytes.Buffer
	for range 2 {
		require.NoError(t, run(t.Context(), &out, []string{"-dir", log, dir}))
	}
	require.Equal(t, 2, strings.Count(out.String(), "a manifest of 5 files, 1 of 5 folders missing"))
	require.Contains(t, out.String(), ": L1, 74 events under")
}

func TestTheLogIsTemporaryByDefaultAndNeverHashed(t *testing.T) {
	dir := plant(t)
	t.Setenv("TMPDIR", dir)
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{dir}))
	require.Contains(t, out.String(), "a manifest of 5 files, 1 of 5 folders missing")
	require.Contains(t, out.String(), "The log is in "+filepath.Join(dir, "quickstart-log-"))
}

func TestTheDefaultIsTheRepository(t *testing.T) {
	dir := plant(t)
	t.Chdir(filepath.Join(dir, "a", "b"))
	c, err := parse(nil)
	require.NoError(t, err)
	want, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	got, err := filepath.EvalSymlinks(c.path)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestTheManifestIsWhatSha256sumPrints(t *testing.T) {
	m := new(manifest)
	m.add("b.txt", 1, []byte{0xab})
	m.add("a\n.txt", 1, []byte{0xcd})
	require.Equal(t, "\\cd  a\\n.txt\nab  b.txt\n", m.text())
}
