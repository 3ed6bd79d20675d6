package jobaudit

import (
	"errors"
	"iter"
)

func parseEvent(line []byte) (Event, error) { return Event{}, errors.New("todo") }

// Replay folds the events of one job into the [Job] that they tell of.
func Replay(records iter.Seq2[Record, error]) (Job, error) { return Job{}, errors.New("todo") }
