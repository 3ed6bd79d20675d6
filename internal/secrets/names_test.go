package secrets_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/secrets"
)

// placesOfNames are where a credential is found by its name: %[1]s is the name, %[2]s
// the value.
var placesOfNames = []string{
	"https://api.example.org/v1?%s=%s", "https://api.example.org/v1?%s=%s&page=2", "GET /v1?page=2&%s=%s HTTP/1.1", "grant_type=x&%s=%s", "%s=%s", "page=2;%s=%s", // queries and forms
	"form-data; name=\"%s\"\r\n\r\n%s\r\n--x",
	"host=db %s=%s port=5432", "Server=db;%s=%s;Encrypt=true", "jdbc:x://db/shop;user=app;%s=%s", // data sources
	"%s=%s\n", "export %s=%s", "A=b\nMY_%s='%s'\nC=d", "ENV %s %s", "ENV %s=%s", "setx %s %s", "$%s = '%s';", "-e %s=%s", // variables
	"--%s %s", "--%s=%s", "x --%s '%s' y", "java -D%s=%s -jar a.jar", "-Dspring.%s=%s", // flags
	`{"%s":"%s"}`, `{"a":1, "%s" : "%s"}`, `{\"%s\":\"%s\"}`, "{'%s': '%s'}", // members
	"%s: %s", "  %s: '%s'\n", "- %s: \"%s\"", `%s = "%s"`, "[a]\n%s='%s'", `:%s => "%s"`, // YAML, TOML, Ruby
	"<%s>%s</%[1]s>", "<a:%s>%s</a:%[1]s>", `<x %s="%s"/>`, `<entry key="%s">%s</entry>`, `<property name="%s" value="%s"/>`, // XML
	`{"name":"%s","value":"%s"}`, "- name: %s\n  value: %s\n", "name=%s&value=%s",
	"X-%s: %s", "%s: %s\r\n", "map[X-%s:[%s]]", `http.Header{"X-%s":[]string{"%s"}}`, `{"X-%s":["%s"]}`, // headers
	"define('%s', '%s');", `os.Setenv("%s", "%s")`, // calls
	"variable \"%s\" {\n  default = \"%s\"\n}",
	"os.environ['%s'] = '%s'",
}

// spellings are how a name of one word is written: with its words apart, or as one,
// with others before it.
func spellings(name string) []string {
	all := []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], "my_" + name, "app." + name, "db" + strings.ToUpper(name[:1]) + name[1:], "application_of_ours_for_production_" + name, "spring.datasource.primary.settings." + name, "our-own-applications-database-" + name}
	for _, last := range []string{"token", "secret", "key", "base", "assertion", "verifier", "code", "accesskey"} {
		if head, ok := strings.CutSuffix(name, last); ok && head != "" {
			all = append(all, head+"_"+last, strings.ToUpper(head+"-"+last), head+"."+last, head+strings.ToUpper(last[:1])+last[1:])
		}
	}
	return all
}

// TestEveryNameIsFoundInEveryPlaceThatIsClaimedForIt: what sorts texts out before names
// are looked up knows all of them.
func TestEveryNameIsFoundInEveryPlaceThatIsClaimedForIt(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	names := secrets.Names()
	variants := 0
	for _, name := range slices.Sorted(maps.Keys(names)) {
		places := placesOfNames
		switch names[name] {
		case "value", "login", "other":
			continue // what they name has a form of its own, or is none
		case "code":
			places = []string{"https://app.example.org/cb?%s=%s", "https://app.example.org/cb?state=1&%s=%s", "GET /cb?%s=%s&state=1 HTTP/1.1", "grant_type=x&%s=%s"}
		case "key":
			places = []string{"https://maps.googleapis.com/maps/api/geocode/json?%s=%s", "https://api.example.org/v1?page=2&%s=%s"}
		case "password":
			places = append(slices.Clip(places), "ALTER USER app %s '%s'", "ALTER USER app %s \"%s\"")
		}
		for _, spelling := range spellings(name) {
			for _, place := range places {
				text := fmt.Sprintf(place, spelling, m.of('a', 20)+"7x2")
				in := base64.StdEncoding.EncodeToString([]byte("# " + text + "\n"))
				for _, form := range []string{text, "it is " + text, in, "https://x.example.org/?q=" + url.QueryEscape(text)} {
					_, found := s.Find(form)
					if !found {
						t.Errorf("%s in %q: %q", name, place, form)
					}
					variants++
				}
			}
		}
	}
	require.Greater(t, variants, 10_000)
}
