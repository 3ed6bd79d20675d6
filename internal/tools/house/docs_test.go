package house_test

import (
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// maxNames is how many exported names the root may have, enumeration constants
// not counted. It is the budget for all that is planned: a new name has to be
// worth a part of it, and an old one that nobody needs goes first.
const maxNames = 74

// public tells whether users are meant to import the package.
func (s *source) public() bool {
	return s.name != "" && s.name != "main" && !isInternal(s.dir) && roleOf(s.dir) != program
}

// undocumented lists the exported functions, methods, types, constants and
// variables without a doc comment, and "package" where there is no package
// comment. A comment on a group of constants or variables documents them all.
// An error's methods Error and Unwrap need none.
func (s *source) undocumented() []string {
	var missing []string
	packageComment := false
	for _, file := range s.files {
		packageComment = packageComment || file.Doc != nil
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if name := funcName(decl); name != "" && decl.Doc == nil && !errorMethod(decl) {
					missing = append(missing, name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					missing = append(missing, undocumentedNames(decl, spec)...)
				}
			}
		}
	}
	if !packageComment {
		missing = append(missing, "package")
	}
	slices.Sort(missing)
	return missing
}

func undocumentedNames(decl *ast.GenDecl, spec ast.Spec) []string {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() && spec.Doc == nil && (decl.Doc == nil || decl.Lparen.IsValid()) {
			return []string{spec.Name.Name}
		}
	case *ast.ValueSpec:
		if decl.Doc == nil && spec.Doc == nil && spec.Comment == nil {
			return exportedNames(spec)
		}
	}
	return nil
}

func exportedNames(spec *ast.ValueSpec) []string {
	var names []string
	for _, name := range spec.Names {
		if name.IsExported() {
			names = append(names, name.Name)
		}
	}
	return names
}

// funcName returns the name of an exported function, or of an exported method
// of an exported type with its receiver; "" for all others.
func funcName(decl *ast.FuncDecl) string {
	if !decl.Name.IsExported() {
		return ""
	}
	if decl.Recv == nil {
		return decl.Name.Name
	}
	receiver := decl.Recv.List[0].Type
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	switch generic := receiver.(type) {
	case *ast.IndexExpr:
		receiver = generic.X
	case *ast.IndexListExpr:
		receiver = generic.X
	}
	if name, ok := receiver.(*ast.Ident); ok && name.IsExported() {
		return name.Name + "." + decl.Name.Name
	}
	return ""
}

func errorMethod(decl *ast.FuncDecl) bool {
	return decl.Recv != nil && (decl.Name.Name == "Error" || decl.Name.Name == "Unwrap")
}

// names returns the exported names of the package, without methods, fields and
// enumeration constants, which are those of a type that the package declares.
func (s *source) names() []string {
	own := s.typeNames()
	var names []string
	for _, file := range s.files {
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil && decl.Name.IsExported() {
					names = append(names, decl.Name.Name)
				}
			case *ast.GenDecl:
				names = append(names, declaredNames(decl, own)...)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (s *source) typeNames() map[string]bool {
	types := make(map[string]bool)
	for _, file := range s.files {
		for _, decl := range file.Decls {
			if decl, ok := decl.(*ast.GenDecl); ok {
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						types[spec.Name.Name] = true
					}
				}
			}
		}
	}
	return types
}

func declaredNames(decl *ast.GenDecl, ownTypes map[string]bool) []string {
	var names []string
	enum := false // of the previous constant, which one without a value repeats
	for _, spec := range decl.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() {
				names = append(names, spec.Name.Name)
			}
		case *ast.ValueSpec:
			if spec.Type != nil || len(spec.Values) > 0 {
				enum = decl.Tok == token.CONST && ownTypes[constantType(spec)]
			}
			if !enum {
				names = append(names, exportedNames(spec)...)
			}
		}
	}
	return names
}

// constantType returns the type that a constant is declared with or converted to.
func constantType(spec *ast.ValueSpec) string {
	expr := spec.Type
	if expr == nil && len(spec.Values) > 0 {
		if call, ok := spec.Values[0].(*ast.CallExpr); ok {
			expr = call.Fun
		}
	}
	if name, ok := expr.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	packages := sources(t, root)
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if packages[dir].public() {
			require.Empty(t, packages[dir].undocumented(), "package %s", dir)
		}
	}
}

func TestTheRootHasFewNames(t *testing.T) {
	names := sources(t, root)["."].names()
	t.Logf("the root has %d exported names: %s", len(names), strings.Join(names, " "))
	require.LessOrEqual(t, len(names), maxNames, "the budget is for all that is planned: "+
		"make another name unnecessary, or put the new one into a package of its own")
}

const partlyDocumented = `package p

type Bare struct{ Field int }

// Kind is documented.
type Kind string

// Kinds.
const (
	One Kind = "one"
	Two = Kind("two")
)

// Numbers.
const (
	Zero Number = iota
	First
)

type (
	// Number is documented.
	Number int
	Grouped int
)

const Loose, hidden = 1, 2

var ErrOne, ErrTwo error // both failed

func Bald() {}

func (Bare) Method() {}

func (Bare) Error() string { return "" }

// Told is documented.
func (*Generic[T]) Told() {}

func (*Generic[T]) Untold() {}

func (g *quiet) Method() {}

func private() {}
`

func TestAMissingCommentIsFoundAndNamesAreCounted(t *testing.T) {
	packages := sources(t, plant(t, map[string]string{
		"p/p.go":        partlyDocumented,
		"p/p_test.go":   "package p\n\nfunc ExportedForTests() {}\n",
		"q/q.go":        "// Package q is documented.\npackage q\n",
		"internal/i.go": "package internal\n\nfunc Bald() {}\n",
	}))
	require.Equal(t,
		[]string{"Bald", "Bare", "Bare.Method", "Generic.Untold", "Grouped", "Loose", "package"},
		packages["p"].undocumented())
	require.Equal(t,
		[]string{"Bald", "Bare", "ErrOne", "ErrTwo", "Grouped", "Kind", "Loose", "Number"},
		packages["p"].names())
	require.Empty(t, packages["q"].undocumented())
	require.True(t, packages["q"].public())
	require.False(t, packages["internal"].public())
}
