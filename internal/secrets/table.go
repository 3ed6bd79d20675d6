package secrets

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
)

// row is one published format of a provider's tokens: its prefixes, and the
// pattern of what follows each of them. The rule is the provider's name. A
// number of characters is exact where the provider says so; where it says that
// tokens may grow, or nothing, a prefix that cannot be mistaken is followed by
// a minimum. A weak row's prefix is short or common.
type row struct {
	rule     string
	prefixes string
	rest     string
	weak     bool
}

// What rows have in common.
const (
	hex    = "[0-9A-Fa-f]"
	alnum  = "[0-9A-Za-z]"
	url64  = "[0-9A-Za-z_-]"
	uuidRE = hex + "{8}-" + hex + "{4}-" + hex + "{4}-" + hex + "{4}-" + hex + "{12}"
)

// table returns every row. Sources are the providers' own documentation, and
// the formats they registered for GitHub's secret scanning partner program and
// GitLab's secret detection, as those list them.
func table() []row {
	var all []row
	for _, part := range [][]row{code, packages, clouds, platforms, models, messaging, money, work, data, keys} {
		all = append(all, part...)
	}
	return all
}

// code: source code, its hosts and pipelines.
var code = []row{
	// GitHub: "About authentication to GitHub", token formats; tokens may
	// grow to 255 characters.
	{rule: "github", prefixes: "ghp_ gho_ ghu_ ghs_ ghr_", rest: alnum + "{36,}"},
	{rule: "github", prefixes: "github_pat_", rest: `[0-9A-Za-z_]{60,}`},
	// GitLab: "Token overview", token prefixes.
	{rule: "gitlab", prefixes: "glpat- gldt- glrt- glrtr- glft- glsoat- glagent- glimt- glffct- glwt- glcbt-", rest: `[0-9A-Za-z_.=-]{20,}`},
	{rule: "gitlab", prefixes: "glptt-", rest: hex + "{40,}"},
	{rule: "gitlab", prefixes: "gloas-", rest: url64 + "{64,}"},
	{rule: "gitlab", prefixes: "GR1348941", rest: url64 + "{20,}"},
	{rule: "gitlab", prefixes: "gitlab_session= gitlab_session%3D", rest: alnum + "{32}"},
	{rule: "bitbucket", prefixes: "ATBB", rest: alnum + "{32}", weak: true},
	{rule: "bitbucket", prefixes: "BBDC-", rest: `[0-9A-Za-z+/]{40,50}`},
	{rule: "sourcegraph", prefixes: "sgp_", rest: alnum + "{16,64}_" + hex + "{40}"},
	{rule: "sourcegraph", prefixes: "sgp_ sgp_local_", rest: hex + "{40}"},
	{rule: "sourcegraph", prefixes: "slk_ sgs_ sgd_", rest: hex + "{64}"},
	{rule: "buildkite", prefixes: "bkua_ bkct_ bkpt_ bkpi_", rest: hex + "{40}"},
	{rule: "circleci", prefixes: "CCIPAT_ CCIPRJ_", rest: alnum + "{22}_" + hex + "{40}"},
	{rule: "sonar", prefixes: "squ_ sqp_ sqa_", rest: hex + "{40}"},
	{rule: "snyk", prefixes: "snyk_uat. snyk_sat.", rest: hex + `{8}\.[0-9A-Za-z_.-]{40,}`},
	{rule: "octopus", prefixes: "API-", rest: "[0-9A-Z]{25,31}"},
	{rule: "harness", prefixes: "pat. sat.", rest: url64 + `{22}\.` + alnum + `{24}\.` + alnum + "{20}"},
	{rule: "intra42", prefixes: "s-s4t2ud- s-s4t2af-", rest: hex + "{64}"},
	{rule: "infracost", prefixes: "ico-", rest: alnum + "{32}"},
	{rule: "infracost", prefixes: "ics_", rest: `v1_[0-9A-Za-z_-]{40,}`},
	{rule: "teamcity", prefixes: "eyJ0eXAiOiAiVENWMiJ9.", rest: url64 + "{20,}"},
	{rule: "cursor", prefixes: "key_", rest: "[0-9a-f]{64}"},
	{rule: "cursor", prefixes: "key_ crsr_", rest: "[0-9a-z]{64}"},
	{rule: "endor", prefixes: "endr+", rest: alnum + "{16,}", weak: true},
}

// packages: registries of packages and images.
var packages = []row{
	{rule: "npm", prefixes: "npm_", rest: alnum + "{36}"},
	{rule: "npm", prefixes: "registry.npmjs.org/:_authToken=", rest: `[0-9A-Za-z_-]{36}`},
	{rule: "pypi", prefixes: "pypi-AgE", rest: url64 + "{50,}"}, // a macaroon for pypi.org or its test instance
	{rule: "pypi", prefixes: "pypi-", rest: url64 + "{85,}"},
	{rule: "rubygems", prefixes: "rubygems_", rest: hex + "{48}"},
	{rule: "crates-io", prefixes: "cio", rest: alnum + "{32}", weak: true},
	{rule: "nuget", prefixes: "oy2", rest: "[0-9a-z]{43}", weak: true},
	{rule: "clojars", prefixes: "CLOJARS_", rest: "[0-9a-z]{60}"},
	{rule: "packagist", prefixes: "packagist_ack_ packagist_acs_ packagist_out_ packagist_orc_ packagist_uat_ packagist_ort_ packagist_uut_ packagist_cut_", rest: "[0-9a-f]{28,}"},
	{rule: "jfrog", prefixes: "AKCp", rest: alnum + "{69}"},
	{rule: "jfrog", prefixes: "cmVmdGtu", rest: alnum + "{56}"}, // "reftkn" in base64
	{rule: "jfrog", prefixes: "cmVmd", rest: alnum + "{59}", weak: true},
	{rule: "docker", prefixes: "dckr_pat_ dckr_oat_", rest: url64 + "{27,}"},
	{rule: "jsr", prefixes: "jsrp_ jsrd_", rest: alnum + "{32,}"},
}

// clouds: where the machines are rented.
var clouds = []row{
	// AWS: "IAM identifiers", unique ID prefixes. Secret keys have no shape of
	// their own; behind their name they do.
	{rule: "aws", prefixes: "AKIA ASIA ABIA ACCA", rest: "[0-9A-Z]{16}"},
	{rule: "aws", prefixes: "ABSK", rest: `[0-9A-Za-z+/]{109,269}`},
	{rule: "aws", prefixes: "bedrock-api-key-", rest: `[0-9A-Za-z+/=]{27,}`},
	{rule: "aws", prefixes: "IQoJb3JpZ2lu FwoGZXIvYXdz FQoGZXIvYXdz", rest: `[0-9A-Za-z+/=%]{64,}`}, // session tokens
	{rule: "aws", prefixes: "(?i)aws_secret_access_key (?i)aws-secret-access-key (?i)awsSecretAccessKey (?i)SecretAccessKey", rest: `["'\\ :=>]{1,8}[0-9A-Za-z+/]{40}`},
	{rule: "aws", prefixes: "X-Amz-Signature=", rest: hex + "{64}"}, // a signed URL is a capability
	{rule: "amazon", prefixes: "amzn.mws.", rest: uuidRE},
	{rule: "amazon", prefixes: "amzn1.oa2-cs.v1.", rest: hex + "{64}"},
	{rule: "amazon", prefixes: "Atza|IwEB Atzr|IwEB", rest: url64 + "{60,}"},
	// Google Cloud: "API keys", "OAuth 2.0 clients", "HMAC keys".
	{rule: "google", prefixes: "AIza", rest: url64 + "{35,}"},
	{rule: "google", prefixes: "AQ.Ab8", rest: url64 + "{40,}"},
	{rule: "google", prefixes: "GOCSPX-", rest: url64 + "{28}"},
	{rule: "google", prefixes: "ya29.", rest: `[0-9A-Za-z_.-]{30,}`},
	{rule: "google", prefixes: "1//0", rest: url64 + "{40,}"}, // refresh tokens
	{rule: "google", prefixes: "4/0A", rest: url64 + "{60,}"}, // authorization codes
	{rule: "google", prefixes: "GOOG1E", rest: "[0-9A-Z]{55}"},
	{rule: "google", prefixes: "GOOG", rest: "[0-9A-Z]{20}", weak: true},
	{rule: "google", prefixes: "GOOG", rest: "[0-9A-Z]{57}", weak: true},
	{rule: "google", prefixes: "X-Goog-Signature=", rest: hex + "{64,}"},
	// Azure: connection strings and shared access signatures; what has its
	// mark elsewhere than at its beginning is in word.go.
	{rule: "azure", prefixes: "(?i)AccountKey= (?i)SharedAccessKey=", rest: `[0-9A-Za-z+/=]{43,}`},
	{rule: "azure", prefixes: "sig=", rest: `[0-9A-Za-z%+/]{44,72}`, weak: true},
	{rule: "digitalocean", prefixes: "dop_v1_ doo_v1_ dor_v1_", rest: hex + "{64}"},
	{rule: "alibaba", prefixes: "LTAI", rest: alnum + "{17,21}", weak: true},
	{rule: "alibaba", prefixes: "LTAI", rest: alnum + "{12}", weak: true},
	{rule: "tencent", prefixes: "AKID", rest: alnum + "{32,44}", weak: true},
	{rule: "volcengine", prefixes: "AKLT", rest: url64 + "{40,60}", weak: true},
	{rule: "baidu", prefixes: "bce-v3/ALTAK-", rest: alnum + "{21}/" + hex + "{40}"},
	{rule: "yandex", prefixes: "AQVN", rest: url64 + "{35,38}", weak: true},
	{rule: "yandex", prefixes: "YCAJ", rest: url64 + "{21}", weak: true},
	{rule: "yandex", prefixes: "YCM YCN YCO YCP", rest: url64 + "{37}", weak: true},
	{rule: "yandex", prefixes: "t1.9eu", rest: `[0-9A-Za-z_=-]{20,500}\.[0-9A-Za-z_=-]{60,}`},
	{rule: "yandex", prefixes: "y0_ y1_ y2_ y3_", rest: url64 + "{50,}", weak: true},
	{rule: "exoscale", prefixes: "EXO", rest: hex + "{24}", weak: true},
	{rule: "scaleway", prefixes: "SCW", rest: "[0-9A-Z]{17}", weak: true},
	{rule: "adobe", prefixes: "p8e-", rest: alnum + "{32}", weak: true},
	{rule: "clickhouse", prefixes: "4b1d", rest: alnum + "{38}", weak: true},
	{rule: "scalingo", prefixes: "tk-us- tk-eu-", rest: url64 + "{48}"},
	{rule: "upcloud", prefixes: "ucat_", rest: "[0-9A-Z]{26}"},
	{rule: "aws", prefixes: "da2-", rest: "[0-9a-z]{26}"}, // AppSync
	{rule: "digitalocean", prefixes: "DO00", rest: "[0-9A-Z]{16}", weak: true},
	{rule: "akamai", prefixes: "akab-", rest: `[0-9a-z]{16}-[0-9a-z]{16}`},
	{rule: "jdcloud", prefixes: "JDC_", rest: "[0-9A-Z]{28}"},
}

// platforms: hosting, infrastructure, networks, observation.
var platforms = []row{
	{rule: "heroku", prefixes: "HRKU-", rest: `[0-9A-Za-z_-]{36,}`},
	{rule: "fly-io", prefixes: "fo1_", rest: url64 + "{43}"},
	{rule: "fly-io", prefixes: "fm1r_ fm1a_ fm2_", rest: `[0-9A-Za-z+/=,%_-]{100,}`},
	{rule: "netlify", prefixes: "nfp_ nfc_ nfo_ nfu_ nfb_", rest: alnum + "{36}"},
	{rule: "vercel", prefixes: "vcp_ vci_ vca_ vcr_ vck_", rest: alnum + "{24,64}", weak: true},
	{rule: "vercel", prefixes: "vercel_blob_rw_", rest: alnum + "{16,64}_" + alnum + "{20,}"},
	{rule: "render", prefixes: "rnd_", rest: alnum + "{28,32}"},
	{rule: "deno", prefixes: "ddp_ ddw_ ddo_", rest: alnum + "{36}"},
	// Cloudflare: "Token formats": 40 characters and a checksum.
	{rule: "cloudflare", prefixes: "cfk_ cfut_ cfat_", rest: url64 + "{40,}"},
	{rule: "cloudflare", prefixes: "v1.0-", rest: hex + "{24}-" + hex + "{146}"},
	{rule: "vault", prefixes: "hvs. hvb. hvr.", rest: url64 + "{24,}"},
	{rule: "vault", prefixes: "s. b. r.", rest: alnum + "{24}", weak: true},
	{rule: "doppler", prefixes: "dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit. dp.said.", rest: alnum + "{40,44}"},
	{rule: "doppler", prefixes: "dp.st.", rest: `[0-9a-z_-]{2,35}\.` + alnum + "{40,44}"},
	{rule: "pulumi", prefixes: "pul-", rest: hex + "{40}"},
	{rule: "infisical", prefixes: "st.", rest: hex + `{24}\.` + hex + `{32}\.` + hex + "{32}"},
	{rule: "tailscale", prefixes: "tskey-", rest: `[a-z]{2,10}-[0-9A-Za-z]{10,64}-[0-9A-Za-z]{16,}`},
	{rule: "defined", prefixes: "dnkey-", rest: `[0-9A-Za-z=_-]{60,}`},
	{rule: "openshift", prefixes: "sha256~", rest: url64 + "{43}"},
	{rule: "new-relic", prefixes: "NRAK-", rest: "[0-9A-Z]{27}"},
	{rule: "new-relic", prefixes: "NRII- NRIQ- NRSP- NRBR-", rest: url64 + "{32}"},
	{rule: "new-relic", prefixes: "NRAA- NRRA- NRJS-", rest: hex + "{19,42}"},
	{rule: "grafana", prefixes: "glc_", rest: `[0-9A-Za-z+/=]{32,}`},
	{rule: "grafana", prefixes: "glsa_", rest: alnum + "{32}_" + hex + "{8}"},
	{rule: "grafana", prefixes: "eyJrIjoi", rest: `[0-9A-Za-z+/=]{60,}`}, // {"k":" in base64
	{rule: "sentry", prefixes: "sntrys_", rest: `[0-9A-Za-z+/=_]{60,}`},
	{rule: "sentry", prefixes: "sntryu_ sntrya_ sntryi_ sntryr_", rest: hex + "{64}"},
	{rule: "datadog", prefixes: "ddapp_ ddap_ ddpat_ ddsat_", rest: alnum + "{32,}"},
	{rule: "dynatrace", prefixes: "dt0a01 dt0c01 dt0e01 dt0s01 dt0s02 dt0s03 dt0s04 dt0s06 dt0s08 dt0s16", rest: `\.[0-9A-Za-z]{8,24}\.[0-9A-Za-z]{64}`},
	{rule: "honeycomb", prefixes: "hcaik_ hcxik_ hcaic_ hcamk_ hcxmk_", rest: "[0-9a-z]{52,64}"},
	{rule: "axiom", prefixes: "xaat- xapt-", rest: uuidRE},
	{rule: "checkly", prefixes: "cu_", rest: hex + "{32}"},
	{rule: "prefect", prefixes: "pnu_ pnb_", rest: alnum + "{36}"},
	{rule: "launchdarkly", prefixes: "api- sdk-", rest: uuidRE, weak: true},
	{rule: "posthog", prefixes: "phx_ phs_", rest: alnum + "{40,50}"},
	{rule: "statsig", prefixes: "secret- console-", rest: alnum + "{40,50}", weak: true},
	{rule: "segment", prefixes: "sgp_", rest: alnum + "{64}"},
	{rule: "ionic", prefixes: "ion_", rest: alnum + "{42}"},
	{rule: "telnyx", prefixes: "KEY", rest: hex + "{32}_" + alnum + "{22}"},
	{rule: "stytch", prefixes: "secret-live- secret-test-", rest: url64 + "{36}="},
	{rule: "vk", prefixes: "vk1.a.", rest: url64 + "{80,}"},
	{rule: "riot-games", prefixes: "RGAPI-", rest: uuidRE},
	{rule: "wakatime", prefixes: "waka_", rest: uuidRE},
	{rule: "wakatime", prefixes: "waka_sec_ waka_tok_", rest: alnum + "{60,}"},
	{rule: "zuplo", prefixes: "zpka_", rest: hex + "{32}_" + hex + "{8}"},
	{rule: "pagerduty", prefixes: "pdus+ pdeu+", rest: `_[0-9A-Z]{6,10}_[0-9A-Za-z+-]{30,}`},
	{rule: "netbird", prefixes: "nbp_", rest: alnum + "{36}"},
	{rule: "configcat", prefixes: "configcat-sdk-1/", rest: url64 + "{22}/" + url64 + "{22}"},
	{rule: "n8n", prefixes: "n8n_api_", rest: hex + "{80}"},
	{rule: "cloudflare", prefixes: "v4.0-", rest: hex + "{24}-" + hex + "{100,}"},
}

// models: machine learning.
var models = []row{
	{rule: "openai", prefixes: "sk-proj- sk-svcacct- sk-admin- sk-None-", rest: url64 + "{40,}", weak: true},
	{rule: "openai", prefixes: "sk-", rest: alnum + "{20}T3BlbkFJ" + alnum + "{20}"},
	{rule: "openai", prefixes: "sk-", rest: url64 + "{40,}", weak: true}, // and many others
	{rule: "pyx", prefixes: "sk-pyx-", rest: alnum + "{40,}"},
	{rule: "anthropic", prefixes: "sk-ant-", rest: `[0-9A-Za-z_-]{40,}`},
	{rule: "openrouter", prefixes: "sk-or-", rest: `v[0-9]{1,3}-[0-9A-Za-z_-]{20,}`},
	{rule: "deepseek", prefixes: "sk-", rest: hex + "{32}"},
	{rule: "moonshot", prefixes: "sk- sk-kimi-", rest: alnum + "{48,}", weak: true}, // and Stability AI
	{rule: "hugging-face", prefixes: "hf_ api_org_", rest: "[A-Za-z]{34,}"},
	{rule: "replicate", prefixes: "r8_", rest: alnum + "{37}"},
	{rule: "groq", prefixes: "gsk_", rest: alnum + "{52}"},
	{rule: "perplexity", prefixes: "pplx-", rest: alnum + "{48,56}"},
	{rule: "xai", prefixes: "xai- xai-token-", rest: alnum + "{70,90}"},
	{rule: "fireworks", prefixes: "fw_", rest: alnum + "{22,24}", weak: true},
	{rule: "together", prefixes: "tgp_v1_", rest: url64 + "{43}"},
	{rule: "nvidia", prefixes: "nvapi-", rest: url64 + "{60,}"},
	{rule: "cerebras", prefixes: "csk-", rest: "[0-9a-z]{48}"},
	{rule: "jina", prefixes: "jina_", rest: url64 + "{60}"},
	{rule: "pinecone", prefixes: "pcsk_", rest: alnum + "{5,6}_" + alnum + "{50,70}"},
	{rule: "voyage", prefixes: "pa- al-", rest: url64 + "{43}", weak: true},
	{rule: "elevenlabs", prefixes: "sk_", rest: hex + "{48}"},
	{rule: "openai", prefixes: "sess-", rest: alnum + "{40}"}, // a session of its web pages
	{rule: "context7", prefixes: "ctx7sk-", rest: uuidRE},
	{rule: "tavily", prefixes: "tvly-", rest: `[0-9A-Za-z-]{32,}`},
	{rule: "firecrawl", prefixes: "fc-", rest: hex + "{32}"},
	{rule: "e2b", prefixes: "e2b_", rest: hex + "{40}"},
	{rule: "langsmith", prefixes: "lsv2_pt_ lsv2_sk_", rest: hex + "{32}_" + hex + "{10}"},
	{rule: "langfuse", prefixes: "sk-lf-", rest: uuidRE},
	{rule: "wandb", prefixes: "wandb_v1_", rest: `[0-9A-Za-z_]{60,}`},
	{rule: "anyscale", prefixes: "esecret_", rest: alnum + "{24,}"},
	{rule: "runpod", prefixes: "rpa_", rest: "[0-9A-Z]{36,50}", weak: true},
	{rule: "apify", prefixes: "apify_api_", rest: alnum + "{34,}"},
	{rule: "brave", prefixes: "BSA", rest: url64 + "{28}", weak: true},
	{rule: "browserbase", prefixes: "bb_live_ bb_test_", rest: `[0-9A-Za-z_-]{20,}`},
	{rule: "mem0", prefixes: "m0-", rest: alnum + "{40}"},
	{rule: "modal", prefixes: "as- ak-", rest: alnum + "{22}", weak: true},
}

// messaging: chat, mail, telephony.
var messaging = []row{
	// Slack: "Tokens"; and its webhook URLs.
	{rule: "slack", prefixes: "xoxb- xoxp- xoxa- xoxr- xoxs- xoxo- xoxc- xoxd- xoxe- xoxe.xoxb- xoxe.xoxp-", rest: `[0-9A-Za-z%+/=-]{20,}`},
	{rule: "slack", prefixes: "xoxa- xoxr-", rest: `[0-9A-Za-z-]{10,}`},
	{rule: "slack", prefixes: "xwfp-", rest: `[0-9A-Za-z-]{40,}`},
	{rule: "slack", prefixes: "xapp-", rest: `[0-9]{1,10}-[0-9A-Za-z-]{40,}`},
	{rule: "slack", prefixes: "hooks.slack.com/services/ hooks.slack.com/workflows/ hooks.slack.com/triggers/", rest: `[0-9A-Za-z/+]{30,}`},
	{rule: "teams", prefixes: "webhook.office.com/webhookb2/ outlook.office.com/webhook/", rest: uuidRE + "@" + uuidRE + `/[A-Za-z]{8,24}/` + hex + "{32}"},
	{rule: "discord", prefixes: "discord.com/api/webhooks/ discordapp.com/api/webhooks/", rest: `[0-9]{17,20}/[0-9A-Za-z_-]{60,72}`},
	{rule: "discord", prefixes: "mfa.", rest: url64 + "{80,}", weak: true},
	// Telegram's tokens without the path's "bot" are in word.go.
	{rule: "telegram", prefixes: "bot", rest: `[0-9]{8,10}:[0-9A-Za-z_-]{35}`},
	{rule: "zapier", prefixes: "hooks.zapier.com/hooks/catch/", rest: `[0-9]{4,12}/[0-9a-z]{6,}`},
	{rule: "twilio", prefixes: "SK", rest: hex + "{32}"},
	{rule: "sendgrid", prefixes: "SG.", rest: url64 + `{16,32}\.` + url64 + "{16,64}"},
	{rule: "sendgrid", prefixes: "SG.", rest: `[0-9A-Za-z_=.-]{66}`, weak: true},
	{rule: "mailgun", prefixes: "key-", rest: hex + "{32}"},
	{rule: "mandrill", prefixes: "md-", rest: url64 + "{22}", weak: true},
	{rule: "brevo", prefixes: "xkeysib- xsmtpsib-", rest: hex + "{64}-" + alnum + "{16}"},
	{rule: "resend", prefixes: "re_", rest: alnum + "{8}_" + alnum + "{24}", weak: true},
	{rule: "mailersend", prefixes: "mlsn.", rest: hex + "{64}"},
	{rule: "facebook", prefixes: "EAA", rest: alnum + "{80,}", weak: true},
	{rule: "instagram", prefixes: "IGQV IGQW IGAA", rest: `[0-9A-Za-z_-]{80,}`, weak: true},
	{rule: "twitter", prefixes: "AAAAAAAAAAAAAAAAAAAAA", rest: `[0-9A-Za-z%]{60,}`, weak: true},
	{rule: "linkedin", prefixes: "WPL_AP1.", rest: `[0-9A-Za-z.=+/]{16,}`},
	{rule: "firebase", prefixes: "AAAA", rest: `[0-9A-Za-z_-]{7}:[0-9A-Za-z_-]{140}`},
	{rule: "onesignal", prefixes: "os_v2_app_ os_v2_org_", rest: "[0-9a-z]{50,}"},
	{rule: "dingtalk", prefixes: "SEC", rest: "[0-9a-f]{64}"},
	{rule: "wecom", prefixes: "qyapi.weixin.qq.com/cgi-bin/webhook/send?key=", rest: uuidRE},
	{rule: "ifttt", prefixes: "maker.ifttt.com/trigger/", rest: url64 + "{1,60}/with/key/" + url64 + "{20,43}"},
	{rule: "make", prefixes: "hook.eu1.make.com/ hook.eu2.make.com/ hook.us1.make.com/ hook.us2.make.com/", rest: "[0-9a-z]{32}"},
	{rule: "pinterest", prefixes: "pina_", rest: "[0-9A-Z]{60,}"},
	{rule: "roblox", prefixes: "WARNING:-DO-NOT-SHARE-THIS", rest: `[0-9A-Za-z .,_|-]{60,}`},
	{rule: "lichess", prefixes: "lip_", rest: alnum + "{20}"},
}

// money: payments and shops.
var money = []row{
	// Stripe, and others that took its prefixes (Paystack, Clerk, WorkOS).
	{rule: "stripe", prefixes: "sk_live_ sk_test_ rk_live_ rk_test_ sk_prod_ rk_prod_ sk_org_live_ sk_org_test_", rest: alnum + "{10,}"},
	{rule: "stripe", prefixes: "whsec_", rest: `[0-9A-Za-z+/]{32,}`},
	{rule: "shopify", prefixes: "shpat_ shpca_ shppa_ shpss_ shpua_ shptka_ shprka_", rest: `[0-9A-Fa-f]{32}`},
	{rule: "square", prefixes: "sq0atp-", rest: url64 + "{22,}"},
	{rule: "square", prefixes: "sq0csp-", rest: url64 + "{43}"},
	{rule: "square", prefixes: "EAAA", rest: url64 + "{22,}", weak: true},
	{rule: "braintree", prefixes: "access_token$production$ access_token$sandbox$", rest: "[0-9a-z]{16}\\$" + hex + "{32}"},
	{rule: "razorpay", prefixes: "rzp_live_ rzp_test_", rest: alnum + "{14}"},
	{rule: "flutterwave", prefixes: "FLWSECK- FLWSECK_TEST- FLWPUBK_TEST-", rest: "[0-9A-Za-z]{12,}"},
	{rule: "plaid", prefixes: "access-production- access-sandbox- access-development-", rest: uuidRE},
	{rule: "gocardless", prefixes: "live_ sandbox_", rest: url64 + "{40}", weak: true},
	{rule: "lob", prefixes: "live_ test_", rest: hex + "{35}", weak: true},
	{rule: "mollie", prefixes: "live_ test_ access_", rest: alnum + "{30,40}", weak: true},
	{rule: "easypost", prefixes: "EZAK EZTK", rest: alnum + "{54}"},
	{rule: "shippo", prefixes: "shippo_live_ shippo_test_", rest: hex + "{40}"},
	{rule: "paddle", prefixes: "pdl_live_ pdl_sdbx_", rest: `[a-z]{4,12}_[0-9a-z]{20,30}_[0-9A-Za-z]{20,24}_[0-9A-Za-z]{3}`},
	{rule: "paddle", prefixes: "pdl_ntfset_", rest: `[0-9a-z]{20,30}_[0-9A-Za-z+/]{20,40}`},
	{rule: "duffel", prefixes: "duffel_live_ duffel_test_", rest: `[0-9A-Za-z_=%-]{43,}`},
	{rule: "adyen", prefixes: "AQE", rest: `[a-z]hm[0-9A-Za-z+/]{30,}`},
	{rule: "checkout", prefixes: "sk_ sk_sbox_", rest: "[0-9a-z]{26}", weak: true},
	{rule: "alchemy", prefixes: "alcht_", rest: alnum + "{30}"},
	{rule: "quicknode", prefixes: "QN_", rest: hex + "{32}"},
	{rule: "paystack", prefixes: "sk_live_ sk_test_", rest: "[0-9a-f]{40}"},
}

// work: what teams write, draw and plan in.
var work = []row{
	{rule: "atlassian", prefixes: "ATATT3 ATCTT3 ATSTT3 ATOAT3", rest: `[0-9A-Za-z_=-]{60,}`},
	{rule: "trello", prefixes: "ATTA", rest: hex + "{64}" + "[0-9A-Fa-f]{8}"},
	{rule: "linear", prefixes: "lin_api_", rest: alnum + "{40}"},
	{rule: "linear", prefixes: "lin_oauth_ lin_wh_", rest: alnum + "{36,64}"},
	{rule: "notion", prefixes: "ntn_", rest: alnum + "{46}"},
	{rule: "notion", prefixes: "secret_", rest: alnum + "{43}", weak: true},
	{rule: "figma", prefixes: "figd_ figdr_ figo_ figor_ figoh_ figu_ figur_", rest: url64 + "{40,}"},
	{rule: "airtable", prefixes: "pat", rest: alnum + `{14}\.` + hex + "{64}"},
	{rule: "asana", prefixes: "1/ 2/", rest: `[0-9]{12,20}:[0-9a-f]{32}`},
	{rule: "asana", prefixes: "2/", rest: `[0-9]{12,20}/[0-9]{12,20}:[0-9a-f]{32}`},
	{rule: "dropbox", prefixes: "sl.", rest: url64 + "{130,}"},
	{rule: "dropbox", prefixes: "sl.u.", rest: url64 + "{130,}"},
	{rule: "clickup", prefixes: "pk_", rest: "[0-9]{6,10}_[0-9A-Z]{32}"},
	{rule: "klaviyo", prefixes: "pk_", rest: hex + "{34}"},
	{rule: "intercom", prefixes: "dG9rO", rest: `[0-9A-Za-z+/]{50,}`},
	{rule: "hubspot", prefixes: "pat-na1- pat-na2- pat-eu1- pat-ap1-", rest: uuidRE},
	{rule: "typeform", prefixes: "tfp_", rest: `[0-9A-Za-z_.=-]{40,}`, weak: true},
	{rule: "contentful", prefixes: "CFPAT-", rest: url64 + "{43}"},
	{rule: "postman", prefixes: "PMAK-", rest: hex + "{24}-" + hex + "{34}"},
	{rule: "postman", prefixes: "PMAT-", rest: alnum + "{26}"},
	{rule: "readme", prefixes: "rdme_", rest: "[0-9a-z]{70}"},
	{rule: "frameio", prefixes: "fio-u-", rest: `[0-9A-Za-z_=%-]{60,}`},
	{rule: "sanity", prefixes: "sk", rest: alnum + "{150,190}", weak: true},
	{rule: "mapbox", prefixes: "sk.eyJ tk.eyJ", rest: url64 + `{40,500}\.` + url64 + "{20,}"},
	{rule: "adafruit", prefixes: "aio_", rest: alnum + "{28}"},
	{rule: "settlemint", prefixes: "sm_aat_ sm_pat_ sm_sat_", rest: alnum + "{16}"},
	{rule: "authress", prefixes: "sc_ ext_ scauth_ authress_", rest: `[0-9A-Za-z]{5,30}\.[0-9A-Za-z]{4,6}\.acc[_-][0-9A-Za-z-]{10,32}\.[0-9A-Za-z+/_=-]{30,}`},
	{rule: "okta", prefixes: "SSWS ", rest: url64 + "{40,44}"},
	{rule: "lark", prefixes: "open.feishu.cn/open-apis/bot/v2/hook/ open.larksuite.com/open-apis/bot/v2/hook/", rest: uuidRE},
	{rule: "salesforce", prefixes: "00D", rest: `[0-9A-Za-z]{8,15}![0-9A-Za-z._-]{30,}`},
	{rule: "bitwarden", prefixes: "0.", rest: uuidRE + `\.[0-9A-Za-z]{30}:[0-9A-Za-z+/=]{20,}`},
	{rule: "cal-com", prefixes: "cal_live_ cal_test_", rest: "[0-9a-f]{32}"},
}

// data: databases and warehouses.
var data = []row{
	{rule: "databricks", prefixes: "dapi dkea dose dsapi", rest: hex + "{32}"},
	{rule: "planetscale", prefixes: "pscale_tkn_ pscale_pw_ pscale_oauth_ pscale_app_secret_", rest: `[0-9A-Za-z_=.%-]{32,}`},
	{rule: "supabase", prefixes: "sbp_", rest: hex + "{40}"},
	{rule: "supabase", prefixes: "sb_secret_ sbp_oauth_", rest: url64 + "{30,}"},
	{rule: "neon", prefixes: "napi_", rest: "[0-9a-z]{60,}"},
	{rule: "mongodb", prefixes: "mdb_sa_sk_", rest: url64 + "{40,}"},
	{rule: "aiven", prefixes: "AVNS_", rest: url64 + "{19}"},
	{rule: "dbt", prefixes: "dbtc_ dbtu_ dbts_", rest: `[0-9A-Za-z_=-]{40,}`},
	{rule: "elastic", prefixes: "essu_", rest: `[0-9A-Za-z_=+/-]{40,}`},
	{rule: "cockroach", prefixes: "CCDB1_", rest: alnum + "{22}_" + alnum + "{40}"},
	{rule: "confluent", prefixes: "cflt", rest: `[0-9A-Za-z+/]{60}`},
	{rule: "materialize", prefixes: "mzp_", rest: hex + "{64}"},
	{rule: "xata", prefixes: "xau_", rest: alnum + "{44}"},
	{rule: "appwrite", prefixes: "standard_", rest: hex + "{200,}"},
}

// keys: private keys in notations of their own, and hashes of passwords.
var keys = []row{
	{rule: ruleKey, prefixes: "(?i)AGE-SECRET-KEY-1", rest: "[0-9A-Z]{58}"},
	{rule: ruleKey, prefixes: "(?i)AGE-SECRET-KEY-PQ-1", rest: "[0-9A-Z]{58,}"},
	{rule: ruleKey, prefixes: "nsec1", rest: "[0-9a-z]{58}"},                      // Nostr, NIP-19
	{rule: ruleKey, prefixes: "xprv yprv zprv tprv", rest: alnum + "{107}"},       // BIP 32
	{rule: ruleKey, prefixes: "b3BlbnNzaC1rZXktdjEA", rest: `[0-9A-Za-z+/]{40,}`}, // OpenSSH without its first line
	{rule: ruleKey, prefixes: "PRIVATE+KEY+", rest: `[0-9A-Za-z./-]{1,120}\+[0-9a-f]{8}\+[0-9A-Za-z+/=]{40,}`},
	{rule: "1password", prefixes: "ops_eyJ", rest: `[0-9A-Za-z+/=_-]{100,}`},
	{rule: "1password", prefixes: "1PRK-", rest: `[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z-]{20,}`},
	{rule: "1password", prefixes: "A3-", rest: "[0-9A-Z]{6}-[0-9A-Z]{6}-[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{5}"},
	{rule: "1password", prefixes: "A3-", rest: "[0-9A-Z]{6}-[0-9A-Z]{11}-[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{5}"},
	{rule: "laravel", prefixes: "APP_KEY=base64:", rest: `[0-9A-Za-z+/]{43}`},
	{rule: "password-hash", prefixes: "$2a$ $2b$ $2y$", rest: `[0-9]{2}\$[0-9A-Za-z./]{53}`},
	{rule: "password-hash", prefixes: "$5$ $6$ $y$ $7$", rest: `[0-9A-Za-z./$]{48,}`},
	{rule: "password-hash", prefixes: "$5$rounds= $6$rounds=", rest: `[0-9]{4,9}\$[0-9A-Za-z./$]{43,}`},
	{rule: "password-hash", prefixes: "$argon2id$ $argon2i$ $argon2d$ $scrypt$ $pbkdf2 $sha512crypt$", rest: `[0-9A-Za-z./=,$+-]{40,}`},
	{rule: ruleKey, prefixes: "PuTTY-User-Key-File-", rest: "[23]: [0-9a-z-]{3,40}"},
	{rule: "password-hash", prefixes: "$apr1$", rest: `[0-9A-Za-z./]{1,8}\$[0-9A-Za-z./]{22}`},
	{rule: "password-hash", prefixes: "pbkdf2_sha256$ pbkdf2_sha1$", rest: `[0-9]{1,8}\$[0-9A-Za-z+/]{1,64}\$[0-9A-Za-z+/=]{20,}`},
	{rule: "password-hash", prefixes: "scrypt:", rest: `[0-9]{1,8}:[0-9]{1,2}:[0-9]{1,2}\$[0-9A-Za-z]{8,64}\$[0-9a-f]{64,}`},
	{rule: "password-hash", prefixes: "SCRAM-SHA-256$", rest: `[0-9]{1,8}:[0-9A-Za-z+/=]{8,64}\$[0-9A-Za-z+/=]{40,64}:[0-9A-Za-z+/=]{40,64}`},
	{rule: ruleKey, prefixes: "RWRTY0Iy", rest: `[0-9A-Za-z+/]{180,}`},                           // minisign
	{rule: ruleJWT, prefixes: "ey", rest: `[0-9A-Za-z_-]{16,500}\.ey[0-9A-Za-z_/\\-]{15,500}\.`}, // even if it does not decode
}

// structures are the rules that no pattern says. BEGIN is that of a PEM block;
// eyJ, eyA, ewo and ew0 are {" { \n{ and {\r in base64.
var structures = []struct {
	rule, prefixes string
	check          check
}{
	{ruleKey, "BEGIN", checkPEM},
	{ruleJWT, "eyJ eyA ewo ew0 ewk", checkJWT},
	{ruleBearer, "(?i)bearer", checkBearer},
	{ruleBasic, "(?i)basic", checkBasic},
	{ruleKey, "MC MD ME MF MG MH MI", checkDER}, // 0x30 and a length, in base64
	{ruleKey, "kty", checkJWK},
	{ruleTink, "type.googleapis.com/google.crypto.tink.", checkTink},
	{ruleNamed, "(?i)authorization (?i)cookie", checkHeader},
	{ruleNamed, "curl", checkCurl},
	{ruleNamed, "machine", checkNetrc},
	{ruleNamed, "sshpass mysql mariadb redis-cli mongo ldap sqlcmd docker podman buildah nerdctl twine cqlsh unzip zip smbclient openssl http xh", checkCommand},
	{ruleNamed, "variable", checkVariable},
	{ruleNamed, "form-data", checkForm},
	{ruleNamed, "ENV setx", checkSet},
	{ruleNamed, "(?i)identified", checkIdentified},
	{ruleNamed, "(?i)password\x00for", checkPasswordOf},
}

// builtin returns the table, compiled once, when it is first needed.
var builtin = sync.OnceValue(func() []format {
	var formats []format
	lenient := map[string]bool{}
	for _, r := range table() {
		for prefix := range strings.SplitSeq(strings.ReplaceAll(r.prefixes, "SSWS ", "SSWS\x00"), " ") {
			prefix = strings.ReplaceAll(prefix, "\x00", " ")
			formats = append(formats, r.compile(prefix))
			if r.unmistakable(prefix) && !lenient[prefix] {
				lenient[prefix] = true
				formats = append(formats, row{rule: r.rule, rest: tail}.compile(prefix).open())
			}
		}
	}
	for _, s := range structures {
		for prefix := range strings.SplitSeq(s.prefixes, " ") {
			name, fold := strings.CutPrefix(strings.ReplaceAll(prefix, "\x00", " "), "(?i)")
			formats = append(formats, format{rule: s.rule, builtin: true, prefix: name, fold: fold, check: s.check, pattern: prefix})
		}
	}
	return formats
})

// tail is what follows an unmistakable prefix in a token that was cut, or made
// longer since the row was written. It has to look drawn by lot.
const tail = `[0-9A-Za-z_-]{20,}`

// unmistakable reports whether nothing but the provider's tokens begins with the
// prefix: it is long enough, ends where a word ends, and is not made of words
// that others use.
func (r row) unmistakable(prefix string) bool {
	if r.weak || r.rule == ruleKey || len(prefix) < 4 || strings.ContainsAny(prefix, " ()/$=") {
		return false
	}
	switch prefix {
	case "live_", "test_", "pat-", "api-", "sdk-", "API-", "key-", "ext_":
		return false
	}
	return strings.IndexByte("_-.", prefix[len(prefix)-1]) >= 0
}

// open returns the format with its rest being a tail.
func (f format) open() format {
	f.tail = true
	return f
}

func (r row) compile(prefix string) format {
	fold := ""
	if bare, ok := strings.CutPrefix(prefix, "(?i)"); ok {
		prefix, fold = bare, "(?i)"
	}
	f, err := parse(fold + escapeLiteral(prefix) + r.rest)
	if err != nil {
		panic(fmt.Sprintf("secrets: %s %s: %v", r.rule, prefix, err))
	}
	f.rule, f.weak, f.builtin = r.rule, r.weak, true
	return f
}

func escapeLiteral(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`\.*+?(){}|^$[`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unprefixed are the rules that are found by other means than a prefix.
var unprefixed = []string{ruleURL, ruleCard, ruleDiscord, ruleTelegram, ruleMailgun, ruleChimp, ruleAzure, ruleAtlas, ruleMaxMind, ruleNamed,
	string(Email), string(Phone), string(IBAN), string(IP)}

// ruleNames returns every built-in rule.
var ruleNames = sync.OnceValue(func() map[string]bool {
	known := make(map[string]bool)
	for _, f := range builtin() {
		known[f.rule] = true
	}
	for _, rule := range unprefixed {
		known[rule] = true
	}
	return known
})

// engineVersion is raised when something other than the table changes what is
// found.
const engineVersion = 15

// tableDigest stands for everything that is built in.
var tableDigest = sync.OnceValue(func() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "jobaudit secrets %d\n", engineVersion)
	for _, f := range builtin() {
		fmt.Fprintf(sum, "%s %s %t\n", f.rule, f.pattern, f.weak)
	}
	return base64.StdEncoding.EncodeToString(sum.Sum(nil))
})
