package causal

import (
	"container/heap"
	"slices"
)

// sorter is a topological sort (Kahn's algorithm): of the events whose
// predecessors have all been placed, the one of the lowest rank comes next.
type sorter struct {
	before [][]int
	after  [][]int
	waits  []int // how many of an event's predecessors have not been placed
	rank   []int
	todo   []int // the events to be placed, by rank; those before next have been looked at
	next   int
	placed []bool
	order  []int

	ready   ranked // events that wait for none
	leading ranked // those of them that are next in one of the logs; see merge.go
	path    []int  // of the search for a circle
	onPath  []bool
}

func newSorter(before [][]int, events, rank []int) *sorter {
	n := len(before)
	s := &sorter{
		before: before, after: make([][]int, n), waits: make([]int, n), rank: rank,
		todo: slices.Clone(events), placed: make([]bool, n), onPath: make([]bool, n),
		order: make([]int, 0, len(events)), ready: ranked{rank: rank}, leading: ranked{rank: rank},
	}
	slices.SortFunc(s.todo, func(a, b int) int { return rank[a] - rank[b] })
	for _, i := range s.todo {
		s.waits[i] = len(before[i])
		for _, p := range before[i] {
			s.after[p] = append(s.after[p], i)
		}
		if s.waits[i] == 0 {
			heap.Push(&s.ready, i)
		}
	}
	return s
}

// run places all events. placed, if not nil, is called behind each one.
func (s *sorter) run(placed func(int)) []int {
	for len(s.order) < len(s.todo) {
		i := s.choose()
		s.placed[i] = true
		s.order = append(s.order, i)
		for _, next := range s.after[i] {
			if s.waits[next]--; s.waits[next] == 0 && !s.placed[next] {
				heap.Push(&s.ready, next)
			}
		}
		if placed != nil {
			placed(i)
		}
	}
	return s.order
}

// choose returns the event to be placed next.
func (s *sorter) choose() int {
	for _, from := range []*ranked{&s.leading, &s.ready} {
		for from.Len() > 0 {
			if i := heap.Pop(from).(int); !s.placed[i] {
				return i
			}
		}
	}
	return s.breakCircle()
}

// breakCircle returns one of the events that follow each other in a circle, as
// only forged ones do: the one of the lowest rank. It walks back from an event
// that waits, to one that it waits for, until it has been there before. The walk
// goes on where the last one ended, so that many circles cost no more than one.
func (s *sorter) breakCircle() int {
	for len(s.path) > 0 && s.placed[s.path[len(s.path)-1]] {
		s.leave(len(s.path) - 1)
	}
	if len(s.path) == 0 {
		for s.placed[s.todo[s.next]] {
			s.next++
		}
		s.enter(s.todo[s.next])
	}
	for {
		p := s.waitsFor(s.path[len(s.path)-1])
		if !s.onPath[p] {
			s.enter(p)
			continue
		}
		first := slices.Index(s.path, p)
		at := first
		for n := first; n < len(s.path); n++ {
			if s.rank[s.path[n]] < s.rank[s.path[at]] {
				at = n
			}
		}
		i := s.path[at]
		s.leave(at)
		return i
	}
}

func (s *sorter) enter(i int) {
	s.path = append(s.path, i)
	s.onPath[i] = true
}

// leave shortens the path to n events.
func (s *sorter) leave(n int) {
	for _, i := range s.path[n:] {
		s.onPath[i] = false
	}
	s.path = s.path[:n]
}

// waitsFor returns the event of the lowest rank that an event waits for.
func (s *sorter) waitsFor(i int) int {
	lowest := -1
	for _, p := range s.before[i] {
		if !s.placed[p] && (lowest < 0 || s.rank[p] < s.rank[lowest]) {
			lowest = p
		}
	}
	return lowest
}

// ranked is a heap of events.
type ranked struct {
	events []int
	rank   []int
}

func (h *ranked) Len() int           { return len(h.events) }
func (h *ranked) Less(a, b int) bool { return h.rank[h.events[a]] < h.rank[h.events[b]] }
func (h *ranked) Swap(a, b int)      { h.events[a], h.events[b] = h.events[b], h.events[a] }
func (h *ranked) Push(i any)         { h.events = append(h.events, i.(int)) }
func (h *ranked) Pop() any {
	last := len(h.events) - 1
	i := h.events[last]
	h.events = h.events[:last]
	return i
}
