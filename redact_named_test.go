package jobaudit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
	"github.com/jobaudit/jobaudit/sink/memsink"
)

// passwords are such as people choose: they look like nothing.
var passwords = []string{"hunter2", "changeme", "correct horse", "Summer-2026", "4711"}

type namedSecret struct {
	Repo string                  `json:"repo"`
	Pw   jobaudit.Secret[string] `json:"pw"`
}

type namedTag struct {
	Repo string `json:"repo"`
	Pw   string `json:"pw" audit:"drop=credential"`
}

type namedQuoted struct {
	Repo string `json:"repo"`
	Pw   string `json:"pw,string" audit:"drop=credential"`
}

type namedNested struct {
	Repo string `json:"repo"`
	In   struct {
		Login *namedSecret
	}
}

type namedLists struct {
	Repo string `json:"repo"`
	List []map[string][]*jobaudit.Secret[string]
}

type credsMap struct {
	Repo string                             `json:"repo"`
	By   map[string]jobaudit.Secret[string] `json:"by"`
}

type namedEmbedded struct {
	namedLogin
	Repo string `json:"repo"`
}

type namedLogin struct {
	Pw jobaudit.Secret[string] `json:"pw"`
}

type namedObject struct {
	Repo string `json:"repo"`
	DB   jobaudit.Secret[struct{ User, Password string }]
}

type credsBytes struct {
	Repo string `json:"repo"`
	Pw   jobaudit.Secret[[]byte]
}

// namedDecoder decodes itself: nothing says where in the JSON its secret is.
type namedDecoder struct {
	Repo  string `json:"repo"`
	Login decodedLogin
}

type decodedLogin struct{ pw jobaudit.Secret[string] }

func (d *decodedLogin) UnmarshalJSON(raw []byte) error {
	var pair [2]string
	err := json.Unmarshal(raw, &pair)
	d.pw = jobaudit.NewSecret(pair[1])
	return err
}

// namedCase is one shape of inputs that names a credential, and rules for it.
type namedCase struct {
	name  string
	rules []jobaudit.Rule
	json  func(repo, pw string) string
}

func namedBy[In any](name string, repo func(In) string, text func(repo, pw string) string, also ...jobaudit.Rule) namedCase {
	type kept struct {
		Repo string `json:"repo"`
	}
	typed := jobaudit.Inputs(func(in In) (kept, error) { return kept{repo(in)}, nil })
	byPointer := jobaudit.Inputs(func(in *In) (kept, error) { return kept{repo(*in)}, nil })
	return namedCase{name, append([]jobaudit.Rule{typed, byPointer}, also...), text}
}

func byRepo[In any]() []jobaudit.Rule {
	return []jobaudit.Rule{jobaudit.InputPaths[In](jobaudit.Keep("repo")), jobaudit.InputPaths[*In](jobaudit.Keep("repo"))}
}

// jsonOf returns what writes JSON from a template with two strings in it.
func jsonOf(template string) func(repo, pw string) string {
	return func(repo, pw string) string {
		r, _ := json.Marshal(repo)
		p, _ := json.Marshal(pw)
		return strings.NewReplacer("REPO", string(r), "PW", string(p)).Replace(template)
	}
}

func namedCases() []namedCase {
	type tags struct {
		Repo string `json:"repo" audit:"keep"`
		Pw   string `json:"pw" audit:"drop=credential"`
		Q    string `json:"q,string" audit:"drop=credential"`
	}
	quoted := func(repo, pw string) string {
		inner, _ := json.Marshal(pw)
		return jsonOf(`{"repo":REPO,"pw":PW}`)(repo, string(inner))
	}
	pwKept := []jobaudit.Rule{jobaudit.InputPaths[namedSecret](jobaudit.Keep("repo"), jobaudit.Keep("pw")), jobaudit.InputPaths[namedSecret](jobaudit.Keep("*")),
		jobaudit.InputPaths[namedSecret](jobaudit.Keep("repo"), jobaudit.Drop("pw", "personal"))}
	return []namedCase{
		namedBy("Secret", func(in namedSecret) string { return in.Repo }, jsonOf(`{"repo":REPO,"pw":PW}`), append(byRepo[namedSecret](), pwKept...)...),
		namedBy("tag", func(in namedTag) string { return in.Repo }, jsonOf(`{"repo":REPO,"pw":PW}`), jobaudit.InputPaths[tags]()),
		namedBy("quoted", func(in namedQuoted) string { return in.Repo }, quoted),
		namedBy("quoted tags", func(in tags) string { return in.Repo }, func(repo, pw string) string {
			inner, _ := json.Marshal(pw)
			return jsonOf(`{"repo":REPO,"q":PW}`)(repo, string(inner))
		}, jobaudit.InputPaths[tags]()),
		namedBy("nested", func(in namedNested) string { return in.Repo }, jsonOf(`{"repo":REPO,"In":{"Login":{"pw":PW}}}`),
			append(byRepo[namedNested](), jobaudit.InputPaths[namedNested](jobaudit.Keep("repo"), jobaudit.Keep("In.Login.repo")), jobaudit.InputPaths[namedNested](jobaudit.Keep("repo"), jobaudit.Drop("In", "x")))...),
		namedBy("lists", func(in namedLists) string { return in.Repo }, jsonOf(`{"repo":REPO,"List":[{},{"a":[null,PW]}]}`), append(byRepo[namedLists](), jobaudit.InputPaths[namedLists](jobaudit.Keep("repo"), jobaudit.Keep("List[*].*[*]")))...),
		namedBy("map", func(in credsMap) string { return in.Repo }, jsonOf(`{"repo":REPO,"by":{"a":PW}}`), append(byRepo[credsMap](), jobaudit.InputPaths[credsMap](jobaudit.Keep("repo"), jobaudit.Keep("by.b")))...),
		namedBy("embedded", func(in namedEmbedded) string { return in.Repo }, jsonOf(`{"repo":REPO,"pw":PW}`), byRepo[namedEmbedded]()...),
		namedBy("object", func(in namedObject) string { return in.Repo }, jsonOf(`{"repo":REPO,"DB":{"User":"app","Password":PW}}`), byRepo[namedObject]()...),
		namedBy("bytes", func(in credsBytes) string { return in.Repo }, func(repo, pw string) string {
			encoded, _ := json.Marshal([]byte(pw))
			return fmt.Sprintf(`{"repo":%q,"Pw":%s}`, repo, encoded)
		}, byRepo[credsBytes]()...),
		namedBy("decoder", func(in namedDecoder) string { return in.Repo }, jsonOf(`{"repo":REPO,"Login":["app",PW]}`), byRepo[namedDecoder]()...),
		namedBy("other case", func(in namedSecret) string { return in.Repo }, jsonOf(`{"repo":REPO,"Pw":PW}`), byRepo[namedSecret]()...),
		namedBy("too deep", func(in namedSecret) string { return in.Repo }, jsonOf(`{"repo":REPO,"pw":PW,"x":`+strings.Repeat("[", 35)+strings.Repeat("]", 35)+`}`), byRepo[namedSecret]()...),
	}
}

// What a type names as a credential is one however its JSON is given.
func TestACredentialThatATypeNamesIsOneInItsJSON(t *testing.T) {
	variants := 0
	for _, c := range namedCases() {
		for i, rule := range c.rules {
			for _, pw := range passwords {
				text := c.json("mysqldump -p"+pw+" shop", pw)
				for how, in := range map[string]any{"RawMessage": json.RawMessage(text), "bytes": []byte(text)} {
					name := fmt.Sprintf("%s, rule %d, %s: %s", c.name, i, how, text)
					list := says(t, nil, rebuild(rule), in, "login with "+pw, "nothing else")
					require.Equal(t, []string{dropped, "nothing else"}, linesOrMarkers(list), name)
					require.NotContains(t, string(of(list, jobaudit.JobSubmitted)[0].What.Inputs), pw, name)
					variants++
				}
			}
		}
	}
	require.Greater(t, variants, 300)
}

// A worker gets the inputs as JSON, too.
func TestAResumedTrailKnowsTheCredentialsThatATypeNames(t *testing.T) {
	for _, c := range namedCases() {
		for i, rule := range c.rules {
			sink := memsink.New(nil)
			rec := open(t, sink, &jobaudit.Options{Redactors: registry(t, rebuild(rule)...), Heartbeat: -1})
			text := c.json("acme", "hunter2")
			s := submission()
			s.Inputs = json.RawMessage(text)
			submitted, err := rec.Submit(t.Context(), s)
			require.NoError(t, err)
			resumed, err := rec.Resume(t.Context(), submitted.Carrier(), []byte(text))
			require.NoError(t, err)
			require.NoError(t, resumed.Run(t.Context(), jobaudit.Execution{}, func(ctx context.Context) error {
				trail(ctx).Log(ctx, "login with hunter2")
				return nil
			}))
			require.NoError(t, rec.Close(t.Context()))
			require.Equal(t, []string{dropped}, linesOrMarkers(events(t, sink)), "%s, rule %d", c.name, i)
		}
	}
}
