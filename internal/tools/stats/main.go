// Stats prints figures about the repository, so that two commits can be compared:
//
//	go run ./internal/tools/stats [directory of a checkout]
//
// "Uses against the reading order" says how well the files of the root can be
// read one after the other. A file uses a function, a method, a type, a variable
// or a constant of the package once, however often it names it; a use is against
// an order if its file stands before the file of the declaration. The order is
// the best that a search finds, so it need not be written down, and commits that
// name their files otherwise can be compared.
package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

func main() {
	if len(os.Args) == 2 {
		if err := os.Chdir(os.Args[1]); err != nil {
			fail(err)
		}
	}
	if err := print(os.Stdout); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "stats:", err)
	os.Exit(1)
}

func print(out io.Writer) error {
	files, err := house.Files(".")
	if err != nil {
		return err
	}
	sizes, err := measure(files)
	if err != nil {
		return err
	}
	root, err := load(sizes.root)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "root: %d files, %d lines; %d test files\n", len(sizes.root), sizes.rootLines, sizes.rootTests)
	fmt.Fprintf(out, "root: %d exported names, enumeration constants not counted\n", root.exported())
	order, against := bestOrder(slices.Sorted(slices.Values(sizes.root)), root.uses())
	fmt.Fprintf(out, "root: %d uses against the reading order %s\n", against, strings.Join(order, " "))
	fmt.Fprintf(out, "README.md: %d lines\n", sizes.readme)
	for _, f := range longest(sizes.files) {
		fmt.Fprintf(out, "long file: %4d lines %s\n", f.lines, f.name)
	}
	for _, f := range longest(sizes.funcs) {
		fmt.Fprintf(out, "long function: %3d lines %s\n", f.lines, f.name)
	}
	return nil
}

// length is a file or a function, and how many lines it has.
type length struct {
	name  string
	lines int
}

// longest returns the five longest.
func longest(all []length) []length {
	slices.SortFunc(all, func(a, b length) int { return cmp.Or(b.lines-a.lines, strings.Compare(a.name, b.name)) })
	return all[:min(5, len(all))]
}

// sizes are the lengths of the repository's files and functions, without tests.
type sizes struct {
	root                 []string // the root's files
	rootLines, rootTests int
	readme               int
	files, funcs         []length
}

func measure(files []string) (sizes, error) {
	var s sizes
	for _, file := range files {
		content, err := os.ReadFile(filepath.FromSlash(file))
		if err != nil {
			return s, err
		}
		lines := strings.Count(string(content), "\n")
		inRoot := !strings.Contains(file, "/")
		switch {
		case file == "README.md":
			s.readme = lines
		case filepath.Ext(file) != ".go" || strings.Contains("/"+file, "/testdata/"):
		case strings.HasSuffix(file, "_test.go"):
			if inRoot {
				s.rootTests++
			}
		default:
			if inRoot {
				s.root = append(s.root, file)
				s.rootLines += lines
			}
			s.files = append(s.files, length{file, lines})
			funcs, err := functions(file, content)
			if err != nil {
				return s, err
			}
			s.funcs = append(s.funcs, funcs...)
		}
	}
	return s, nil
}

// functions returns the functions of a file and how many lines each has, from
// func to its last brace.
func functions(file string, content []byte) ([]length, error) {
	positions := token.NewFileSet()
	parsed, err := parser.ParseFile(positions, file, content, 0)
	if err != nil {
		return nil, err
	}
	var found []length
	for _, decl := range parsed.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			lines := positions.Position(f.End()).Line - positions.Position(f.Pos()).Line + 1
			found = append(found, length{file + " " + f.Name.Name, lines})
		}
	}
	return found, nil
}

// pkg is the root package, with what its names mean.
type pkg struct {
	positions *token.FileSet
	types     *types.Package
	info      *types.Info
}

func load(files []string) (*pkg, error) {
	p := &pkg{positions: token.NewFileSet(), info: &types.Info{Uses: make(map[*ast.Ident]types.Object)}}
	var parsed []*ast.File
	for _, file := range files {
		if built, err := build.Default.MatchFile(".", file); err != nil || !built { // as on this machine
			continue
		}
		f, err := parser.ParseFile(p.positions, file, nil, 0)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, f)
	}
	config := types.Config{Importer: importer.ForCompiler(p.positions, "source", nil)}
	var err error
	p.types, err = config.Check("root", p.positions, parsed, p.info)
	return p, err
}

// exported counts the exported names of the package, without constants of its
// own types.
func (p *pkg) exported() int {
	count := 0
	for _, name := range p.types.Scope().Names() {
		object := p.types.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		if _, isConst := object.(*types.Const); isConst {
			if named, ok := object.Type().(*types.Named); ok && named.Obj().Pkg() == p.types {
				continue
			}
		}
		count++
	}
	return count
}

// uses counts, for every two files, how many declarations of the second the
// first uses.
func (p *pkg) uses() map[[2]string]int {
	type use struct {
		file   string
		object types.Object
	}
	seen := make(map[use]bool)
	uses := make(map[[2]string]int)
	for ident, object := range p.info.Uses {
		if object.Pkg() != p.types || !p.declaration(object) {
			continue
		}
		from, to := p.file(ident.Pos()), p.file(object.Pos())
		if u := (use{from, object}); from != to && !seen[u] {
			seen[u] = true
			uses[[2]string{from, to}]++
		}
	}
	return uses
}

// declaration tells whether the object is declared on the package's top level.
// A field or a local variable is not.
func (p *pkg) declaration(object types.Object) bool {
	if f, ok := object.(*types.Func); ok {
		return f.Origin() == f
	}
	return object.Parent() == p.types.Scope()
}

func (p *pkg) file(pos token.Pos) string { return filepath.Base(p.positions.Position(pos).Filename) }

// bestOrder returns an order of the files with few uses against it, and their
// number. It takes each file in turn to where that number is least, until
// nothing gets better; from several beginnings, as it may end in a corner.
func bestOrder(files []string, uses map[[2]string]int) ([]string, int) {
	best, least := files, against(files, uses)
	for start := range files {
		order := slices.Concat(files[start:], files[:start])
		count := against(order, uses)
		for better := true; better; {
			better = false
			for _, file := range files {
				rest := slices.DeleteFunc(slices.Clone(order), func(other string) bool { return other == file })
				for at := range files {
					tried := slices.Insert(slices.Clone(rest), at, file)
					if n := against(tried, uses); n < count {
						order, count, better = tried, n, true
					}
				}
			}
		}
		if count < least {
			best, least = order, count
		}
	}
	return best, least
}

func against(order []string, uses map[[2]string]int) int {
	place := make(map[string]int, len(order))
	for i, file := range order {
		place[file] = i
	}
	count := 0
	for pair, n := range uses {
		if place[pair[0]] < place[pair[1]] {
			count += n
		}
	}
	return count
}
