package secrets

import "strings"

// naming is what a name says of its value.
type naming uint8

const (
	namesNothing  naming = iota
	namesToken           // something that a program made
	namesPassword        // something that a person may have chosen
	namesCode            // of many things, one of which is a credential
	namesKey             // likewise, if the host is known
	namesValue           // of what the member before it names
	namesLogin           // a user and a password in base64
	namesOther           // nothing, though it ends like one that does
)

// names are the names of credentials, in small letters and without hyphens,
// underscores and dots.
var names = map[string]naming{
	"accesstoken": namesToken, "refreshtoken": namesToken, "idtoken": namesToken, "authtoken": namesToken, "sessiontoken": namesToken,
	"privatetoken": namesToken, "securitytoken": namesToken, "apitoken": namesToken, "bearertoken": namesToken, "jobtoken": namesToken,
	"clientsecret": namesToken, "apikey": namesToken, "apisecret": namesToken, "appsecret": namesToken, "secretkey": namesToken,
	"accesskey": namesToken, "subscriptionkey": namesToken, "clientassertion": namesToken, "codeverifier": namesToken, "secret": namesToken,
	"token": namesToken, "signature": namesToken, "sig": namesToken, "authkey": namesToken, "webhooksecret": namesToken, "noncekey": namesToken, "loggedinkey": namesToken, "authsalt": namesToken, "noncesalt": namesToken, "loggedinsalt": namesToken, "credential": namesCode,
	"accountkey": namesToken, "privatekey": namesToken, "sharedaccesskey": namesToken, "encryptionkey": namesToken, "signingkey": namesToken, "consumersecret": namesToken,
	"password": namesPassword, "passwd": namesPassword, "pwd": namesPassword, "passphrase": namesPassword, "pass": namesPassword,
	"secretaccesskey": namesToken, "secretkeybase": namesToken, "functionskey": namesToken,
	"dbpass": namesPassword, "dbpasswd": namesPassword, "dbpwd": namesPassword, "storepass": namesPassword, "keypass": namesPassword, "userpass": namesPassword, "smtppass": namesPassword, "bindpw": namesPassword, "rootpw": namesPassword,
	"passwordconfirmation": namesPassword, "passwordconfirm": namesPassword, "passwordold": namesPassword, "passwordnew": namesPassword, "passcode": namesPassword, "wpapsk": namesPassword, "identitytoken": namesToken, "presharedkey": namesToken,
	"auth": namesLogin, "pagetoken": namesOther, "continuationtoken": namesOther, "nexttoken": namesOther, "skiptoken": namesOther, "synctoken": namesOther, "resumetoken": namesOther,
	"value": namesValue, "code": namesCode, "authorizationcode": namesCode, "key": namesKey, "license": namesKey,
}

// nameGroup is the names that end with the same three letters.
type nameGroup struct {
	sizes uint32 // a bit for each length
	names []struct {
		text string
		says naming
	}
}

// nameGroupOf finds the groups by these letters; 0 is an empty one.
var nameGroupOf, nameGroups = func() (of [1 << 15]uint8, all []nameGroup) {
	all = make([]nameGroup, 1)
	for name, says := range names {
		n := len(name)
		at := &of[ending(name[n-3], name[n-2], name[n-1])]
		if *at == 0 {
			*at = uint8(len(all))
			all = append(all, nameGroup{})
		}
		g := &all[*at]
		g.sizes |= 1 << n
		g.names = append(g.names, struct {
			text string
			says naming
		}{name, says})
	}
	return of, all
}()

// ending is a number for three letters, whatever their case.
func ending(a, b, c byte) uint16 { return uint16(a&31)<<10 | uint16(b&31)<<5 | uint16(c&31) }

// naming tells what a name of the group says.
func (g *nameGroup) naming(name []byte) naming {
	if g.sizes>>len(name)&1 != 0 {
		for i := range g.names {
			if g.names[i].text == string(name) {
				return g.names[i].says
			}
		}
	}
	return namesNothing
}

// endsAsName reports false if what ends at end is no name that naming knows, which
// its last three letters tell of most.
func endsAsName(text string, end int) bool {
	for end > 0 && beforeSign[text[end-1]] {
		end--
	}
	if end < 3 || !isAlnum(text[end-1]) || !isAlnum(text[end-2]) || !isAlnum(text[end-3]) {
		return true
	}
	return nameGroupOf[ending(text[end-3], text[end-2], text[end-1])] != 0
}

// beforeSign are the bytes that may stand between a name and the sign behind it.
var beforeSign = [256]bool{'\t': true, '"': true, '\'': true, '\\': true, ' ': true, ']': true}

// naming tells what the name that ends at end, where a sign follows it, says, and
// where the name begins. Words may stand before it: DB_PASSWORD, X-Api-Key.
func (c *scan) naming(end int) (n naming, begin int) {
	text := c.text
	for end > 0 && beforeSign[text[end-1]] {
		end--
	}
	var buf [20]byte
	at := len(buf)
	begin = end
	var g *nameGroup
	for begin > 0 && at > 0 {
		b := text[begin-1]
		if !isAlnum(b) {
			if b != '_' && b != '-' && b != '.' {
				break
			}
			begin--
			continue
		}
		at--
		buf[at] = lower(b)
		if at == len(buf)-3 {
			if g = &nameGroups[nameGroupOf[ending(buf[at], buf[at+1], buf[at+2])]]; g.sizes == 0 {
				return namesNothing, begin
			}
		}
		begin--
		// The longest name that ends a word decides. PGPASSWORD is one for all that.
		if g != nil && (begin == 0 || !isAlnum(text[begin-1]) || isUpper(text[begin]) && !isUpper(text[begin-1]) || begin == c.edge || begin > 1 && text[begin-2:begin] == "-D" || len(buf)-at == len("password") && string(buf[at:]) == "password") {
			if found := g.naming(buf[at:]); found != namesNothing {
				n = found
			}
		}
	}
	for n != namesNothing && begin > 0 && end-begin < maxName && (isAlnum(text[begin-1]) || strings.IndexByte("_-.", text[begin-1]) >= 0) {
		begin--
	}
	c.work += end - begin
	if n == namesOther {
		n = namesNothing
	}
	return n, begin
}

// maxName is how long a name is with all words that stand before it.
const maxName = 96
