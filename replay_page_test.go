package jobaudit_test

import (
	"bytes"
	"encoding/json"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/internal/tools/size"
	logs "github.com/jobaudit/jobaudit/story"
)

// folded is a job as a page of package evidence folds it.
type folded struct {
	State, Created, Started, Completed string
	First, End                         string // IDs
	Executions                         int
	Incomplete                         bool
	Unapplied                          [][2]string
	Order                              []string
}

// foldedBy is the same of what Replay gives. A page shows who submitted a job, where
// Replay has fields of its own.
func foldedBy(job jobaudit.Job, order []jobaudit.Record, page folded) folded {
	f := folded{State: string(job.State), Created: stampOf(job.CreatedAt), Started: stampOf(job.StartedAt), Completed: stampOf(job.CompletedAt),
		First: page.First, End: page.End, Executions: len(job.Executions), Incomplete: job.Incomplete, Unapplied: [][2]string{}}
	for _, u := range job.Unapplied {
		f.Unapplied = append(f.Unapplied, [2]string{u.EventID.String(), string(u.Cause)})
	}
	for _, r := range order {
		f.Order = append(f.Order, r.ID().String())
	}
	return f
}

func stampOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

// pageFold reads a list of lists of logs, and prints the jobs that they add up to.
const pageFold = `
const all = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(all.map((logs) => {
	const order = jobauditFold.merge(logs.map((log) => log.map((r) => ({hash: r.hash, event: JSON.parse(r.line)}))));
	const job = jobauditFold.replay(order);
	return {...job, first: job.first.id, end: job.end ? job.end.id : "", unapplied: job.unapplied.map(([e, cause]) => [e.id, cause]), order: order.map((r) => r.event.id)};
})));`

// folds has the script of a page fold jobs, each of some logs.
func folds(t *testing.T, jobs [][][]jobaudit.Record) (list []folded) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("evidence", "fold.js"))
	require.NoError(t, err)
	type record struct {
		Hash string `json:"hash"`
		Line string `json:"line"`
	}
	in := make([][][]record, len(jobs))
	for i, job := range jobs {
		in[i] = make([][]record, len(job))
		for n, log := range job {
			in[i][n] = []record{}
			for _, r := range log {
				in[i][n] = append(in[i][n], record{r.Hash().String(), string(r.Bytes())})
			}
		}
	}
	input, err := json.Marshal(in)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "fold.js")
	require.NoError(t, os.WriteFile(file, append(script, pageFold...), 0o600))
	cmd := exec.CommandContext(t.Context(), "node", file)
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &list))
	return list
}

func TestExtraAPageFoldsJobsAsReplayDoesWhateverTheyHold(t *testing.T) {
	size.Extra(t)
	const seed, histories = 3, 3_000
	var jobs [][][]jobaudit.Record
	for n := range histories {
		c := &chance{Rand: rand.New(rand.NewPCG(seed, uint64(n))), t: t}
		records, both := c.history()
		shuffled := append([]jobaudit.Record(nil), records...)
		c.Shuffle(len(shuffled), func(a, b int) { shuffled[a], shuffled[b] = shuffled[b], shuffled[a] })
		jobs = append(jobs, [][]jobaudit.Record{records}, [][]jobaudit.Record{shuffled}, [][]jobaudit.Record{both[0], both[1]}, [][]jobaudit.Record{both[1], both[0], shuffled})
	}
	states, causes := map[jobaudit.JobState]int{}, map[jobaudit.Cause]int{}
	for i, page := range folds(t, jobs) {
		order := jobs[i][0]
		if len(jobs[i]) > 1 {
			var parts []iter.Seq2[jobaudit.Record, error]
			for _, log := range jobs[i] {
				parts = append(parts, all(log))
			}
			order = order[:0:0]
			for r, err := range logs.Merge(parts...) {
				require.NoError(t, err)
				order = append(order, r)
			}
		}
		job, err := jobaudit.Replay(all(order))
		require.NoError(t, err)
		require.Equal(t, foldedBy(job, order, page), page, "history %d, case %d", i/4, i%4)
		states[job.State]++
		for _, u := range job.Unapplied {
			causes[u.Cause]++
		}
		if job.State.Terminal() {
			require.NotEmpty(t, page.End)
		}
	}
	t.Logf("%d jobs: %v, unapplied %v", len(jobs), states, causes)
	require.Len(t, states, 5, "every state is reached")
	require.Len(t, causes, 4, "and every cause")
}
