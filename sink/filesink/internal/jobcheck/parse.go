package jobcheck

import (
	"runtime"
	"sync"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/auditlog"
)

// parsers parse records in whole, on all cores.
type parsers struct {
	work  chan *parseJob
	free  chan *parseJob
	wg    sync.WaitGroup
	open  *parseJob
	ended bool
	mu    sync.Mutex
	bad   []Finding
}

// parseJob holds copies of lines.
type parseJob struct {
	text  []byte
	ends  []int
	index []int64
}

// parseBytes is how much text makes a job.
const parseBytes = 128 << 10

func newParsers() *parsers {
	n := runtime.GOMAXPROCS(0)
	p := &parsers{work: make(chan *parseJob, 2*n), free: make(chan *parseJob, 4*n)}
	for range n {
		p.wg.Go(func() {
			for j := range p.work {
				p.run(j)
				j.text, j.ends, j.index = j.text[:0], j.ends[:0], j.index[:0]
				select {
				case p.free <- j:
				default:
				}
			}
		})
	}
	return p
}

func (p *parsers) parse(l auditlog.Leaf) {
	if p.open == nil {
		select {
		case p.open = <-p.free:
		default:
			p.open = &parseJob{text: make([]byte, 0, parseBytes+maxRecord)}
		}
	}
	j := p.open
	j.text = append(j.text, l.Bytes...)
	j.ends = append(j.ends, len(j.text))
	j.index = append(j.index, l.Index)
	if len(j.text) >= parseBytes {
		p.work <- j
		p.open = nil
	}
}

func (p *parsers) run(j *parseJob) {
	start := 0
	for i, end := range j.ends {
		if _, err := jobaudit.ParseRecord(j.text[start:end]); err != nil {
			p.mu.Lock()
			if len(p.bad) <= maxFindings {
				p.bad = append(p.bad, noRecord(j.index[i], err))
			}
			p.mu.Unlock()
		}
		start = end
	}
}

// wait returns the findings about lines that are no records.
func (p *parsers) wait() []Finding {
	if !p.ended {
		p.ended = true
		if p.open != nil {
			p.work <- p.open
		}
		close(p.work)
	}
	p.wg.Wait()
	return p.bad
}
