package taint_test

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/internal/taint"
)

const prose = "rebuilding the index of acme/site: 1,000 documents, 3 shards, https://host.example.org/path?q=1; "

// needleSets are 2,048 needles each, chosen against the matcher.
func needleSets() map[string][]string {
	sets := map[string][]string{"random": random(2_048, 32, alphanumeric)}
	for i := range 2_048 {
		number := fmt.Sprintf("%04dx", i)
		sets["one beginning"] = append(sets["one beginning"], strings.Repeat("a1", 20)+number)
		sets["one end"] = append(sets["one end"], number+strings.Repeat("a1", 20))
		sets["prose"] = append(sets["prose"], "rebuilding the index of acme/s1te "+number)
		var block strings.Builder
		for bit := range 11 {
			block.WriteString([]string{"a7b8c9d0", "e1f2g3h4"}[i>>bit&1])
		}
		sets["blocks"] = append(sets["blocks"], block.String())
	}
	for i := range 120 {
		sets["nested"] = append(sets["nested"], strings.Repeat("a1", 4+i/2)+strings.Repeat("b", i%2)+"q9")
	}
	return sets
}

// worst are texts of 16 KiB that come close to what the needles of a set are.
var worst = map[string]string{
	"prose":     strings.Repeat(prose, 170),
	"a1":        strings.Repeat("a1", 8<<10),
	"a1 almost": strings.Repeat(strings.Repeat("a1", 20)+"0", 400),
}

func BenchmarkMatch(b *testing.B) {
	for name, values := range needleSets() {
		m := matcher(values)
		for what, text := range worst {
			b.Run(name+" in "+what, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					if m.Match(text) {
						b.Fatal("a false alarm")
					}
				}
			})
		}
	}
}

// BenchmarkMatchWorst looks for the text that costs the most a byte: what some
// decoder reads or needles begin with, and any two of them, repeated, for each set
// of needles.
func BenchmarkMatchWorst(b *testing.B) {
	for name, values := range needleSets() {
		b.Run(name, func(b *testing.B) { searchWorst(b, values) })
	}
}

func searchWorst(b *testing.B, values []string) {
	m := matcher(values)
	first, last := values[0], values[len(values)-1]
	parts := []string{
		"", first[:7], first[:len(first)-1], last[:len(last)-1], last[:len(last)/2], "a1",
		"%41", "%2541", "%252541", "+", "\\u0041", "\\", "\\\\", "&amp;", "&#65;", "&amp;amp;", "&eacute;", "QUJD", "QUJD\n", "VVVV", "4142", "41:", "41 ", "0x41, ", "65,", "[65 ",
		"\x00a", "\u200b", "a…", "...", "a", "aaaaaaaaaaaa ",
		base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte("%41\\u0041&amp;41 ")))), hex.EncodeToString([]byte("%41&amp;")),
	}
	type result struct {
		unit string
		took time.Duration // of 16 KiB
	}
	fastest := func(turns int, text string) time.Duration { // for 16 KiB
		best := time.Hour
		for range turns {
			start := time.Now()
			if m.Match(text) {
				b.Fatal("a false alarm")
			}
			best = min(best, time.Since(start)*(16<<10)/time.Duration(len(text)))
		}
		return best
	}
	var all []result
	for b.Loop() {
		all = all[:0]
		for _, one := range parts {
			for _, two := range parts[1:] {
				unit := one + two
				text := strings.Repeat(unit, 1+16<<10/len(unit))
				if m.Match(text) {
					continue // the two make a needle
				}
				all = append(all, result{unit, fastest(2, text)})
			}
		}
		// The slow ones once more: the machine may have had other work.
		slices.SortFunc(all, func(x, y result) int { return cmp.Compare(y.took, x.took) })
		for i := range all[:60] {
			all[i].took = fastest(40, strings.Repeat(all[i].unit, 1+16<<10/len(all[i].unit)))
		}
	}
	slices.SortFunc(all, func(x, y result) int { return cmp.Compare(y.took, x.took) })
	b.ReportMetric(float64(16<<10)/all[0].took.Seconds()/1e6, "MB/s-of-the-worst")
	for _, r := range all[:8] {
		b.Logf("%q %.0f MB/s", r.unit, float64(16<<10)/r.took.Seconds()/1e6)
	}
}

func BenchmarkBuild(b *testing.B) {
	for name, removed := range map[string][]string{
		"a token":    {"ghx_0123456789abcdefghijkl"},
		"five":       {"ghx_0123456789abcdefghijkl", "acme/site", "main", "hunter2hunter2", "ann@example.org"},
		"16 kB":      {strings.Repeat(prose, 170)},
		"2,000 IDs":  random(2_000, 32, alphanumeric),
		"chat lines": strings.Split(strings.Repeat(prose+"\n", 170), "\n"),
	} {
		b.Run(name, func(b *testing.B) {
			total := 0
			for _, v := range removed {
				total += len(v)
			}
			b.SetBytes(int64(total))
			b.ReportAllocs()
			for b.Loop() {
				var s taint.Set
				for _, v := range removed {
					s.Add(v, false)
				}
				s.Matcher()
			}
		})
	}
}
