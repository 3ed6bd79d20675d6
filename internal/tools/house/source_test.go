package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

// modulePath is the root's; a package below it has its directory appended.
const modulePath = "github.com/jobaudit/jobaudit"

// root is the repository, seen from this package's tests.
const root = "../../.."

// source is one package as its files say, whichever module it belongs to. The
// tests read files rather than ask the go command: that covers all build tags,
// and lets go test know which files its cached result depends on.
type source struct {
	dir         string // relative to the root, "." for the root itself
	name        string
	files       []*ast.File // without tests
	imports     []string    // of files, sorted
	testImports []string    // of the tests in and beside the package
}

// ourSources are the packages of this repository. They are parsed once: that
// takes longer than any test that looks at them.
var ourSources = sync.OnceValues(func() (map[string]*source, error) { return parsed(root) })

// sources returns the packages in the repository, by directory. Callers do not
// change them.
func sources(t *testing.T, repository string) map[string]*source {
	t.Helper()
	parse := func() (map[string]*source, error) { return parsed(repository) }
	if repository == root {
		parse = ourSources
	}
	packages, err := parse()
	require.NoError(t, err)
	return packages
}

func parsed(repository string) (map[string]*source, error) {
	files, err := house.Files(repository)
	if err != nil {
		return nil, err
	}
	packages := make(map[string]*source)
	for _, file := range files {
		if path.Ext(file) != ".go" || strings.Contains("/"+file, "/testdata/") {
			continue
		}
		test := strings.HasSuffix(file, "_test.go")
		mode := parser.ParseComments | parser.SkipObjectResolution
		if test {
			mode = parser.ImportsOnly
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repository, file), nil, mode)
		if err != nil {
			return nil, err
		}
		pkg, ok := packages[path.Dir(file)]
		if !ok {
			pkg = &source{dir: path.Dir(file)}
			packages[pkg.dir] = pkg
		}
		pkg.add(syntax, test)
	}
	return packages, nil
}

func (s *source) add(file *ast.File, test bool) {
	imports := &s.imports
	if test {
		imports = &s.testImports
	} else {
		s.files = append(s.files, file)
		s.name = file.Name.Name
	}
	for _, spec := range file.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			*imports = append(*imports, imported)
		}
	}
	slices.Sort(*imports)
	*imports = slices.Compact(*imports)
}

// ours returns the directory of a package of this repository by import path.
func ours(imported string) (dir string, ok bool) {
	if imported == modulePath {
		return ".", true
	}
	return strings.CutPrefix(imported, modulePath+"/")
}

// within tells whether dir is top or lies below it.
func within(dir, top string) bool {
	return dir == top || strings.HasPrefix(dir, top+"/")
}

func TestEveryPackageOfTheRepositoryIsSeen(t *testing.T) {
	packages := sources(t, root)
	require.Contains(t, packages, ".")
	require.Contains(t, packages, "internal/tools/testall")
	require.Equal(t, "jobaudit", packages["."].name)
	require.Contains(t, packages["internal/tools/testall"].imports, modulePath+"/internal/tools/house")
	require.NotContains(t, slices.Collect(maps.Keys(packages)), "internal/tools/house/testdata/outside")
}
