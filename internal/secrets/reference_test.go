package secrets_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheNameOfASecretIsNone: where it is stored, under which name, and since when.
func TestTheNameOfASecretIsNone(t *testing.T) {
	m := newMaker()
	variants := 0
	for range 5 {
		account, region := m.of('d', 12), "eu-central-1"
		for _, text := range []string{
			"arn:aws:secretsmanager:" + region + ":" + account + ":secret:prod/database-" + m.of('w', 6), "arn:aws:secretsmanager:" + region + ":" + account + ":secret:MyTestSecret-" + m.of('a', 6), "arn:aws-us-gov:secretsmanager:us-gov-west-1:" + account + ":secret:app1-" + m.of('a', 12),
			"arn:aws:kms:" + region + ":" + account + ":key/" + m.uuid(), "arn:aws:apigateway:" + region + "::/apikeys/" + m.of('a', 10), "arn:aws:x:" + region + ":" + account + ":token:" + m.of('a', 20), "urn:example:token:" + m.of('a', 16), "crn:v1:bluemix:public:secrets-manager:eu-de:a/" + m.of('h', 32) + ":" + m.uuid() + ":secret:" + m.uuid(),
			"arn:aws:ssm:" + region + ":" + account + ":parameter/prod/db1/password",
		} {
			for _, place := range []string{"%s", "ARN=%s", "secret %s not found", "encryptionKey: %s", "secret: %s", "password=%s", "KmsEncryptionKey=%s", `{"secret":"%s"}`, `{"accessKey": "%s"}`, "--token %s", `signing_key = "%s"`} {
				variants += requireOrdinary(t, fmt.Sprintf(place, text))
			}
		}
	}
	for _, value := range []string{
		"/home/ec2-user/app", "/home/runner/work/repo1/repo1", "/srv/app2/releases/20261128", "/run/secrets/db1", "/var/lib/jenkins2/workspace", "~/work/app1/x2", "./build/app1/x2", "op://vault1/item2/password", "vault:secret/data/app1#db", "ssm:///prod/db1/password", "file:/etc/k1.pem", "ref+awsssm://x1/y2",
		"projects/p1/locations/eu/keyRings/r1a/cryptoKeys/k2b", "alias/app-1a2b3c", "https://vault.example.org/v1/db1", "2026-11-28T02:20:17Z", "2026-11-28T02:20:17.123456+01:00", "2026-11-28", "02:20:17.123", "1024/1024", "sha256:" + m.of('h', 64), "ENC[AES256_GCM,data:a1b2c3d4]", "secretKeyRef:app1a2b", "env:DB_PASSWORD_2",
	} {
		for _, place := range []string{"PWD=%s", "pwd: %s", "password: %s", "password=%s", `{"password":"%s"}`, "token: %s", "secret = '%s'", "--password %s", "private_key: %s"} {
			variants += requireOrdinary(t, fmt.Sprintf(place, value))
		}
	}
	for _, text := range []string{"PASS: TestFoo/part_1", "PASS test_api_v2.py::test_1", "pass: stage-2/3", "compiler pass: inline-v2", "pass=0.99871234", "pass: 00:01:23.456", "Pass: /boarding/AB1234"} {
		variants += requireOrdinary(t, text)
	}
	require.Greater(t, variants, 2_000)
	s := newScanner(t, nil)
	for _, password := range append(m.passwords(), "/xY3"+m.of('w', 12), "/aB9/x2"+m.of('w', 12)) {
		requireFound(t, s, "password="+password)
		requireFound(t, s, "PASS="+m.of('w', 12)+"9z8Y")
		requireFound(t, s, `arn: a, password:"`+password+`"`)
	}
}
