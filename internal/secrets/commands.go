package secrets

import "strings"

// What only a program's own syntax tells to be a credential.

// flag is an option of a program that takes a password.
type flag struct {
	name string // with the space before it
	form flagForm
	sign byte // between a user and the password, if there is a user
	// What stands in the line besides, where the flag means that.
	with string
}

// flagForm is how an option's value may be written.
type flagForm uint8

const (
	behind flagForm = 1 << iota // the next word
	onto                        // right behind the letter
)

// commands are the options of programs, by what their names begin with. What else
// they take for credentials has a name (--password V, PASSWORD=V).
var commands = map[string][]flag{
	"sshpass":   {{name: " -p", form: behind | onto}},
	"mysql":     {{name: " -p", form: onto}}, // mysqldump, mysqladmin, …: the next word is the database
	"mariadb":   {{name: " -p", form: onto}},
	"redis-cli": {{name: " -a", form: behind}},
	"mongo":     {{name: " -p", form: behind}}, // mongosh, mongodump, …
	"ldap":      {{name: " -w", form: behind | onto}},
	"sqlcmd":    {{name: " -P", form: behind | onto}},
	"docker":    {{name: " -p", form: behind, with: " login "}},
	"podman":    {{name: " -p", form: behind, with: " login "}},
	"buildah":   {{name: " -p", form: behind, with: " login "}},
	"nerdctl":   {{name: " -p", form: behind, with: " login "}},
	"twine":     {{name: " -p", form: behind, with: " upload "}},
	"cqlsh":     {{name: " -p", form: behind}},
	"unzip":     {{name: " -P", form: behind | onto}},
	"zip":       {{name: " -P", form: behind | onto}},
	"smbclient": {{name: " -U", form: behind | onto, sign: '%'}},
	"openssl":   {{name: " -passin pass:", form: onto}, {name: " -passout pass:", form: onto}, {name: " -k", form: behind}},
	"http":      {{name: " -a", form: behind | onto, sign: ':'}, {name: " --auth", form: behind, sign: ':'}}, // HTTPie; https, too
	"xh":        {{name: " -a", form: behind | onto, sign: ':'}, {name: " --auth", form: behind, sign: ':'}},
}

// command returns the end of the password that a command line, which begins at i with
// the name of a program, gives to it, or -1.
func (c *scan) command(i int, program string) int {
	at := i + len(program)
	for at < len(c.text) && isAlnum(c.text[at]) {
		at++
	}
	listed := at < len(c.text) && c.text[at] != ' ' && (c.text[at] == '\t' || c.text[at] == '\\' || quoteAt(c.text, at) >= 0)
	if at == len(c.text) || c.text[at] != ' ' && !listed {
		return -1
	}
	l := c.seen()
	if i >= l.programsTo {
		l.programs = 0
	}
	if l.programs++; l.programs > maxInside {
		return -1
	}
	if listed {
		return c.listed(at, program, i)
	}
	line := c.text[at:min(len(c.text), at+512)]
	if end := strings.IndexByte(line, '\n'); end >= 0 {
		line = line[:end]
	}
	l.programsTo = at + len(line)
	c.work += len(line)
	for _, f := range commands[program] {
		if end := c.flagged(line, f, i); end >= 0 {
			return at + end
		}
	}
	return -1
}

// listed is command for arguments in a list, or with tabs between them, behind the name of
// a program that ends at at.
func (c *scan) listed(at int, program string, begin int) int {
	if quote := quoteAt(c.text, at); quote >= 0 {
		at = quote + 1
	}
	words := arguments{text: c.text[:min(len(c.text), at+512)], at: at}
	var room [640]byte
	line := room[:0]
	for {
		word, ok := words.next()
		if !ok || len(line)+len(word)+1 > len(room) {
			break
		}
		line = append(append(line, ' '), word...)
	}
	c.seen().programsTo = max(words.at, at)
	c.work += words.at - at + len(line)
	for _, f := range commands[program] {
		if c.flagged(asString(line), f, begin) >= 0 {
			return words.at
		}
	}
	return -1
}

// flagged returns the end of the first password behind a flag in a command line, or
// -1.
func (c *scan) flagged(line string, f flag, program int) int {
	if !strings.Contains(line, f.with) {
		return -1
	}
	for at, tries := 0, 0; tries < maxInside; tries++ {
		n := strings.Index(line[at:], f.name)
		if n < 0 {
			break
		}
		at += n + len(f.name)
		value := strings.TrimLeft(line[at:], " =\\")
		apart := len(line)-at > len(value)
		if value == "" || apart && f.form&behind == 0 || !apart && f.form&onto == 0 {
			continue
		}
		stops := " \"'\\|;&<>"
		if value[0] == '"' || value[0] == '\'' {
			stops, value = value[:1]+"\\", value[1:]
		}
		from := len(line) - len(value)
		if end := strings.IndexAny(value, stops); end >= 0 {
			value = value[:end]
		}
		at = from
		password, ok := value, true
		if f.sign != 0 {
			_, password, ok = strings.Cut(value, string(f.sign))
		}
		if ok && !strings.HasPrefix(password, "//") && c.credible(namesPassword, password, program) {
			return from + len(value)
		}
	}
	return -1
}

// variable returns the end of the default of a variable in HCL that is named as a
// credential is, or -1. The word variable ends at i.
func (c *scan) variable(i int) int {
	text := c.text
	if i < c.seen().variables {
		return -1
	}
	from := i
	for from < len(text) && from-i < 8 && beforeSign[text[from]] {
		from++
	}
	end := from
	for end < len(text) && end-from < 64 && text[end] != '"' && text[end] != '\\' && text[end] > ' ' {
		end++
	}
	if from == i || end == len(text) || !endsAsName(text, end) {
		return -1
	}
	n, begin := c.naming(end)
	if n != namesToken && n != namesPassword {
		return -1
	}
	block := text[end:min(len(text), end+512)]
	if to := strings.IndexByte(block, '}'); to >= 0 {
		block = block[:to]
	}
	c.seen().variables = end + len(block)
	c.work += end - i + len(block)
	at := strings.Index(block, "default")
	if at < 0 {
		return -1
	}
	at += end + len("default")
	for at < len(text) && text[at] == ' ' {
		at++
	}
	if at+minText >= len(text) || text[at] != '=' || !c.valued(at, n, begin) {
		return -1
	}
	return c.seen().valueEnd
}

// set returns the end of the value of the variable that an instruction of a Dockerfile
// or a command of Windows, whose name ends at i, sets, or -1: ENV NAME VALUE.
func (c *scan) set(i int) int {
	text := c.text
	if i == len(text) || text[i] != ' ' && text[i] != '+' {
		return -1
	}
	end := i + 1
	for end < len(text) && end-i < 64 && (isAlnum(text[end]) || strings.IndexByte("_-.", text[end]) >= 0) {
		end++
	}
	c.work += end - i
	if end-i < 4 || end+minText >= len(text) || text[end] != text[i] || !endsAsName(text, end) {
		return -1
	}
	n, begin := c.naming(end)
	if n != namesToken && n != namesPassword || !c.inside(end) || !c.valued(end, n, begin) {
		return -1
	}
	return c.seen().valueEnd
}

// formField returns the end of the value of a field of multipart/form-data (RFC 7578),
// behind the word form-data that ends at i, or -1.
func (c *scan) formField(i int) int {
	text := c.text
	if i < c.seen().variables {
		return -1
	}
	head := text[i:min(len(text), i+256)]
	c.seen().variables = i + len(head)
	c.work += len(head)
	at := strings.Index(head, "name=")
	if at < 0 {
		return -1
	}
	end := i + at + len("name=")
	for end < len(text) && beforeSign[text[end]] {
		end++
	}
	for end < len(text) && !beforeSign[text[end]] && text[end] > ' ' {
		end++
	}
	if !endsAsName(text, end) {
		return -1
	}
	n, begin := c.naming(end)
	if n != namesToken && n != namesPassword {
		return -1
	}
	rest := text[end:min(len(text), end+256)]
	for _, lines := range [...]string{"\r\n\r\n", "\n\n", `\r\n\r\n`, `\n\n`} {
		if at := strings.Index(rest, lines); at >= 0 {
			if behind := end + at + len(lines) - 1; behind+minText < len(text) && c.valued(behind, n, begin) {
				return c.seen().valueEnd
			}
		}
	}
	return -1
}

// called looks for a credential behind the comma at i, as the second argument of a
// function whose first is its name in quotes, or as the argument behind a flag in a list:
// define('DB_PASSWORD', 'V'), ["--password","V"].
func (c *scan) called(i int) bool {
	text := c.text
	if i < 4 || i+minText >= len(text) || !endsAsName(text, i) {
		return false
	}
	end := i
	for end > 0 && (text[end-1] == '"' || text[end-1] == '\'' || text[end-1] == '\\') {
		end--
	}
	if end == 0 || !lastOfNames[text[end-1]] {
		return false
	}
	n, begin := c.naming(end)
	if n != namesToken && n != namesPassword {
		return false
	}
	at := begin
	for at > 0 && beforeSign[text[at-1]] {
		at--
	}
	if at == begin || before(text, at) != '(' && text[begin] != '-' {
		return false
	}
	return quoteAt(text, c.lead(i)) >= 0 && c.inside(i) && c.valued(i, n, begin)
}
