package jobaudit

import (
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/jobaudit/jobaudit/internal/jsonenc"
	"github.com/jobaudit/jobaudit/internal/walk"
)

// policyDoc is a policy as an audit.policy event holds it.
type policyDoc struct {
	action, version string
	digest          Hash
	json            []byte
}

// maxPolicy is the most bytes that a policy's document may have: it has to fit
// an event.
const maxPolicy = 40_000

// newPolicyDoc describes a policy for those who read its digest years later:
// the paths that it keeps, with their kinds, and those that it names as
// removed, with their classes.
// scan describes the scan if it is not the default.
func newPolicyDoc(r *Redactor, scan []byte) policyDoc {
	doc := []byte(`{"action":`)
	doc = jsonenc.AppendString(doc, r.action)
	doc = append(doc, `,"version":`...)
	doc = jsonenc.AppendString(doc, r.version)
	doc = appendRule(doc, sideInputs, r.inputs)
	doc = appendRule(doc, sideOutput, r.output)
	if scan != nil {
		doc = append(append(doc, `,"scan":`...), scan...)
	}
	doc = append(doc, '}')
	return policyDoc{action: r.action, version: r.version, digest: sha256.Sum256(doc), json: doc}
}

func appendRule(doc []byte, side string, r *rule) []byte {
	if r == nil {
		return doc
	}
	doc = append(doc, `,"`+side+`":{"form":"`+r.form+`","keeps":`...)
	doc = appendNames(doc, r.keeps)
	if len(r.drops) > 0 {
		drops := make(map[string]string, len(r.drops))
		for _, d := range r.drops {
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
