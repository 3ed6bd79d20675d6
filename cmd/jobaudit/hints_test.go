package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hints are what the string literals of a package's files say, and what its
// exported options are.
type hints struct {
	texts  []string
	fields map[string]bool // "Options.AnchorPath"
}

// hintsIn reads the packages below a directory, by their directories.
func hintsIn(t *testing.T, root string) map[string]*hints {
	packages := map[string]*hints{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && (d.Name() == "testdata" || d.Name() == "tools") {
				return fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		if packages[dir] == nil {
			packages[dir] = &hints{fields: map[string]bool{}}
		}
		packages[dir].read(file)
		return nil
	}))
	return packages
}

func (h *hints) read(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				h.texts = append(h.texts, text)
			}
		case *ast.TypeSpec:
			if s, ok := n.Type.(*ast.StructType); ok && strings.HasSuffix(n.Name.Name, "Options") {
				for _, field := range s.Fields.List {
					for _, name := range field.Names {
						h.fields[n.Name.Name+"."+name.Name] = name.IsExported()
					}
				}
			}
		}
		return true
	})
}

// Somebody who follows a message must not be sent to what is not there.
func TestEveryOptionAndCommandThatAMessageNamesExists(t *testing.T) {
	t.Parallel()
	commands, flags := map[string]bool{}, map[string]bool{"help": true}
	flag := regexp.MustCompile(`--([a-z][a-z-]*)`)
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z-]+) +[A-Z]`).FindAllStringSubmatch(run(t, "-h").out, -1) {
		commands[m[1]] = true
		for _, f := range flag.FindAllStringSubmatch(run(t, m[1], "-h").out, -1) {
			flags[f[1]] = true
		}
	}
	require.Greater(t, len(commands), 10)

	option := regexp.MustCompile(`\b(\w*Options\.[A-Z]\w*)`)
	// Behind something, as otherwise it is the beginning of a stored text.
	command := regexp.MustCompile(`[\s(';]jobaudit ([a-z-]+)`)
	named := map[string]int{}
	root := filepath.Join("..", "..")
	packages := hintsIn(t, root)
	for dir, h := range packages {
		for _, text := range h.texts {
			for _, m := range option.FindAllStringSubmatch(text, -1) {
				named["options"]++
				inside := strings.Contains(filepath.ToSlash(dir), "/internal/")
				require.True(t, h.fields[m[1]] || inside && packages[root].fields[m[1]], "%s: %q names %s", dir, text, m[1])
			}
			for _, m := range command.FindAllStringSubmatch(strings.ReplaceAll(text, "schema jobaudit", ""), -1) {
				named["commands"]++
				require.True(t, commands[m[1]] || m[1] == "completion", "%s: %q names jobaudit %s", dir, text, m[1])
			}
			if filepath.Base(dir) != "jobaudit" {
				continue
			}
			for _, m := range flag.FindAllStringSubmatch(text, -1) {
				named["flags"]++
				require.True(t, flags[m[1]], "%s: %q names --%s", dir, text, m[1])
			}
		}
	}
	for _, kind := range []string{"options", "commands", "flags"} {
		require.Greater(t, named[kind], 10, "the messages that name %s were not found", kind)
	}
	t.Logf("%v are named", named)
}
