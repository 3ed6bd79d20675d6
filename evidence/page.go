package evidence

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the parts of the page
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// The parts of a page. They are part of what [OpenPage] compares with.
var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
	//go:embed verify.js
	verifyJS string
	//go:embed fold.js
	foldJS string
	//go:embed standards.json
	standardsJSON string
)

// Verifier returns the script that checks files of evidence in a browser, with
// WebCrypto and nothing else: it defines jobauditEvidence, which its first comment
// describes.
func Verifier() string { return verifyJS }

// ErrPage means that what stands around the evidence in a page is not what this
// version of the program writes: its text or its script was changed, or another
// version wrote it.
var ErrPage = errors.New("the page around the evidence is not the one that this version of the program writes: do not trust what it shows")

// pageParts are what stands before and behind the evidence.
func pageParts() (before, behind string) {
	script := verifyJS + foldJS + "const standards = " + strings.TrimSpace(standardsJSON) + ";\n" + pageJS
	page := strings.NewReplacer(
		"{{SCRIPT-HASH}}", policyHash(script), "{{STYLE-HASH}}", policyHash(pageCSS),
		"{{STYLE}}", pageCSS, "{{SCRIPT}}", script).Replace(pageHTML)
	before, behind, _ = strings.Cut(page, "{{EVIDENCE}}")
	return before, behind
}

// policyHash is how a Content-Security-Policy names an inline script or style.
func policyHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Page makes a page of HTML that holds a file of evidence, checks it in the
// reader's browser, also offline, and shows what it has checked. All that
// differs from page to page are the bytes of the file.
func Page(file []byte) ([]byte, error) {
	if !IsFile(file) || len(file) > MaxFile {
		return nil, fmt.Errorf("evidence: %w", ErrFormat)
	}
	before, behind := pageParts()
	page := base64.StdEncoding.AppendEncode([]byte(before), file)
	return append(page, behind...), nil
}

// The bytes around the evidence by which it is found in any page.
var (
	evidenceBegin = []byte(`<script type="text/plain" id="evidence">`)
	evidenceEnd   = []byte(`</script>`)
)

// IsPage reports whether a text looks like a page that [Page] made.
func IsPage(text []byte) bool { return bytes.Contains(text, evidenceBegin) }

// OpenPage takes the file of evidence out of a page and checks it as [Open] does;
// it runs no script. The error is [ErrPage] if the evidence is good and the rest
// of the page is not what [Page] writes: then the Bundle is returned too, and where
// the page differs. Otherwise it is that of Open.
func OpenPage(page []byte, keys []note.Verifier) (*Bundle, error) {
	if len(page) > MaxPage {
		return nil, fmt.Errorf("evidence: %w: the page is larger than a page can be", ErrFormat)
	}
	_, rest, ok := bytes.Cut(page, evidenceBegin)
	data, _, closed := bytes.Cut(rest, evidenceEnd)
	if !ok || !closed {
		return nil, fmt.Errorf("evidence: %w: there is no evidence in the page", ErrFormat)
	}
	file, damaged := decode(data)
	b, err := Open(file, keys)
	if err == nil && damaged {
		err = fmt.Errorf("evidence: %w: the evidence in the page is no base64", ErrFormat)
	}
	if err != nil {
		return nil, err
	}
	want, err := Page(file)
	if err != nil {
		return nil, err
	}
	if at := differ(page, want); at >= 0 {
		line := 1 + bytes.Count(page[:at], []byte("\n"))
		return b, fmt.Errorf("evidence: %w: it differs at byte %d, in line %d", ErrPage, at, line)
	}
	return b, nil
}

// decode decodes the evidence. Where that is damaged, it reads so much of it as is
// needed to say where.
func decode(data []byte) (file []byte, damaged bool) {
	file, err := base64.StdEncoding.Strict().DecodeString(string(data))
	if err == nil && !bytes.ContainsAny(data, "\r\n") { // which the decoder passes over
		return file, false
	}
	body := bytes.Map(func(r rune) rune {
		if r < 0x80 && strings.ContainsRune("+/", r) || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return 'A'
	}, bytes.TrimRight(data, "="))
	file = make([]byte, base64.RawStdEncoding.DecodedLen(len(body)))
	n, _ := base64.RawStdEncoding.Decode(file, body) // as far as it goes
	return file[:n], true
}

// differ returns where two texts begin to differ, -1 if they are the same.
func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}
