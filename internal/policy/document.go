package policy

import (
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// Document describes a policy to those who read its digest years later: the
// paths that it keeps, with their kinds, and those that it names as removed,
// with their classes. An audit.policy event holds it.
type Document struct {
	Action, Version string
	Digest          [sha256.Size]byte
	JSON            []byte
}

// NewDocument describes a policy. Either rule may be nil. scan describes the
// scan for secrets if it is not the default.
func NewDocument(action, version string, inputs, output *Rule, scan []byte) Document {
	doc := []byte(`{"action":`)
	doc = jsonenc.AppendString(doc, action)
	doc = append(doc, `,"version":`...)
	doc = jsonenc.AppendString(doc, version)
	doc = appendRule(doc, "inputs", inputs)
	doc = appendRule(doc, "output", output)
	if scan != nil {
		doc = append(append(doc, `,"scan":`...), scan...)
	}
	doc = append(doc, '}')
	return Document{Action: action, Version: version, Digest: sha256.Sum256(doc), JSON: doc}
}

func appendRule(doc []byte, side string, r *Rule) []byte {
	if r == nil {
		return doc
	}
	doc = append(doc, `,"`+side+`":{"form":"`+r.Form+`","keeps":`...)
	doc = appendNames(doc, r.Keeps)
	if len(r.Drops) > 0 {
		drops := make(map[string]string, len(r.Drops))
		for _, d := range r.Drops {
			drops[d.Path] = d.Class
		}
		doc = append(doc, `,"drops":`...)
		doc = appendNames(doc, drops)
	}
	return append(doc, '}')
}

func appendNames(doc []byte, names map[string]string) []byte {
	doc = append(doc, '{')
	for i, name := range slices.Sorted(maps.Keys(names)) {
		if i > 0 {
			doc = append(doc, ',')
		}
		doc = jsonenc.AppendString(doc, walk.EscapeName(name))
		doc = append(doc, ':')
		doc = jsonenc.AppendString(doc, names[name])
	}
	return append(doc, '}')
}
