//go:build linux

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
)

// A real cron, in a mount namespace of its own, starts programs at once: one
// prints a secret, one is killed, one prints a gigabyte, one finds the log's
// disk full, and one cannot be recorded as its directory cannot be made.
func TestExtraUnderCronTheRecordTellsTheTruth(t *testing.T) {
	size.Extra(t)
	base := t.TempDir()
	require.NoError(t, os.Chmod(base, 0o755))
	spool, disk := filepath.Join(base, "spool"), filepath.Join(base, "disk")
	for _, d := range []string{spool, disk} {
		require.NoError(t, os.Mkdir(d, 0o700))
	}
	line := func(dir, action, script string) string {
		file := filepath.Join(base, action+".sh")
		require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n[ -e "+base+"/"+action+".ran ] && exit 0\ntouch "+base+"/"+action+".ran\n"+script), 0o755))
		return "* * * * * " + program + " exec --dir " + dir + " --action " + action + " --reason nightly --wait 10m -- " + file + " >" + base + "/" + action + ".out 2>&1; echo $? >" + base + "/" + action + ".code\n"
	}
	log, full := filepath.Join(base, "log"), filepath.Join(disk, "log")
	crontab := line(log, "secret", "echo token ghp_0123456789abcdefghijABCDEFGHIJ012345\n") +
		line(log, "killed", "kill -9 $$\n") +
		line(log, "large", "yes 0123456789 | head -c 1000000000\n") +
		line(full, "full", "cat /dev/zero >"+disk+"/fill 2>/dev/null\necho it is full\n(until [ -e "+base+"/free ]; do sleep 1; done; rm "+disk+"/fill) >/dev/null 2>&1 &\nexit 5\n") +
		line("/proc/none/log", "unrecorded", "")
	require.NoError(t, os.WriteFile(filepath.Join(spool, "root"), []byte("MAILTO=\"\"\n"+crontab), 0o600))
	script := "mount --bind " + spool + " /var/spool/cron/crontabs && mount -t tmpfs none /run && mount -t tmpfs none /etc/cron.d && mount -t tmpfs -o size=8m none " + disk + " && exec cron -f"
	cron := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c", script)
	cron.Stderr = os.Stderr
	require.NoError(t, cron.Start())
	ended := func(action string) string {
		for {
			if code, err := os.ReadFile(filepath.Join(base, action+".code")); err == nil && len(code) > 0 {
				return strings.TrimSpace(string(code))
			}
			runtime.Gosched()
		}
	}
	require.Equal(t, "125", ended("unrecorded"))
	require.NoFileExists(t, filepath.Join(base, "unrecorded.ran"))
	require.Equal(t, "0", ended("secret"))
	require.Equal(t, "137", ended("killed"))
	require.Equal(t, "0", ended("large"))
	info, err := os.Stat(filepath.Join(base, "large.out"))
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(1_000_000_000))
	require.NoError(t, os.WriteFile(filepath.Join(base, "free"), nil, 0o600))
	require.Equal(t, "5", ended("full"))

	require.Empty(t, filesThatHold(t, log, "ghp_0123456789"))
	require.Equal(t, "SIGKILL", string(events(t, log, "--type", "job.failed", "--action", "killed")[0].Data.Error.Code))
	require.NotEmpty(t, events(t, log, "--type", "job.succeeded", "--action", "large"))
	require.Zero(t, run(t, "verify", log, "--key", log+".key", "--anchor", log+".key.anchor").code)
	root := "/proc/" + childOf(t, cron.Process.Pid) + "/root"
	require.Equal(t, "EXIT_5", string(events(t, filepath.Join(root, full), "--type", "job.failed")[0].Data.Error.Code))
	require.NoError(t, cron.Process.Kill())
	_ = cron.Wait()
}

// childOf is the process that unshare has started.
func childOf(t *testing.T, pid int) string {
	t.Helper()
	out, err := exec.Command("ps", "-o", "pid=", "--ppid", fmt.Sprint(pid)).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}
