package secrets_test

import (
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// alphabets are what the letters in a template stand for.
var alphabets = map[byte]string{
	'd': "0123456789",
	'h': "0123456789abcdef",
	'H': "0123456789ABCDEF",
	'l': "abcdefghijklmnopqrstuvwxyz",
	'L': "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
	'a': "abcdefghijklmnopqrstuvwxyz0123456789",
	'A': "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
	't': "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
	'c': "qpzry9x8gf2tvdw0s3jn54khce6mua7l",
	'C': "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
	'w': "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
	's': "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_",
	'b': "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/",
	'k': "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
}

// published are the formats as their providers publish them, one to a line
// under each provider's name: <w36> is 36 characters of the alphabet w, <U> a
// UUID. They are written down apart from the scanner's own table, with the
// lengths that tokens have today.
const published = `
github: ghp_<w36> gho_<w36> ghu_<w36> ghs_<w36> ghr_<w36> ghr_<w76> github_pat_<w22>_<w59>
gitlab: glpat-<s20> glpat-<s27>.01.0<a7> gldt-<s20> glrt-<s20> glrtr-<s20> glptt-<h40> glft-<s20> glsoat-<s20> glagent-<s50> gloas-<h64> glcbt-<w2>_<s20> glimt-<s25> glffct-<s20> glwt-<s20> GR1348941<s20> _gitlab_session=<h32>
bitbucket: ATBB<w32> BBDC-<b44>
sourcegraph: sgp_<h16>_<h40> sgp_local_<h40> sgp_<h40> slk_<h64>
buildkite: bkua_<h40>
circleci: CCIPAT_<w22>_<h40> CCIPRJ_<w22>_<h40>
sonar: squ_<h40> sqp_<h40> sqa_<h40>
octopus: API-<A26>
harness: pat.<s22>.<h24>.<w20> sat.<s22>.<h24>.<w20>
infracost: ico-<w32>
npm: npm_<w36>
pypi: pypi-AgEIcHlwaS5vcmc<s150> pypi-AgENdGVzdC5weXBpLm9yZw<s150>
rubygems: rubygems_<h48>
crates-io: cio<w32>
nuget: oy2<a43>
clojars: CLOJARS_<a60>
packagist: packagist_uat_<h68> packagist_ack_<h68>
jfrog: AKCp<w69> cmVmdGtu<w56>
docker: dckr_pat_<s27> dckr_oat_<s32>
aws: AKIA<t16> ASIA<t16> ABIA<t16> ACCA<t16> ABSK<b128> aws_secret_access_key=<b40> AWS_SECRET_ACCESS_KEY:<b40> IQoJb3JpZ2luX2Vj<b400> X-Amz-Signature=<h64>
amazon: amzn.mws.<U> amzn1.oa2-cs.v1.<h64>
google: AIza<s35> GOCSPX-<s28> ya29.<s180> 1//0<s60> GOOG1E<A55> X-Goog-Signature=<h256> AQ.Ab8<s47>
azure: AccountKey=<b86>== SharedAccessKey=<b43>= sig=<b43>%3D <w52>JQQJ99<w26> <b76>+ASt<b6>== <b76>ACDb<b6>== <b33>+ASb<b6>= <b33>AIoT<b6>= <w44>AzFu<w6>== <w42>AzSe<w6> <w3>8Q~<s34>
digitalocean: dop_v1_<h64> doo_v1_<h64> dor_v1_<h64>
alibaba: LTAI<w20> LTAI<w12>
tencent: AKID<w32>
volcengine: AKLT<w43>
baidu: bce-v3/ALTAK-<w21>/<h40>
yandex: AQVN<s36> YCAJ<s21> YCP<s37> t1.9eu<s60>.<s86> y0_<s58>
exoscale: EXO<h24>
scaleway: SCW<A17>
upcloud: ucat_<A26>
heroku: HRKU-<U> HRKU-AA<s58>
fly-io: fo1_<s43> fm2_<b200> fm1r_<b200>
netlify: nfp_<w36> nfc_<w36> nfo_<w36> nfu_<w36>
vercel: vcp_<w56> vck_<w56> vci_<w56> vca_<w56> vcr_<w56> vercel_blob_rw_<w16>_<w30>
render: rnd_<w28>
deno: ddp_<w36>
cloudflare: cfk_<w48> cfut_<w48> cfat_<w48> v1.0-<h24>-<h146>
vault: hvs.<s24> hvs.<s95> hvb.<s138> hvr.<s95> s.<w24>
terraform: <w14>.atlasv1.<w67>
doppler: dp.pt.<w43> dp.st.dev.<w43> dp.st.<w43> dp.ct.<w43> dp.sa.<w43> dp.scim.<w43> dp.audit.<w43>
pulumi: pul-<h40>
infisical: st.<h24>.<h32>.<h32>
tailscale: tskey-auth-<w16>-<w32> tskey-api-<w16>-<w32> tskey-client-<w16>-<w32>
defined: dnkey-<A26>-<A52>
openshift: sha256~<s43>
new-relic: NRAK-<A27> NRII-<s32> NRIQ-<s32> NRAA-<h27> NRRA-<h42> NRJS-<h19>
grafana: glc_<b120> glsa_<w32>_<h8> eyJrIjoi<w80>
sentry: sntrys_<b120>_<b43> sntryu_<h64> sntrya_<h64>
datadog: ddpat_<w40> ddsat_<w40> ddapp_<w34>
dynatrace: dt0c01.<A24>.<A64> dt0s01.<A24>.<A64>
honeycomb: hcaik_<a58> hcamk_<a58>
axiom: xaat-<U> xapt-<U>
checkly: cu_<h32>
prefect: pnu_<a36> pnb_<a36>
launchdarkly: api-<U> sdk-<U>
posthog: phx_<w43>
statsig: secret-<w43> console-<w43>
segment: sgp_<w64>
ionic: ion_<w42>
openai: sess-<w40> sk-<w20>T3BlbkFJ<w20> sk-proj-<s74>T3BlbkFJ<s74> sk-svcacct-<s58>T3BlbkFJ<s58> sk-admin-<s58>T3BlbkFJ<s58>
anthropic: sk-ant-api03-<s93>AA sk-ant-admin01-<s93>AA sk-ant-oat01-<s93>AA sk-ant-sid01-<s93>AA
openrouter: sk-or-v1-<h64>
deepseek: sk-<h32>
moonshot: sk-<w48>
hugging-face: hf_<L34> api_org_<L34>
replicate: r8_<w37>
groq: gsk_<w52>
perplexity: pplx-<w48>
xai: xai-<w80>
fireworks: fw_<w24>
together: tgp_v1_<s43>
nvidia: nvapi-<s64>
cerebras: csk-<a48>
jina: jina_<s60>
pinecone: pcsk_<w6>_<w63>
voyage: pa-<s43>
elevenlabs: sk_<h48>
tavily: tvly-<w32>
context7: ctx7sk-<U>
telnyx: KEY<h32>_<w22>
stytch: secret-live-<s36>= secret-test-<s36>=
vk: vk1.a.<s190>
riot-games: RGAPI-<U>
wakatime: waka_<U> waka_tok_<w64>
zuplo: zpka_<h32>_<h8>
firecrawl: fc-<h32>
e2b: e2b_<h40>
langsmith: lsv2_pt_<h32>_<h10> lsv2_sk_<h32>_<h10>
langfuse: sk-lf-<U>
wandb: wandb_v1_<w76>
anyscale: esecret_<a26>
runpod: rpa_<A44>
apify: apify_api_<w36>
slack: xoxb-<d12>-<d13>-<w24> xoxp-<d12>-<d12>-<d13>-<h32> xoxa-2-<d12>-<d12>-<d12>-<h32> xoxr-<d12>-<d12>-<w24> xoxs-<d12>-<d12>-<d12>-<h10> xoxe-1-<w146> xoxe.xoxp-1-<w163> xoxc-<d12>-<d12>-<d12>-<h64> xoxd-<w120> xapp-1-A<A10>-<d13>-<h64> https://hooks.slack.com/services/T<A10>/B<A10>/<w24> https://hooks.slack.com/workflows/T<A10>/A<A10>/<d18>/<w24>
teams: https://acme.webhook.office.com/webhookb2/<U>@<U>/IncomingWebhook/<h32>/<U>
discord: https://discord.com/api/webhooks/<d19>/<s68> mfa.<s84>
telegram: <d9>:AA<s33> <d10>:AA<s33> https://api.telegram.org/bot<d10>:AA<s33>/sendMessage
zapier: https://hooks.zapier.com/hooks/catch/<d7>/<a7>/
twilio: SK<h32>
sendgrid: SG.<s22>.<s43>
mailgun: key-<h32> <h32>-<h8>-<h8>
mailchimp: <h32>-us<d2> <h32>-us4
mandrill: md-<s22>
brevo: xkeysib-<h64>-<w16> xsmtpsib-<h64>-<w16>
resend: re_<w8>_<w24>
mailersend: mlsn.<h64>
facebook: EAA<w160>
twitter: AAAAAAAAAAAAAAAAAAAAA<w80>
stripe: sk_live_<w24> sk_test_<w99> rk_live_<w24> rk_test_<w99> whsec_<w32>
shopify: shpat_<h32> shpca_<h32> shppa_<h32> shpss_<h32> shpua_<h32>
square: sq0atp-<s22> sq0csp-<s43> EAAA<s60>
braintree: access_token$production$<a16>$<h32> access_token$sandbox$<a16>$<h32>
razorpay: rzp_live_<w14> rzp_test_<w14>
flutterwave: FLWSECK-<h32>-X FLWSECK_TEST-<h32>-X
plaid: access-production-<U> access-sandbox-<U>
gocardless: live_<s40> sandbox_<s40>
lob: live_<h35> test_<h35>
mollie: live_<w30> test_<w30>
easypost: EZAK<w54> EZTK<w54>
shippo: shippo_live_<h40> shippo_test_<h40>
paddle: pdl_live_apikey_<a26>_<w22>_<w3> pdl_sdbx_apikey_<a26>_<w22>_<w3>
duffel: duffel_live_<s43> duffel_test_<s43>
adyen: AQEyhm<w100>
checkout: sk_<a26> sk_sbox_<a26>
atlassian: ATATT3xFfGF0<s168>=<H8> ATCTT3xFfG<s168>=<H8>
trello: ATTA<h64><H8>
linear: lin_api_<w40> lin_oauth_<h64>
notion: ntn_<d11><w35> secret_<w43>
figma: figd_<s40> figu_<s40>
airtable: pat<w14>.<h64>
asana: 1/<d16>:<h32> 2/<d16>/<d16>:<h32>
dropbox: sl.<s140> sl.u.<s140>
clickup: pk_<d8>_<A32>
klaviyo: pk_<h34>
intercom: dG9rO<w55>
hubspot: pat-na1-<U> pat-eu1-<U>
typeform: tfp_<s59>
contentful: CFPAT-<s43>
postman: PMAK-<h24>-<h34>
readme: rdme_<a70>
frameio: fio-u-<s64>
sanity: sk<w180>
mapbox: sk.eyJ<w80>.<s22>
adafruit: aio_<w28>
settlemint: sm_aat_<w16> sm_pat_<w16>
okta: SSWS 00<s40>
databricks: dapi<h32> dapi<h32>-2 dkea<h32>
planetscale: pscale_tkn_<s43> pscale_pw_<s43> pscale_oauth_<s43>
supabase: sbp_<h40> sb_secret_<s31>
neon: napi_<a64>
mongodb: mdb_sa_sk_<s40>
aiven: AVNS_<s19>
dbt: dbtc_<w43> dbtu_<s43>
elastic: essu_<b64>
1password: ops_eyJ<w300> A3-<A6>-<A6>-<A5>-<A5>-<A5>-<A5> A3-<A6>-<A11>-<A5>-<A5>-<A5>
private-key: AGE-SECRET-KEY-1<C58> age-secret-key-1<c58> nsec1<c58> xprv<k107> b3BlbnNzaC1rZXktdjEA<b200> MIGHAgEAMBMGByqGSM49AgEG<b120> PRIVATE+KEY+example.com/log+<h8>+<b44>
password-hash: $2b$12$<w53> $2a$10$<w53> $argon2id$v=19$m=65536,t=3,p=4$<w22>$<w43> $6$<w16>$<w86>
linkedin: WPL_AP1.<w16>.<w6>==
lark: https://open.feishu.cn/open-apis/bot/v2/hook/<U>
instagram: IGQV<w150>
snyk: snyk_uat.<h8>.<s60>
jsr: jsrp_<w48>
`

// maker makes samples of the published formats, the same in every run.
type maker struct{ *rand.Rand }

func newMaker() maker { return maker{rand.New(rand.NewPCG(4, 2))} }

func (m maker) of(letter byte, n int) string {
	alphabet := alphabets[letter]
	out := make([]byte, n)
	for i := range out {
		out[i] = alphabet[m.IntN(len(alphabet))]
	}
	return string(out)
}

func (m maker) uuid() string {
	return strings.Join([]string{m.of('h', 8), m.of('h', 4), "4" + m.of('h', 3), "a" + m.of('h', 3), m.of('h', 12)}, "-")
}

// fill makes a sample of a template.
func (m maker) fill(template string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(template, "<")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		spec, after, _ := strings.Cut(rest, ">")
		if spec == "U" {
			out.WriteString(m.uuid())
		} else {
			n, err := strconv.Atoi(spec[1:])
			if err != nil {
				panic(err)
			}
			out.WriteString(m.of(spec[0], n))
		}
		template = after
	}
}

// checked makes GitHub's tokens as they are made: 30 characters, and the CRC-32
// of them in base 62.
func (m maker) checked(prefix string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := m.of('w', 30)
	sum := crc32.ChecksumIEEE([]byte(body))
	check := make([]byte, 6)
	for i := range check {
		check[5-i] = digits[sum%62]
		sum /= 62
	}
	return prefix + body + string(check)
}

// templates returns the published formats by provider.
func templates() map[string][]string {
	all := make(map[string][]string)
	for line := range strings.Lines(strings.TrimSpace(published)) {
		provider, formats, _ := strings.Cut(strings.TrimSpace(line), ": ")
		formats = strings.ReplaceAll(formats, "SSWS ", "SSWS\x00")
		for format := range strings.FieldsSeq(formats) {
			all[provider] = append(all[provider], strings.ReplaceAll(format, "\x00", " "))
		}
	}
	return all
}

// samples makes n of each format.
func (m maker) samples(n int) map[string][]string {
	made := make(map[string][]string)
	all := templates()
	for _, provider := range slices.Sorted(maps.Keys(all)) {
		for _, template := range all[provider] {
			for range n {
				made[provider] = append(made[provider], m.fill(template))
			}
		}
	}
	for range n {
		made["github"] = append(made["github"], m.checked("gh"+"p_"), m.checked("gh"+"s_"))
		made["discord"] = append(made["discord"], m.botToken())
	}
	return made
}

func (m maker) botToken() string {
	id := strconv.Itoa(1+m.IntN(9)) + m.of('d', 17+m.IntN(2))
	return encoding.EncodeToString([]byte(id)) + "." + m.of('s', 6) + "." + m.of('s', 38)
}

// surroundings are where secrets are found, %s being one.
var surroundings = []string{
	"%s", "the token %s was refused", "%s at the start", "at the end %s", `{"token":"%s"}`, `{\"token\":\"%s\"}`,
	"'%s'", "TOKEN=%s", "token: %s", "line one\n%s\nline two", `line one\n%s\nline two`, "(%s)", "<%s>", "a,%s,b",
	"https://example.com/cb?token=%s&x=1", "https%%3A%%2F%%2Fexample.com%%3Ftoken%%3D%s%%26x", "“%s”", "key\t%s\r\n",
	"\x1b[31m%s\x1b[0m", "`%s`", `\u003c%s\u003e`, "[%s]", "x=%s;y=2", "--token=%s",
}

func TestEverySampleOfEveryProviderIsFoundWhereverItStands(t *testing.T) {
	const each = 12
	s := newScanner(t, nil)
	made := newMaker().samples(each)
	all, allFound, formats := 0, 0, 0
	for _, provider := range slices.Sorted(maps.Keys(made)) {
		found := 0
		var missed []string
		for _, sample := range made[provider] {
			for _, around := range surroundings {
				if _, ok := s.Find(fmt.Sprintf(around, sample)); ok {
					found++
				} else {
					missed = append(missed, fmt.Sprintf(around, sample))
				}
			}
		}
		total := len(made[provider]) * len(surroundings)
		t.Logf("%-16s %5d/%d", provider, found, total)
		if !s.Known(provider) {
			t.Errorf("there is no rule %q", provider)
		}
		if len(missed) > 0 {
			t.Errorf("%s: %d missed, among them %q", provider, len(missed), missed[0])
		}
		all, allFound, formats = all+total, allFound+found, formats+len(made[provider])/each
	}
	t.Logf("%d providers, %d formats, %d/%d", len(made), formats, allFound, all)
	require.GreaterOrEqual(t, formats, 100)
}

func TestWhatIsNotQuiteATokenIsNotFound(t *testing.T) {
	s := newScanner(t, nil)
	made := newMaker().samples(4)
	for _, provider := range slices.Sorted(maps.Keys(made)) {
		for _, sample := range made[provider] {
			short := sample[:min(len(sample)/2, 14)]
			rule, found := s.Find(short)
			require.False(t, found && rule != "named-credential", "too short, as %s: %q", rule, short)
			broken := breakUp(sample)
			rule, found = s.Find(broken)
			require.False(t, found && rule != "named-credential", "wrong alphabet, as %s: %q", rule, broken)
		}
	}
}

// breakUp puts a character that belongs to no alphabet between any five.
func breakUp(sample string) string {
	var out strings.Builder
	for part := range slices.Chunk([]byte(sample), 5) {
		out.Write(part)
		out.WriteByte('!')
	}
	return out.String()
}

func TestAPrefixInsideALongerWordIsNotFound(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	for _, template := range []string{
		"gh" + "p_<w36>", "AKIA<t16>", "AIza<s35>", "npm_<w36>", "sk_live_<w24>", "dop_v1_<h64>", "xoxb-<d12>-<d13>-<w24>", "SK<h32>",
		"hf_<L34>", "SG.<s22>.<s43>", "glpat-<s20>", "hvs.<s24>", "lin_api_<w40>", "shpat_<h32>", "PMAK-<h24>-<h34>",
	} {
		for range 20 {
			sample := m.of('w', 3) + m.fill(template)
			rule, found := s.Find(sample)
			require.False(t, found, "%s: %q", rule, sample)
		}
	}
	// An exact length is exact where the prefix could be a part of a word.
	for _, template := range []string{"AKIA<t17>", "SK<h33>", "cio<w33>"} {
		sample := m.fill(template)
		rule, found := s.Find(sample)
		require.False(t, found, "%s: %q", rule, sample)
	}
}

// A token may have been cut, or be of a longer kind than is known.
func TestAnUnmistakablePrefixIsEnough(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	for _, prefix := range []string{
		"gh" + "p_", "github_pat_", "glpat-", "npm_", "dckr_pat_", "shpat_", "xoxb-", "sk_live_", "dop_v1_", "hvs.", "lin_api_", "pypi-AgE", "sk-ant-", "nvapi-", "glsa_", "sntrys_", "rubygems_", "figd_", "PMAK-", "sbp_",
	} {
		for _, size := range []int{20, 24, 29, 37, 61, 130} {
			sample := prefix + m.of('w', size)
			if !strings.HasSuffix(prefix, "E") {
				_, found := s.Find("token " + sample + "…")
				require.True(t, found, "%q", sample)
			}
		}
	}
	for _, name := range []string{
		"task_test_0123456789abcdef0123456789abcdef012", "icon-key-0123456789abcdef0123456789abcdef.png", "fc-0123456789abcdef0123456789abcdef.svg",
		"npm_config_registry_of_the_company", "test_this_function_with_a_long_name_v2",
	} {
		requireNone(t, s, name)
	}
}

func TestHexadecimalMayBeInCapitals(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	for _, sample := range []string{
		strings.ToLower(m.fill("AGE-SECRET-KEY-1<C58>")),
		m.fill("shpat_<H32>"),
		m.fill("pat-na1-") + strings.ToUpper(m.uuid()),
		m.fill("dop_v1_<H64>"),
		m.fill("SK<H32>"),
	} {
		_, found := s.Find("is " + sample + ".")
		require.True(t, found, sample)
	}
}

func TestAMaskIsNoSecret(t *testing.T) {
	s := newScanner(t, nil)
	for _, text := range []string{
		"gh" + "p_" + strings.Repeat("x", 36), "AKIA" + strings.Repeat("X", 16), "sk_live_" + strings.Repeat("*", 24),
		"https://user:xxxxx@example.com/", "https://user:***@example.com", "https://user:${PASSWORD}@example.com",
		"https://user:%s@example.com", "https://user:<password>@example.com", "Bearer <token>", "Bearer ${TOKEN_OF_THE_SERVICE_1}",
	} {
		rule, found := s.Find(text)
		require.False(t, found, "%s: %q", rule, text)
	}
}
