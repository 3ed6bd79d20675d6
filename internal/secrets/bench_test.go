package secrets_test

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jobaudit/jobaudit/internal/secrets"
)

// record is the leaves of jobs' inputs and outputs: names, IDs, times, digests,
// paths, messages, URLs, and now and then something long.
func record(m maker) []string {
	var all []string
	for range 50 {
		all = append(all,
			m.uuid(), "deploy", "production", "2026-11-21T21:34:07.123456Z", m.of('h', 40), "sha256:"+m.of('h', 64),
			"github.com/acme/app/internal/handlers/create_user.go", "v1.24.0", "user "+m.of('d', 5), "eu-central-1",
			"https://example.com/orgs/acme/projects/"+m.of('d', 4)+"?page=2&sort=asc",
			"the quick brown fox could not be moved to the other side of the river: connection refused after 3 attempts (dial tcp 10.1.2.3:5432: timeout)",
			m.of('b', 44), "build-and-test", "1,000 records updated", `{"level":"info","msg":"started worker","attempt":1,"queue":"default"}`,
		)
	}
	prose := strings.Repeat("Every job leaves a record of who did what, when, where and why. ", 30)
	return append(all, prose, "data:image/png;base64,"+m.of('b', 4000), strings.Repeat(m.of('h', 64)+"\n", 40),
		base64.StdEncoding.EncodeToString([]byte(prose)))
}

func BenchmarkFind(b *testing.B) {
	own := leaves(b, directories(b))
	source := make([]string, len(own))
	for i, l := range own {
		source[i] = l.text
	}
	m := newMaker()
	personal := &secrets.Config{Personal: []secrets.Class{secrets.Email, secrets.Phone, secrets.IBAN, secrets.IP}}
	for name, texts := range map[string][]string{
		"records": record(m), "sources": source, "prose": {strings.Repeat("It was a record of who did what, when and why. ", 100)},
		"base64": {m.of('b', 8000)}, "hex": {m.of('h', 8000)},
	} {
		for kind, config := range map[string]*secrets.Config{"table": nil, "personal": personal} {
			if kind == "personal" && name != "prose" {
				continue
			}
			b.Run(fmt.Sprintf("%s/%s", name, kind), func(b *testing.B) {
				s := newScanner(b, config)
				size := 0
				for _, text := range texts {
					size += len(text)
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ReportMetric(float64(size)/float64(len(texts)), "B/leaf")
				for b.Loop() {
					for _, text := range texts {
						if rule, found := s.Find(text); found {
							b.Fatalf("%s in %q", rule, text)
						}
					}
				}
			})
		}
	}
}

// BenchmarkWorst looks for the text that costs the most a byte: each prefix of the
// table, with what may stand around it, repeated.
func BenchmarkWorst(b *testing.B) {
	s := newScanner(b, nil)
	type result struct {
		unit string
		took time.Duration
	}
	fastest := func(turns int, text string) time.Duration { // for 16 KiB
		best := time.Hour
		for range turns {
			start := time.Now()
			s.Find(text)
			best = min(best, time.Since(start)*(16<<10)/time.Duration(len(text)))
		}
		return best
	}
	var all []result
	for b.Loop() {
		all = all[:0]
		for _, unit := range units() {
			text := strings.Repeat(unit, 1+16<<10/len(unit))
			all = append(all, result{unit, fastest(2, text)})
		}
		// The slow ones once more: the machine may have had other work.
		slices.SortFunc(all, func(x, y result) int { return cmp.Compare(y.took, x.took) })
		for i := range all[:100] {
			all[i].took = fastest(30, strings.Repeat(all[i].unit, 1+16<<10/len(all[i].unit)))
		}
	}
	slices.SortFunc(all, func(x, y result) int { return cmp.Compare(y.took, x.took) })
	b.ReportMetric(float64(16<<10)/all[0].took.Seconds()/1e6, "MB/s-of-the-worst")
	for _, r := range all[:8] {
		b.Logf("%q %.0f MB/s", r.unit, float64(16<<10)/r.took.Seconds()/1e6)
	}
}

// units are the prefixes of the table, and other beginnings, with what may stand
// behind them.
func units() (all []string) {
	starts := append(secrets.Prefixes(), "://", "a://b:", "@", "a@", "a:b@", "a:b@c.de", "~", "Q~", "1Q~", "=", "token=", "password=", "key=", ":", "a:", "%41", "\\u0041", "\\", "1111", "4111 1111 ", strings.Repeat("4", 16), "0123456789:", "DE89", "+4912",
		"eyJhbGciOiJIUzI1NiJ9", "ey", "YWJj", "MC", "kty\"", "\"kty\":\"d\"", "BEGIN PRIVATE", "BEGIN", "curl -u ", "Cookie: ", "Authorization: ", "_mmk", "-us1",
		"sshpass -p ", "mysql -p", "http -a a:", "openssl x -k ", "variable \"token\" {", "define('token',", "('password','", "form-data; name=\"token\"", "<x key=\"token\">", "\\u003ctoken\\u003e", "--token+", "-Dtoken=", "name=token&value=", "setx token ")
	for _, start := range starts {
		for _, behind := range []string{"", " ", "=", ":", "a", "/", "%3D", "\n", "a1B2", "=a1", "\"", "YWJjZGVmZ2hpamtsbW5v"} {
			all = append(all, start+behind)
		}
	}
	// What was found to cost much by trying pieces at random.
	return append(all, "</x>sk-secret=\"%3D", "'\"key\":\"\"key\":\"%3DX-Api-Key:", "secret=\"%3D  c2Vj  ", "--passwordX-Api-Key:\"%3D</x>", "%3Dpassword=\"key\":\"secret=\"?{", "a--login%22secret=\":", "secret: Some(\"", "secret=\"(",
		"authorization: a b ", "cookie=a1; ", "token:\t", "curl -u a ", "password for a=", "identified by ", "&lt;password&gt;", "<td>password</td><td>", "<a b=\"c\">", "[\"mysql\",", "\"--token\",\"", "password:\n  a", "kty:", "a:b@c ", "password1=", "authorization,\"value", "sk-&lt;sk-sk-]", "&lt;c2Vj<td>password</td><td>[identified by \n", "%3DX-Api-Key:X-Api-Key:',<![CDATA[Basic", "identified by secret=\"%3D/$define('")
}
