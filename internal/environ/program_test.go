package environ

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAModifiedTreeDoesNotLookClean(t *testing.T) {
	build := func(version, revision, modified string) string {
		info := &debug.BuildInfo{Main: debug.Module{Path: "example.com/m", Version: version}}
		if revision != "" {
			info.Settings = []debug.BuildSetting{{Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
		}
		p := programOf(info)
		return p.BuildVersion()
	}
	require.Equal(t, "v1.2.3", build("v1.2.3", "abc", "false"))
	require.Equal(t, "abc", build("(devel)", "abc", "false"))
	require.Equal(t, "abc+dirty", build("(devel)", "abc", "true"))
	require.Equal(t, "", build("", "", ""))
	p := programOf(nil)
	require.Equal(t, "", p.BuildVersion())
	require.NotEmpty(t, p.Go)
}

func TestTheDigestOfDependenciesTellsThemApart(t *testing.T) {
	a := &debug.Module{Path: "a", Version: "v1", Sum: "h1:x"}
	b := &debug.Module{Path: "b", Version: "v1", Sum: "h1:y"}
	require.Equal(t, dependencyDigest([]*debug.Module{a, b}), dependencyDigest([]*debug.Module{b, a}))
	other := *b
	other.Replace = &debug.Module{Path: "../b"}
	require.NotEqual(t, dependencyDigest([]*debug.Module{a, b}), dependencyDigest([]*debug.Module{a, &other}))
	require.NotEqual(t, dependencyDigest([]*debug.Module{a}), dependencyDigest([]*debug.Module{a, b}))
}
