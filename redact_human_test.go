package jobaudit_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// A name, or the place in an address, says what a password is, with a policy as without.
func TestAPasswordIsKnownByItsNameUnderEveryPolicy(t *testing.T) {
	type login struct {
		Repo     string `json:"repo"`
		Password string
		URL      *url.URL
	}
	type kept struct {
		Repo string `json:"repo"`
	}
	typed := jobaudit.Inputs(func(in login) (kept, error) { return kept{in.Repo}, nil })
	paths := jobaudit.InputPaths[login](jobaudit.Keep("repo"))
	dynamic := jobaudit.InputPaths[any](jobaudit.Keep("repo"))
	variants := 0
	for _, pw := range append(passwords, "dragon", "letmein") {
		address := url.URL{Scheme: "postgres", Host: "db", User: url.UserPassword("app", pw)}
		for name, c := range map[string]struct {
			rule []jobaudit.Redactor
			in   any
		}{
			"typed": {rebuild(typed), login{Repo: "r", Password: pw}}, "paths": {rebuild(paths), &login{Repo: "r", Password: pw}}, "typed URL": {rebuild(typed), login{Repo: "r", URL: &address}},
			"paths URL": {rebuild(paths), login{Repo: "r", URL: &address}}, "typed JSON": {rebuild(typed), json.RawMessage(`{"repo":"r","Password":"` + pw + `"}`)}, "JSON": {rebuild(dynamic), json.RawMessage(`{"repo":"r","db":{"password":"` + pw + `"}}`)},
			"map": {rebuild(dynamic), map[string]any{"repo": "r", "password": pw}}, "URL": {rebuild(dynamic), map[string]any{"repo": "r", "u": address}}, "text": {rebuild(dynamic), map[string]any{"repo": "r", "u": address.String()}},
			"list": {rebuild(dynamic), map[string]any{"repo": "r", "passwords": []string{pw}}}, "dropped": {rebuild(dropsAs("db", "personal")), map[string]any{"repo": "r", "db": map[string]string{"passwd": pw}}}, "kept URL": {rebuild(jobaudit.InputPaths[any](jobaudit.Keep("u"))), map[string]any{"u": address}},
			"no policy": {nil, map[string]any{"password": pw}}, "no policy, URL": {nil, address}, "no policy, text": {nil, []string{"DB_PASSWORD=" + pw}},
		} {
			if pw == "correct horse" && (name == "text" || name == "no policy, text" || name == "kept URL") { // a space is written otherwise there, or ends it
				continue
			}
			list := says(t, nil, c.rule, c.in, "login with "+pw, "login as the user")
			require.Equal(t, []string{dropped, "login as the user"}, linesOrMarkers(list), "%s %s", name, pw)
			variants++
		}
	}
	require.Greater(t, variants, 90)
}

// What a policy keeps is stored though a removed member has a telling name.
func TestWhatIsKeptIsNoCredentialByAnotherMembersName(t *testing.T) {
	type in struct{ Key, Code, Session, User, Password, Repo string }
	type kept struct{ Key, Code, Session, User, Repo string }
	v := in{"reports/2026/q3-x7y8.csv", "E1234x99", "sess-7x8y9z", "hunter2", "hunter2", "a/reports/2026/q3-x7y8.csv"}
	for name, rule := range map[string]jobaudit.Rule{
		"typed": jobaudit.Inputs(func(v in) (kept, error) { return kept{v.Key, v.Code, v.Session, v.User, v.Repo}, nil }),
		"paths": jobaudit.InputPaths[in](jobaudit.Keep("Key"), jobaudit.Keep("Code"), jobaudit.Keep("Session"), jobaudit.Keep("User"), jobaudit.Keep("Repo")),
		"fewer": jobaudit.InputPaths[in](jobaudit.Keep("User"), jobaudit.Keep("Repo")),
	} {
		list := says(t, nil, rebuild(rule), v, "user hunter2")
		require.NotContains(t, string(of(list, jobaudit.JobSubmitted)[0].What.Inputs), "$jobaudit", name)
		require.Equal(t, []string{"user hunter2"}, linesOrMarkers(list), name)
	}
}

// A name that says something of a password, and the words, numbers and times under it, are
// none: what is kept stays, and later texts have the words.
func TestWhatIsSaidOfAPasswordIsNone(t *testing.T) {
	variants := 0
	for _, name := range []string{"Password", "Secret", "ClientSecret", "Token", "passphrase", "Pwd", "db_password", "api-secret"} {
		for _, end := range []string{"Name", "Ref", "Policy", "Type", "ChangedAt", "Version", "Id", "Count", "Length", "Required", "Enabled", "ResetUrl", "", "_name", "-path", "Store"} {
			for _, value := range []any{"production", "required", "compliant", "2026-11-28T10:11:27+02:00", "2026-11-28T10:11:27Z", "2026-11-28", int64(491711234567890), 491711234567.25, time.Date(2026, 11, 28, 10, 11, 27, 0, time.FixedZone("", 7200))} {
				if text, ok := value.(string); ok && end == "" && text[0] != '2' && (name == "Password" || name == "passphrase" || name == "db_password") {
					continue
				}
				shown := fmt.Sprint(value)
				if at, ok := value.(time.Time); ok {
					shown = at.Format(time.RFC3339)
				}
				repo := shown + "-eu"
				in := map[string]any{"repo": repo, name + end: value}
				list := says(t, nil, rebuild(jobaudit.InputPaths[any](jobaudit.Keep("repo"))), in)
				require.JSONEq(t, `{"repo":"`+repo+`"}`, string(of(list, jobaudit.JobSubmitted)[0].What.Inputs), "%s%s: %v", name, end, value)
				variants++
			}
		}
	}
	require.Greater(t, variants, 1_000)
}
