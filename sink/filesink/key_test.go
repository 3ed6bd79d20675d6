package filesink_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/size"
	"github.com/jobaudit/jobaudit/sink/filesink"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
	"github.com/jobaudit/jobaudit/sink/filesink/internal/simdisk"
)

// A starter is a program that starts for the first time, and stands still before one
// of its calls on the disk.
type starter struct {
	stands, ended chan struct{}
	goOn          chan struct{}
	key           *filesink.Key
	err           error
}

func startAt(d disk.Disk, call int, links bool) *starter {
	s := &starter{stands: make(chan struct{}), ended: make(chan struct{}), goOn: make(chan struct{})}
	faults := simdisk.NewFaults(d)
	n := 0
	faults.Before(func(op simdisk.Op) error {
		if n++; n == call {
			close(s.stands)
			<-s.goOn
		}
		if op.Kind == "link" && !links {
			return errors.ErrUnsupported
		}
		return nil
	})
	go func() {
		defer close(s.ended)
		s.key, s.err = filesink.LoadOrCreateKeyOn(faults, "log", "keys/key", origin)
	}()
	select {
	case <-s.stands:
	case <-s.ended:
	}
	return s
}

// A key in memory alone would sign a log that nobody can ever continue.
func TestProgramsThatStartAtOnceHaveTheKeyThatIsInTheFile(t *testing.T) {
	for _, links := range []bool{true, false} {
		const calls = 14 // more than a start makes
		random := rand.New(rand.NewPCG(8, 8))
		for first := range calls {
			for second := range calls {
				if testing.Short() && (first+second)%4 != 0 {
					continue
				}
				if size.Race && (first+second)%2 != 0 {
					continue
				}
				for range 2 {
					third := random.IntN(calls)
					name := fmt.Sprintf("links %t, they stand before calls %d, %d and %d", links, first, second, third)
					memory := simdisk.NewMemory()
					var all []*starter
					for _, call := range []int{first, second, third} {
						all = append(all, startAt(memory, call, links))
					}
					for _, s := range all {
						close(s.goOn)
						<-s.ended
					}
					stored, err := filesink.LoadOrCreateKeyOn(memory, "log", "keys/key", origin)
					require.NoError(t, err, name)
					for _, s := range all {
						if _, unfinished := errors.AsType[*filesink.KeyError](s.err); unfinished && !links {
							continue // another one was writing it
						}
						require.NoError(t, s.err, name)
						require.Equal(t, stored.String(), s.key.String(), name)
					}
					require.Len(t, memory.Files("keys"), 1, name)
				}
			}
		}
	}
}

// The same, if the power goes: a program that has the key may have written a log with it.
func TestAKeyThatAProgramHasSurvivesPowerLoss(t *testing.T) {
	const calls = 14
	for first := range calls {
		memory := simdisk.NewMemory()
		slow := startAt(memory, first, true)
		key, err := filesink.LoadOrCreateKeyOn(memory, "log", "keys/key", origin)
		require.NoError(t, err)
		after := memory.Crash(simdisk.Fates(0)["all is lost"])
		close(slow.goOn)
		<-slow.ended
		stored, err := filesink.LoadOrCreateKeyOn(after, "log", "keys/key", origin)
		require.NoError(t, err)
		require.Equal(t, stored.String(), key.String(), "the other one stood before call %d", first)
	}
}
