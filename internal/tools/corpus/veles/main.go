//go:build corpus

// Veles prints samples of secrets, a JSON object on each line: what the detectors
// of OSV-SCALIBR find in the texts of their own tests, and others like it. It
// runs with -tags corpus and the directory of that module's sources.
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/veles"
	"github.com/google/osv-scalibr/veles/secrets/anthropicapikey"
	"github.com/google/osv-scalibr/veles/secrets/awsaccesskey"
	"github.com/google/osv-scalibr/veles/secrets/azurestorageaccountaccesskey"
	"github.com/google/osv-scalibr/veles/secrets/azuretoken"
	"github.com/google/osv-scalibr/veles/secrets/bitwardenoauth2access"
	"github.com/google/osv-scalibr/veles/secrets/circleci"
	"github.com/google/osv-scalibr/veles/secrets/cloudflareapitoken"
	"github.com/google/osv-scalibr/veles/secrets/cratesioapitoken"
	"github.com/google/osv-scalibr/veles/secrets/cursorapikey"
	"github.com/google/osv-scalibr/veles/secrets/denopat"
	"github.com/google/osv-scalibr/veles/secrets/digitaloceanapikey"
	"github.com/google/osv-scalibr/veles/secrets/discordbottoken"
	"github.com/google/osv-scalibr/veles/secrets/dockerhubpat"
	"github.com/google/osv-scalibr/veles/secrets/elasticcloudapikey"
	"github.com/google/osv-scalibr/veles/secrets/gcpapikey"
	"github.com/google/osv-scalibr/veles/secrets/gcpexpressmode"
	"github.com/google/osv-scalibr/veles/secrets/gcpoauth2access"
	"github.com/google/osv-scalibr/veles/secrets/gcpoauth2client"
	"github.com/google/osv-scalibr/veles/secrets/gcpsak"
	"github.com/google/osv-scalibr/veles/secrets/gcshmackey"
	"github.com/google/osv-scalibr/veles/secrets/gitbasicauth/bitbucket"
	"github.com/google/osv-scalibr/veles/secrets/gitbasicauth/codecatalyst"
	"github.com/google/osv-scalibr/veles/secrets/gitbasicauth/codecommit"
	"github.com/google/osv-scalibr/veles/secrets/github"
	"github.com/google/osv-scalibr/veles/secrets/gitlabpat"
	"github.com/google/osv-scalibr/veles/secrets/grokxaiapikey"
	"github.com/google/osv-scalibr/veles/secrets/hashicorpvault"
	"github.com/google/osv-scalibr/veles/secrets/hcp"
	"github.com/google/osv-scalibr/veles/secrets/herokuplatformkey"
	"github.com/google/osv-scalibr/veles/secrets/huggingfaceapikey"
	"github.com/google/osv-scalibr/veles/secrets/jwt"
	"github.com/google/osv-scalibr/veles/secrets/mistralapikey"
	"github.com/google/osv-scalibr/veles/secrets/npmjsaccesstoken"
	"github.com/google/osv-scalibr/veles/secrets/onepasswordkeys"
	"github.com/google/osv-scalibr/veles/secrets/openai"
	"github.com/google/osv-scalibr/veles/secrets/openrouter"
	"github.com/google/osv-scalibr/veles/secrets/packagist"
	"github.com/google/osv-scalibr/veles/secrets/paystacksecretkey"
	"github.com/google/osv-scalibr/veles/secrets/perplexityapikey"
	"github.com/google/osv-scalibr/veles/secrets/postmanapikey"
	"github.com/google/osv-scalibr/veles/secrets/privatekey"
	"github.com/google/osv-scalibr/veles/secrets/pypiapitoken"
	"github.com/google/osv-scalibr/veles/secrets/pyxkeyv1"
	"github.com/google/osv-scalibr/veles/secrets/pyxkeyv2"
	"github.com/google/osv-scalibr/veles/secrets/recaptchakey"
	"github.com/google/osv-scalibr/veles/secrets/rubygemsapikey"
	"github.com/google/osv-scalibr/veles/secrets/salesforceoauth2access"
	"github.com/google/osv-scalibr/veles/secrets/salesforceoauth2client"
	"github.com/google/osv-scalibr/veles/secrets/salesforceoauth2jwt"
	"github.com/google/osv-scalibr/veles/secrets/salesforceoauth2refresh"
	"github.com/google/osv-scalibr/veles/secrets/sendgrid"
	"github.com/google/osv-scalibr/veles/secrets/slacktoken"
	"github.com/google/osv-scalibr/veles/secrets/squareapikey"
	"github.com/google/osv-scalibr/veles/secrets/stripeapikeys"
	"github.com/google/osv-scalibr/veles/secrets/supabase"
	"github.com/google/osv-scalibr/veles/secrets/telegrambotapitoken"
	"github.com/google/osv-scalibr/veles/secrets/tinkkeyset"
	"github.com/google/osv-scalibr/veles/secrets/urlcreds"
	"github.com/google/osv-scalibr/veles/secrets/vapid"
)

// detectors are those of secrets, by the directory of their tests.
var detectors = []struct {
	dir      string
	detector veles.Detector
}{
	{"anthropicapikey", anthropicapikey.NewDetector()},
	{"awsaccesskey", awsaccesskey.NewDetector()},
	{"azurestorageaccountaccesskey", azurestorageaccountaccesskey.NewDetector()},
	{"azuretoken", azuretoken.NewDetector()},
	{"bitwardenoauth2access", bitwardenoauth2access.NewDetector()},
	{"circleci", circleci.NewPersonalAccessTokenDetector()},
	{"circleci", circleci.NewProjectTokenDetector()},
	{"cloudflareapitoken", cloudflareapitoken.NewDetector()},
	{"cratesioapitoken", cratesioapitoken.NewDetector()},
	{"cursorapikey", cursorapikey.NewDetector()},
	{"denopat", denopat.NewOrgTokenDetector()},
	{"denopat", denopat.NewUserTokenDetector()},
	{"digitaloceanapikey", digitaloceanapikey.NewDetector()},
	{"discordbottoken", discordbottoken.NewDetector()},
	{"dockerhubpat", dockerhubpat.NewDetector()},
	{"elasticcloudapikey", elasticcloudapikey.NewDetector()},
	{"gcpapikey", gcpapikey.NewDetector()},
	{"gcpexpressmode", gcpexpressmode.NewDetector()},
	{"gcpoauth2access", gcpoauth2access.NewDetector()},
	{"gcpoauth2client", gcpoauth2client.NewDetector()},
	{"gcpsak", gcpsak.NewDetector()},
	{"gcshmackey", gcshmackey.NewDetector()},
	{"gitbasicauth/bitbucket", bitbucket.NewDetector()},
	{"gitbasicauth/codecatalyst", codecatalyst.NewDetector()},
	{"gitbasicauth/codecommit", codecommit.NewDetector()},
	{"github", github.NewAppRefreshTokenDetector()},
	{"github", github.NewAppS2STokenDetector()},
	{"github", github.NewAppU2SDetector()},
	{"github", github.NewClassicPATDetector()},
	{"github", github.NewFineGrainedPATDetector()},
	{"github", github.NewOAuthTokenDetector()},
	{"gitlabpat", gitlabpat.NewDetector()},
	{"grokxaiapikey", grokxaiapikey.NewAPIKeyDetector()},
	{"grokxaiapikey", grokxaiapikey.NewManagementKeyDetector()},
	{"hashicorpvault", hashicorpvault.NewAppRoleDetector()},
	{"hashicorpvault", hashicorpvault.NewTokenDetector()},
	{"hcp", hcp.NewAccessTokenDetector()},
	{"hcp", hcp.NewPairDetector()},
	{"herokuplatformkey", herokuplatformkey.NewSecretKeyDetector()},
	{"huggingfaceapikey", huggingfaceapikey.NewDetector()},
	{"jwt", jwt.NewDetector()},
	{"mistralapikey", mistralapikey.NewDetector()},
	{"npmjsaccesstoken", npmjsaccesstoken.NewDetector()},
	{"onepasswordkeys", onepasswordkeys.NewRecoveryTokenDetector()},
	{"onepasswordkeys", onepasswordkeys.NewSecretKeyDetector()},
	{"onepasswordkeys", onepasswordkeys.NewServiceTokenDetector()},
	{"openai", openai.NewDetector()},
	{"openrouter", openrouter.NewDetector()},
	{"packagist", packagist.NewAPISecretDetector()},
	{"packagist", packagist.NewConductorUpdateTokenDetector()},
	{"packagist", packagist.NewOrgReadTokenDetector()},
	{"packagist", packagist.NewOrgUpdateTokenDetector()},
	{"packagist", packagist.NewUserUpdateTokenDetector()},
	{"paystacksecretkey", paystacksecretkey.NewSecretKeyDetector()},
	{"perplexityapikey", perplexityapikey.NewDetector()},
	{"postmanapikey", postmanapikey.NewAPIKeyDetector()},
	{"postmanapikey", postmanapikey.NewCollectionTokenDetector()},
	{"privatekey", privatekey.NewDetector()},
	{"pypiapitoken", pypiapitoken.NewDetector()},
	{"pyxkeyv1", pyxkeyv1.NewDetector()},
	{"pyxkeyv2", pyxkeyv2.NewDetector()},
	{"recaptchakey", recaptchakey.NewDetector()},
	{"rubygemsapikey", rubygemsapikey.NewDetector()},
	{"salesforceoauth2access", salesforceoauth2access.NewDetector()},
	{"salesforceoauth2client", salesforceoauth2client.NewDetector()},
	{"salesforceoauth2jwt", salesforceoauth2jwt.NewDetector()},
	{"salesforceoauth2refresh", salesforceoauth2refresh.NewDetector()},
	{"sendgrid", sendgrid.NewDetector()},
	{"slacktoken", slacktoken.NewAppConfigAccessTokenDetector()},
	{"slacktoken", slacktoken.NewAppConfigRefreshTokenDetector()},
	{"slacktoken", slacktoken.NewAppLevelTokenDetector()},
	{"squareapikey", squareapikey.NewOAuthApplicationSecretDetector()},
	{"squareapikey", squareapikey.NewPersonalAccessTokenDetector()},
	{"stripeapikeys", stripeapikeys.NewRestrictedKeyDetector()},
	{"stripeapikeys", stripeapikeys.NewSecretKeyDetector()},
	{"stripeapikeys", stripeapikeys.NewWebhookSecretDetector()},
	{"supabase", supabase.NewPATDetector()},
	{"supabase", supabase.NewProjectSecretKeyDetector()},
	{"supabase", supabase.NewServiceRoleJWTDetector()},
	{"telegrambotapitoken", telegrambotapitoken.NewDetector()},
	{"tinkkeyset", tinkkeyset.NewDetector()},
	{"urlcreds", urlcreds.NewDetector()},
	{"vapid", vapid.NewDetector()},
}

// like is how many samples are made like one that a test has.
const like = 20

type sample struct {
	Rule   string `json:"rule"`
	Secret string `json:"secret"`
}

func main() {
	out := json.NewEncoder(os.Stdout)
	r := rand.New(rand.NewPCG(1, 2))
	for _, d := range detectors {
		seen := map[string]bool{}
		for _, text := range literals(filepath.Join(os.Args[1], "veles", "secrets", d.dir)) {
			text = strings.TrimSpace(text)
			if len(text) > 2_500 || seen[text] || !found(d.detector, text) || found(d.detector, text[1:]) && found(d.detector, text[:len(text)-1]) {
				continue // not a sample, or more than one
			}
			if mask(d.detector, text) {
				continue
			}
			seen[text] = true
			_ = out.Encode(sample{d.dir, text})
			free := freely(d.detector, text)
			for range like {
				if other := changed(text, free, r); !seen[other] && found(d.detector, other) {
					seen[other] = true
					_ = out.Encode(sample{d.dir, other})
				}
			}
		}
	}
}

// mask reports whether a text holds a mask in the place of a secret, of one or a
// few characters again and again.
func mask(d veles.Detector, text string) bool {
	from, to := own(d, text)
	secret := []byte(text[from:to])
	slices.Sort(secret)
	return len(slices.Compact(secret)) < 12
}

func found(d veles.Detector, text string) bool {
	secrets, _ := d.Detect([]byte(text))
	return len(secrets) > 0
}

const classes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// class returns the letters or digits that could stand for c.
func class(c byte) string {
	switch at := strings.IndexByte(classes, c); {
	case at < 0:
		return ""
	case at < 26:
		return classes[:26]
	case at < 52:
		return classes[26:52]
	}
	return classes[52:]
}

// own returns where in a text the secret is: the longest of the parts that the
// detector has made out.
func own(d veles.Detector, text string) (from, to int) {
	secrets, _ := d.Detect([]byte(text))
	secret := reflect.Indirect(reflect.ValueOf(secrets[0]))
	for i := 0; secret.Kind() == reflect.Struct && i < secret.NumField(); i++ {
		if part := fmt.Sprint(secret.Field(i)); len(part) > to-from && strings.Contains(text, part) {
			from = strings.Index(text, part)
			to = from + len(part)
		}
	}
	return from, to
}

// freely returns the places in the secret at which another letter or digit of the same class
// makes another secret of the same kind.
func freely(d veles.Detector, text string) (free []int) {
	from, to := own(d, text)
	for i := from; i < to; i++ {
		of := class(text[i])
		if of == "" {
			continue
		}
		all := true
		for _, c := range []byte{of[1], of[5], of[len(of)-1]} {
			all = all && same(d, text[:i]+string(c)+text[i+1:], from, to)
		}
		if all {
			free = append(free, i)
		}
	}
	return free
}

// same reports whether a text has a secret in that place.
func same(d veles.Detector, text string, from, to int) bool {
	if !found(d, text) {
		return false
	}
	f, t := own(d, text)
	return f == from && t == to
}

// changed changes the text at these places.
func changed(text string, free []int, r *rand.Rand) string {
	other := []byte(text)
	for _, i := range free {
		of := class(text[i])
		if text[i] >= 'a' && text[i] <= 'f' && hexes(text, free) {
			of = "abcdef"
		}
		other[i] = of[r.IntN(len(of))]
	}
	return string(other)
}

// hexes reports whether the text has only hexadecimal digits at these places.
func hexes(text string, at []int) bool {
	return !slices.ContainsFunc(at, func(i int) bool { return strings.IndexByte("0123456789abcdefABCDEF", text[i]) < 0 })
}

// literals returns the constant texts in the tests of a directory.
func literals(dir string) (all []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		log.Fatalf("no tests in %s: %v", dir, err)
	}
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, file := range files {
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		if err != nil {
			log.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	info := types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	ignore := types.Config{Error: func(error) {}, Importer: nothing{}} // constants are typed without what is imported
	_, _ = ignore.Check(dir, fset, parsed, &info)
	for _, v := range info.Types {
		if v.Value != nil && v.Value.Kind() == constant.String {
			if text := constant.StringVal(v.Value); len(text) > 8 {
				all = append(all, text)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// nothing imports no package.
type nothing struct{}

func (nothing) Import(path string) (*types.Package, error) {
	return types.NewPackage(path, filepath.Base(path)), nil
}
