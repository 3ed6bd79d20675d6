package kubetest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// decode reads a manifest, and refuses what the API server would drop: names that are
// unknown, written in another case, or there twice.
func decode(manifest string, into any) error {
	text, err := yaml.YAMLToJSONStrict([]byte(manifest))
	if err != nil {
		return err
	}
	strict, err := kjson.UnmarshalStrict(text, into)
	return errors.Join(append(strict, err)...)
}

// manifests returns those in docs/postgresql.md, by their kind.
func manifests(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/postgresql.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(page)
	require.NotNil(t, block)
	kinds := make(map[string]string)
	for manifest := range strings.SplitSeq(string(block[1]), "---\n") {
		kinds[regexp.MustCompile(`(?m)^kind: (\w+)$`).FindStringSubmatch(manifest)[1]] = manifest
	}
	return kinds
}

func TestTheManifestIsOneThatAnAPIServerReads(t *testing.T) {
	kinds := manifests(t)
	require.Len(t, kinds, 2)
	var secret corev1.Secret
	require.NoError(t, decode(kinds["Secret"], &secret))
	require.Equal(t, "v1", secret.APIVersion)
	var d appsv1.Deployment
	require.NoError(t, decode(kinds["Deployment"], &d))
	require.Equal(t, "apps/v1", d.APIVersion)

	pod := d.Spec.Template
	require.NotEmpty(t, d.Spec.Selector.MatchLabels)
	require.Subset(t, pod.Labels, d.Spec.Selector.MatchLabels, "a deployment that does not select its own pods is refused")
	volumes := make(map[string]corev1.VolumeSource)
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = v.VolumeSource
	}
	c := pod.Spec.Containers[0]
	paths := make(map[string]string)
	for _, m := range c.VolumeMounts {
		require.Contains(t, volumes, m.Name)
		paths[m.Name] = m.MountPath
	}
	require.Len(t, volumes, len(paths))
	key := volumes["key"].Secret
	require.Equal(t, secret.Name, key.SecretName)
	require.EqualValues(t, 0o400, *key.DefaultMode)
	for name := range secret.StringData {
		require.Contains(t, c.Args, paths["key"]+"/"+name, "the command reads the secret")
	}
	require.Contains(t, strings.Join(c.Args, " "), " --anchor "+paths["anchor"]+"/")
	require.NotNil(t, volumes["anchor"].PersistentVolumeClaim)
	require.Less(t, c.LivenessProbe.TimeoutSeconds, c.LivenessProbe.PeriodSeconds)
	require.NotNil(t, c.LivenessProbe.Exec)
	// A sequencer that is behind and at work is not killed: it would never catch up.
	probe := c.LivenessProbe.Exec.Command
	at := slices.Index(probe, "--grace")
	require.Positive(t, at)
	grace, err := time.ParseDuration(probe[at+1])
	require.NoError(t, err)
	require.Less(t, grace, time.Duration(c.LivenessProbe.TimeoutSeconds)*time.Second)
	require.GreaterOrEqual(t, c.LivenessProbe.FailureThreshold*c.LivenessProbe.PeriodSeconds, int32(600),
		"a sequencer that makes its stored hashes again reads the whole log, and places nothing meanwhile")

	for _, wrong := range []func(string) string{
		func(s string) string { return strings.Replace(s, "replicas:", "replica:", 1) },
		func(s string) string { return strings.Replace(s, "volumeMounts:", "volumemounts:", 1) },
		func(s string) string { return strings.Replace(s, "periodSeconds: 30", "periodSeconds: half", 1) },
		func(s string) string { return strings.Replace(s, "spec:\n", "spec: {}\nspec:\n", 1) },
	} {
		broken := wrong(kinds["Deployment"])
		require.NotEqual(t, kinds["Deployment"], broken)
		require.Error(t, decode(broken, &appsv1.Deployment{}))
	}
}

// The commands are taken by the program, which then finds neither key nor database
// here: exit code 3. It is 2 for a call that it does not know.
func TestTheManifestsCommandsAreThoseOfTheProgram(t *testing.T) {
	var d appsv1.Deployment
	require.NoError(t, decode(manifests(t)["Deployment"], &d))
	c := d.Spec.Template.Spec.Containers[0]
	program := filepath.Join(t.TempDir(), "jobaudit")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "../../../cmd/jobaudit"
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	probe := c.LivenessProbe.Exec.Command
	require.Equal(t, "jobaudit", probe[0])
	for _, args := range [][]string{c.Args, probe[1:]} {
		for i := range args {
			args[i] = strings.Replace(args[i], "@db/", "@127.0.0.1:1/", 1)
		}
		require.Equal(t, 3, exitCode(t, program, args...))
		require.Equal(t, 2, exitCode(t, program, append(args, "--no-such-flag")...))
	}

	require.Len(t, c.Env, 1)
	t.Setenv(c.Env[0].Name, "a secret")
	config, err := pgx.ParseConfig(c.Args[1])
	require.NoError(t, err)
	require.Equal(t, "a secret", config.Password)
	require.Equal(t, c.Args[1], probe[2], "both are of one database")
}

func exitCode(t *testing.T, program string, args ...string) int {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = t.TempDir()
	if _, ok := errors.AsType[*exec.ExitError](cmd.Run()); !ok {
		return 0
	}
	return cmd.ProcessState.ExitCode()
}
