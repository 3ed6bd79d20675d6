package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
)

// Resum makes the hash at the end of a file agree with what stands before it.
func Resum(text []byte) ([]byte, error) {
	at := bytes.LastIndex(text, []byte(sumPrefix))
	if at < 0 {
		return nil, errors.New("no hash")
	}
	sum := digest(text[:at])
	changed := append(bytes.Clone(text[:at]), sumPrefix...)
	return append(base64.StdEncoding.AppendEncode(changed, sum[:]), '\n'), nil
}

// A Standard is a row of the table of standards.
type Standard struct {
	Source, Asks, Read, Note string
	Evidence                 struct {
		Kind  string
		Types []string
	}
}

// Standards reads the table of standards.
func Standards(t testing.TB) (list []Standard) {
	if err := json.Unmarshal([]byte(standardsJSON), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// Notable are the types of events that stand beside a summary.
func Notable() (list []string) {
	for t := range notable {
		list = append(list, string(t))
	}
	return list
}

// PageText is all that a page says besides its evidence.
func PageText() string {
	before, behind := pageParts()
	return before + behind
}
