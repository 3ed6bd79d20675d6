package house_test

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// metaphors are words that stood for things which have a name in the field, and
// what we call those things. In prose, in their usual sense, they may stay.
var metaphors = map[string]string{
	"courier": "delivery queue", "couriers": "delivery queues", "lane": "per-sink queue", "lanes": "per-sink queues",
	"flight": "batch in flight", "flights": "batches in flight", "leg": "part", "legs": "parts", "board": "queue",
	"fly": "send", "flies": "sends", "carry": "send", "land": "complete", "landed": "completed", "discharge": "resolve",
	"divert": "failover", "diverted": "failed over", "frozen": "in flight", "doubt": "ambiguous", "ticket": "ack",
	"tickets": "acks", "mint": "encode", "minted": "encoded", "door": "sanitizer", "life": "trail state",
	"patience": "heartbeat timeout", "pulse": "heartbeater", "beat": "heartbeat", "beats": "heartbeats",
	"cargo": "carrier data", "moot": "superseded", "desk": "commit queue",
	"foresee": "reserve", "foreseen": "reserved", "spilled": "written", "intake": "commit queue", "mend": "repair",
	"mends": "repairs", "mended": "repaired", "dog": "watchdog", "told": "complaints",
	"kid": "child", "kids": "children", "lose": "drop", "notice": "reserved event", "notices": "reserved events",
	"memory": "removed values", "rest": "park, or what is left over", "pass": "iteration", "owned": "in flight",
	"asked": "submission", "folder": "commit queue",
}

// usual are metaphors that have a usual sense as well, in which a variable or a
// part of a name may bear them: what is asked.
var usual = []string{"folder", "asked", "owned", "told", "mint", "notice"}

// onlyHere are metaphors that are banned in one part of the repository, and the
// plain word for a thing everywhere else: memory, the rest of a line, a pass.
var onlyHere = map[string]string{"life": ".", "rest": "internal/delivery", "memory": ".", "pass": "sink/memsink", "folder": "sink/filesink"}

// declared is an identifier where it is declared.
type declared struct {
	name  string
	local bool // a parameter, a result or a variable of a function
}

// declarations returns every identifier that a file declares.
func declarations(file *ast.File) []declared {
	var found []declared
	add := func(local bool, names ...*ast.Ident) {
		for _, name := range names {
			found = append(found, declared{name.Name, local})
		}
	}
	var visit func(node ast.Node, local bool)
	visit = func(node ast.Node, local bool) {
		ast.Inspect(node, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				add(false, n.Name)
				for _, fields := range []*ast.FieldList{n.Recv, n.Type.Params, n.Type.Results} {
					if fields != nil {
						visit(fields, true)
					}
				}
				if n.Body != nil {
					visit(n.Body, true)
				}
				return false
			case *ast.FuncType:
				for _, fields := range []*ast.FieldList{n.Params, n.Results} {
					if fields != nil {
						visit(fields, true)
					}
				}
				return false
			case *ast.TypeSpec:
				add(local, n.Name)
			case *ast.StructType:
				visit(n.Fields, false)
				return false
			case *ast.Field:
				add(local, n.Names...)
			case *ast.ValueSpec:
				add(local, n.Names...)
			case *ast.AssignStmt:
				if n.Tok.String() == ":=" {
					for _, left := range n.Lhs {
						if name, ok := left.(*ast.Ident); ok {
							add(true, name)
						}
					}
				}
			case *ast.RangeStmt:
				for _, left := range []ast.Expr{n.Key, n.Value} {
					if name, ok := left.(*ast.Ident); ok && n.Tok.String() == ":=" {
						add(true, name)
					}
				}
			}
			return true
		})
	}
	for _, decl := range file.Decls {
		visit(decl, false)
	}
	return found
}

// metaphorsIn lists the metaphors in what a package declares.
func metaphorsIn(pkg *source) []string {
	var faults []string
	seen := make(map[declared]bool) // most names are declared often
	for _, file := range pkg.files {
		for _, d := range declarations(file) {
			if seen[d] {
				continue
			}
			seen[d] = true
			for _, part := range word.FindAllString(d.name, -1) {
				part = strings.ToLower(part)
				better, bad := metaphors[part]
				if bad && !usualName(pkg.dir, part, d) {
					faults = append(faults, fmt.Sprintf("%s: %s; say %s", pkg.dir, d.name, better))
				}
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

// usualName tells whether a word that is a metaphor is none here.
func usualName(dir, part string, d declared) bool {
	if only, ok := onlyHere[part]; ok && dir != only {
		return true
	}
	return slices.Contains(usual, part) && (d.local || strings.ToLower(d.name) != part)
}

func TestNamesAreTheFieldsOwn(t *testing.T) {
	packages := sources(t, root)
	var faults []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		faults = append(faults, metaphorsIn(packages[dir])...)
	}
	require.Empty(t, faults, strings.Join(faults, "\n"))
}

const metaphorical = `package p

type courier struct {
	lanes []int
	rest  int
}

func (c *courier) fly(ticket int, asked func(kid int)) (told error) {
	rest, pass := 1, 2
	for beat := range c.lanes {
		func() { var doubt, fine = beat, rest + pass; _, _ = doubt, fine }()
	}
	return told
}

func Pass() {}

func passThrough() { type dog int }
`

func TestAMetaphorIsFoundWhereItIsDeclared(t *testing.T) {
	packages := sources(t, plant(t, map[string]string{
		"p/p.go":                 metaphorical,
		"internal/delivery/d.go": "package delivery\n\ntype stream struct{ rest int }\n",
	}))
	var names []string
	for _, fault := range metaphorsIn(packages["p"]) {
		name, _, _ := strings.Cut(strings.TrimPrefix(fault, "p: "), ";")
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{"courier", "lanes", "fly", "ticket", "kid", "beat", "doubt", "dog"}, names)
	require.Len(t, metaphorsIn(packages["internal/delivery"]), 1)
}
