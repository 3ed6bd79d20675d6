package jsonenc

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// AppendText appends s as a JSON string if its encoding takes at most limit
// bytes, not counting the quotation marks, and otherwise the marker of a
// truncated value, which takes at most limit bytes itself and holds the
// beginning of s.
func AppendText(dst []byte, s string, limit int) []byte {
	if 6*len(s) <= limit { // no byte encodes to more than six
		return AppendString(dst, s)
	}
	if size := StringLen(s); size > limit {
		return appendTruncated(dst, s, size, limit)
	}
	return AppendString(dst, s)
}

// AppendValue appends the encoded JSON value raw if it takes at most limit
// bytes, and otherwise the marker of a truncated value, which takes at most
// limit bytes itself and holds the beginning of raw's text.
func AppendValue(dst, raw []byte, limit int) []byte {
	if len(raw) <= limit {
		return append(dst, raw...)
	}
	return appendTruncated(dst, string(raw), len(raw), limit)
}

// Shrink returns the encoded JSON value raw, or the marker of a truncated
// value, in at most limit bytes. If raw is such a marker already, the new one
// holds the beginning and the size of the same value.
func Shrink(raw []byte, limit int) []byte {
	rest, ok := bytes.CutPrefix(raw, []byte(truncatedSize))
	if !ok || len(raw) <= limit {
		return AppendValue(nil, raw, limit)
	}
	digits, _, _ := bytes.Cut(rest, []byte{','})
	size, err := strconv.Atoi(string(digits))
	var marker struct {
		Head string `json:"head"`
	}
	if err != nil || json.Unmarshal(raw, &marker) != nil {
		return AppendValue(nil, raw, limit)
	}
	return appendTruncated(nil, marker.Head, size, limit)
}

// AppendDropped appends the marker of a leaf that was dropped.
func AppendDropped(dst []byte, rule string) []byte {
	dst = append(dst, `{"$jobaudit":"dropped","rule":`...)
	dst = AppendString(dst, rule)
	return append(dst, '}')
}

// truncatedSize begins the marker of a truncated value.
const truncatedSize = `{"$jobaudit":"truncated","size":`

func appendTruncated(dst []byte, head string, size, limit int) []byte {
	start := len(dst)
	dst = append(dst, truncatedSize...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, `,"head":"`...)
	used := len(dst) - start + len(`"}`)
	dst = AppendStringContent(dst, Head(head, limit-used))
	return append(dst, `"}`...)
}
