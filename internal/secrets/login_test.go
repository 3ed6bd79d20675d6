package secrets_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireOrdinary requires that nothing is found in a text, as it is and in what
// carries it.
func requireOrdinary(t *testing.T, text string) (variants int) {
	t.Helper()
	s := newScanner(t, nil)
	quoted, err := json.Marshal(map[string]string{"run": text})
	require.NoError(t, err)
	for _, place := range []string{text, "+ " + text + "\nexit status 1", "failed: `" + text + "`", string(quoted), base64.StdEncoding.EncodeToString([]byte(text + "\n"))} {
		rule, found := s.Find(place)
		require.False(t, found, "%s in %q", rule, place)
		variants++
	}
	return variants
}

// locals are local parts of addresses and IDs.
func (m maker) locals() []string {
	return []string{
		"john.doe1985", "max.mustermann+test1", "ci-bot-42", "alice2020", "12345678+bot", "app-1234", m.uuid(), strings.ToUpper(m.of('h', 40)), "20261128T022017Z-" + m.of('d', 4),
		"image001.png0" + m.of('H', 5), "+4915112345678", "CAF1" + m.of('w', 20), "cal_" + m.of('a', 10), "01HZX4K8YQ7M3N", m.of('a', 12), m.of('d', 9),
	}
}

// An identifier that looks like a credential is refused, so that an address must not.
func TestAnAddressIsNoLogin(t *testing.T) {
	m := newMaker()
	variants := 0
	for _, place := range []string{
		"mailto:%s@example.com", "sip:%s@sip.example.com", "sips:%s@sip.example.com:5061", "sip:%s@192.0.2.7", "xmpp:%s@chat.example.org/home", "acct:%s@example.social", "{Name:Bob Email:%s@example.com}", "map[name:bob email:%s@example.com]", "Email:%s@example.com",
		"to:%s@example.com", "from:%s@example.com", "cc:%s@example.com,bcc:%[1]s@example.org", "UID:%s@example.org", "uid:%s@calendar.example.com", "cid:%s@example.com", "Message-ID:%s@mail.example.com", "user:%s@users.noreply.github.com", "serviceAccount:%s@p.iam.gserviceaccount.com",
		"deleted:serviceAccount:%s@p.iam.gserviceaccount.com?uid=1234567890", "group:%s@example.com", "member:%s@example.com", "owner:%s@example.com", "principal:%s@example.com", "userEmail:%s@example.com", "client_email:%s@p.iam.gserviceaccount.com", "created-by:%s@example.com",
		"ORGANIZER:mailto:%s@example.com", "ATTENDEE;CN=Jane:mailto:%s@example.com", `{"user":"mailto:%s@example.com"}`, "invite:%s@calendar.example.com", "job:%s@worker-1.example.com", "reply-to:%s@example.com", "id:%s@host.example.org",
	} {
		for _, local := range m.locals() {
			variants += requireOrdinary(t, fmt.Sprintf(place, local))
		}
	}
	for _, place := range []string{
		"docker://%s@sha256:%s", "docker-image://%s@sha256:%s", "oci://%s@sha256:%s", "oci://ghcr.io/acme/%s@sha256:%s", "docker://%s@sha512:%s", "registry.example.org/%s@sha256:%s", "image:%s@sha256:%s", "containerd://docker.io/library/%s@sha256:%s",
	} {
		for _, image := range []string{"alpine:3.19", "chart:1.2.3", "nginx:1.25-alpine", "app:v1.2.3-rc.1", "app:sha-" + m.of('h', 7), "app:2026.11.28", "app:build-" + m.of('a', 10), "app:latest"} {
			variants += requireOrdinary(t, fmt.Sprintf(place, image, m.of('h', 64)))
		}
	}
	for _, text := range []string{
		"alias:react18@npm:react@18.2.0", "workspace:^1@npm.example.com", "git+ssh://git@github.com/o/r.git@v1.2.3", "node1:9100@cluster.example.org", "image:sha-a1b2c3d4@registry.example.org/app", "rsync backup:daily-2026@host.example.org", "2026-11-28T02:20:17@host.example.com",
		"actions:checkout4X@v4", "npm:left-pad12@^1.3.0", "repo:feature1234@main", "pkg:npm/lodash2@4.17.21",
	} {
		variants += requireOrdinary(t, text)
	}
	require.Greater(t, variants, 2_000)
}

// TestBeforeAPortStandsALogin, whatever the user's name ends with and people chose.
func TestBeforeAPortStandsALogin(t *testing.T) {
	s := newScanner(t, nil)
	for _, user := range []string{"app", "root", "smtp-mail", "client_id", "from-mail", "user"} {
		for _, password := range []string{"letmein2024", "password-123", "9fK2mZ7qLw4RtY8uVb3N"} {
			for _, host := range []string{"db.example.com:5432", "db.internal:3306", "smtp.example.com:587", "10.0.0.5:5432"} {
				requireFound(t, s, user+":"+password+"@"+host)
			}
		}
	}
}

// TestAReasonIsNoPassword, though it is the reason why one was set.
func TestAReasonIsNoPassword(t *testing.T) {
	for _, who := range []string{"ada", "the user ada", "role app"} {
		for _, why := range []string{"INC0012345", "ticket-4711", "CHG0040007 approved", "requested by mail 12345678"} {
			requireOrdinary(t, "Reset password for "+who+": "+why)
		}
		requireFound(t, newScanner(t, nil), "Set password for "+who+": '9fK2mZ7qLw4RtY8u'")
		requireFound(t, newScanner(t, nil), "Set password for "+who+": 9fK2mZ7qLw4RtY8u")
	}
}

// TestALoginIsFoundBeforeEveryHost: by name or number, with a port or without; the last
// @ decides where the password ends.
func TestALoginIsFoundBeforeEveryHost(t *testing.T) {
	s := newScanner(t, nil)
	m := newMaker()
	variants := 0
	for _, user := range []string{"app:", "//app:", "bob@example.com:", "app@server:", "DSN=app:", "db_user2:", "smtp login bob@example.com:", "a,b@c:", "dbuser:", "user:"} {
		for _, password := range []string{"S3cretPass9x!K", "Tr0ub4dor&3xY", m.of('w', 12) + "9z8Y!", "p@ss-W0rd9x!", "Summer@2026-Xy!"} {
			for _, host := range []string{
				"10.0.0.5", "10.0.0.5:5432", "192.168.178.20/shop", "[::1]", "[::1]:5432", "[2001:db8::7]:3306/shop", "db", "db/shop", "db.internal", "db.example.org", "imap.example.com:993", "db.example.org/x", "localhost", "localhost:5432", "server.postgres.database.example.com:5432",
			} {
				variants += requireEverywhere(t, func(t *testing.T, text string) { t.Helper(); requireFound(t, s, text) }, user+password+"@"+host)
			}
		}
	}
	require.Greater(t, variants, 2_000)
	requireFound(t, s, "user:a1b2c3d4e5f6@db.example.org:5432") // no address has a port
}
