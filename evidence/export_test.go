package evidence

import (
	"bytes"
	"encoding/base64"
	"errors"
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
