package secrets_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// headerPlaces are how a header is written: %[1]s is its name, %[2]s its value.
var headerPlaces = []string{
	"%s: %s", "> %s: %s\r\n", "[%s: %s]", "curl -H '%s: %s' https://example.org", "curl -H \"%s: %s\"", "  -H\n  '%s: %s'", "%s:\t%s", "%s :  %s", "%s=%s", "HTTP_%s=\"%s\"", "%s => %s", `"%s"=>"%s"`, "GET / HTTP/1.1\r\nHost: a\r\n%s: %s\r\n\r\n", "%s:\r\n\t%s", "%s:\n  %s",
	`{"%s":"%s"}`, `{"%s":["%s"]}`, `{"a":1, "%s" : "%s", "b":2}`, `{\"%s\":\"%s\"}`, "map[Accept:[*/*] %s:[%s]]", `http.Header{"%s":[]string{"%s"}}`, "{'%s': '%s'}", "%s: '%s'\n", "[{%s [%s]}]",
	`{"name":"%s","value":"%s"}`, `{"name": "%s", "value": "%s"}`, `{"key":"%s","value":"%s"}`, `{"Key":"%s","Value":"%s"}`, "- name: %s\n  value: %s\n", `["%s","%s"]`, `[["%s", "%s"]]`, `("%s", "%s")`, `setRequestHeader('%s', '%s')`, `req.Header.Set("%s", "%s")`, `headers.append("%s","%s")`,
	"Header: %s, value: %s", `<header name="%s">%s</header>`, "<%s>%s</%[1]s>",
	`{"authorization":"Basic ***","%s":"%s"}`, `{"proxy-authorization":"Basic xxxx","%s":"%s"}`, "headers: authorization=Basic *****, %s=%s", "map[Authorization:[Basic ***] X-%s:[%s]]", `{"Authorization":["Basic [REDACTED]"],"%s":["%s"]}`, `{"authorization":"Basic ***","x":"%s: %s"}`, `{"cookie":"theme=dark","%s":"%s"}`,
}

func TestAHeaderIsFoundHoweverItIsWritten(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, place := range headerPlaces {
		for _, value := range []string{"9fK2mZ7qLw4RtY8uVb3N", m.of('h', 32), m.of('w', 24), m.uuid(), m.of('s', 40) + "9z8Y"} {
			for _, header := range [][2]string{
				{"Authorization", "Token %s"}, {"authorization", "Bearer %s"}, {"Proxy-Authorization", "ApiKey %s"}, {"Authorization", "%s"}, {"Authorization", "GoogleLogin auth=%s"}, {"AUTHORIZATION", "token %s"},
				{"Cookie", "session=%s"}, {"cookie", "theme=dark; sid=%s"}, {"Set-Cookie", "sid=%s; Path=/; HttpOnly"},
			} {
				if strings.Contains(header[1], "; Path") && strings.Contains(place, "[*/*]") {
					continue
				}
				requireFound(t, s, fmt.Sprintf(place, header[0], fmt.Sprintf(header[1], value)))
				variants++
			}
		}
	}
	for _, value := range []string{"9fK2mZ7qLw4RtY8uVb3N", m.of('h', 32), m.of('w', 24)} {
		for _, text := range []string{
			"Authorization: Bearer\r\n\t%s", "Authorization: Bearer\n %s", "Authorization: Hawk id=\"a\", mac=\"%s\"", "Authorization: OAuth oauth_consumer_key=\"a\", oauth_signature=\"%s\"", `{"Authorization":"Digest username=\"app\", response=\"%s\""}`, "-H 'Authorization: Digest username=\"app\", response=\"%s\"'",
			"Authorization: AWS4-HMAC-SHA256 Credential=x/y, SignedHeaders=host, Signature=%s", "Authorization: Token token=\"%s\"", "Authorization: myscheme %s", "Authorization: PVEAPIToken app@pam!x %s",
		} {
			if !strings.Contains(text, "myscheme") && !strings.Contains(text, "PVE") {
				variants += requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, fmt.Sprintf(text, value))
			}
		}
	}
	for _, cookie := range []string{"PHPSESSID=k3jf9s8d7f6", "s=a1b2c3d4e5", "JSESSIONID=8F3A9C2D1B7E", "connect.sid=s%3Aabc123XYZ456.def%2F789", "a=b; c=d; sid=x7y8z9a1"} {
		for _, name := range []string{"Cookie", "cookie", "Set-Cookie"} {
			requireFound(t, s, name+": "+cookie)
			requireFound(t, s, `{"`+name+`":"`+cookie+`"}`)
			variants += 2
		}
	}
	require.Greater(t, variants, 1_500)
	requireFound(t, s, `{"name":"authorization","value":"Basic `+base64.StdEncoding.EncodeToString([]byte("jürgen:geheim-größe"))+`"}`)
}

// TestWhatALogSaysOfAnAuthorizationIsNone, and what stands beside it.
func TestWhatALogSaysOfAnAuthorizationIsNone(t *testing.T) {
	m := newMaker()
	variants := 0
	for range 5 {
		for _, id := range []string{m.uuid(), m.of('h', 40), m.of('h', 64), "2026-11-28T02:20:17Z", "app-7d9f8b6c5d-" + m.of('a', 5), "arn:aws:iam::" + m.of('d', 12) + ":role/app-" + m.of('a', 8), "01HZX4K8YQ" + m.of('A', 16), "web-" + m.of('h', 12)} {
			for _, line := range []string{
				"authorization: granted to job %s", "authorization: denied for user %s", "authorization=ok request_id=%s", "authorization=granted commit=%s", "authorization: allowed by policy at %s", "authorization: role %s", "authorization: required by %s", "Authorization: checked by %s", "Authorization: Checked by %s",
				`{"authorization":"ok","id":"%s"}`, `{"authorization": "none", "id": "%s"}`, `authorization": "none", "id": "%s"`, `{"authorization":{"allowed":true,"by":"%s"}}`, `{"authorization":true,"trace":"%s"}`, `{"cookie":false,"trace":"%s"}`, `{"cookie":null,"id":"%s"}`, "cookie=false trace=%s", "cookie: expired %s",
				"authorization: project %s needs roles/x", "authorization:deploy:%s", "authorization failed: %s", "no authorization, see %s", "the cookie, which %s has", "authorization: RBAC: role not found in pod %s", "rbac.authorization.k8s.io/v1: pod %s", "authorization\n  request: %s", `["authorization", 3, "%s"]`,
				`{"name":"authorization","type":"%s"}`, `{"msg":"authorization","job":"%s"}`, "level=info msg=authorization job=%s", "authorization [job %s]", "cookie: request_id=%s", "Authorization: Bearer *** request=%s", "Authorization: Basic *** id=%s",
			} {
				variants += requireOrdinary(t, fmt.Sprintf(line, id))
			}
		}
	}
	for _, text := range []string{
		"authorization: sha256:" + m.of('h', 64), "cookie=consent:2026-11-28T02:20:17Z", "Cookie: SameSite=Lax; Expires=2026-11-28T02:20:17Z", "Set-Cookie: lang=de; Max-Age=1234567890; Domain=a1b2c3.example.org", "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n", "authorization: required by user-service-v2.1.33-a1b2c3",
		"Cookie: lang=en-US; theme=dark; consent=2026-11-28", "authorization_code flow of app1-x2y3z4a5b6", "cookies: 12345678ab12345678",
	} {
		variants += requireOrdinary(t, text)
	}
	require.Greater(t, variants, 5_000)
}

// TestTheSignsInTokensAndCookiesDoNotEndThem: browsers and servers put more into them than
// the standards have.
func TestTheSignsInTokensAndCookiesDoNotEndThem(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, token := range []string{"9fK2mZ7qLw4RtY8uVb3N", m.of('w', 24), m.of('h', 32)} {
		for _, sign := range []string{"|", "&", "]", "}", "<", " ", "(", ")", "{}", "[1]", " & ", " | ", "(a)|b=(c)", "<br>"} {
			for _, place := range []string{"%s", "> %s\r\nAccept: */*", "%s\n", "-H '%s'", "-H \"%s\"", `{"headers":"%s"}`} {
				for _, name := range []string{"Cookie", "cookie", "Set-Cookie"} {
					for _, cookies := range []string{"prefs=a%[1]sb; sid=%[2]s", "name=John%[1]sDoe; lang=de; sid=%[2]s", "a=b; c=%[1]s; sid=%[2]s; d=e", "sid=%[2]s%[1]s; a=b"} {
						requireFound(t, s, fmt.Sprintf(place, name+": "+fmt.Sprintf(cookies, sign, token)))
						variants++
					}
				}
				for _, scheme := range []string{"Bearer", "bearer", "Token", "ApiKey", "X-Auth"} {
					if sign == "|" || sign == "&" {
						requireFound(t, s, fmt.Sprintf(place, "Authorization: "+scheme+" 12"+sign+token))
						variants++
					}
				}
			}
		}
	}
	for _, scheme := range []string{"Session", "App", "User", "Service", "Tenant"} {
		requireFound(t, s, "Authorization: "+scheme+" 9fK2mZ7qLw4RtY8uVb3N")
	}
	requireFound(t, s, "Cookie: __utmz=a.b.utmcsr=(direct)|utmccn=(direct); sessionid=9fK2mZ7qLw4RtY8uVb3N")
	requireFound(t, s, "Cookie: long="+strings.Repeat("a", 3000)+"; sessionid=9fK2mZ7qLw4RtY8uVb3N")
	require.Greater(t, variants, 2_000)
}
