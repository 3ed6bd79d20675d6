package jsonenc

import "strconv"

// AppendText appends s as a JSON string if its encoding takes at most limit
// bytes, not counting the quotation marks, and otherwise the marker of a truncated value, which takes at most
// limit bytes itself and holds the beginning of s.
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

// AppendDropped appends the marker of a leaf that was dropped.
func AppendDropped(dst []byte, rule string) []byte {
	dst = append(dst, `{"$jobaudit":"dropped","rule":`...)
	dst = AppendString(dst, rule)
	return append(dst, '}')
}

func appendTruncated(dst []byte, head string, size, limit int) []byte {
	start := len(dst)
	dst = append(dst, `{"$jobaudit":"truncated","size":`...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, `,"head":"`...)
	used := len(dst) - start + len(`"}`)
	dst = AppendStringContent(dst, Head(head, limit-used))
	return append(dst, `"}`...)
}
