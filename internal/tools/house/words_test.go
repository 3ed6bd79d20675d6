package house_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/tools/house"
)

// avoided are the words that we do not say, in lower case, and what we say.
var avoided = map[string]string{
	"ledger":      "log",
	"blacklist":   "deny-list",
	"blacklisted": "denied",
	"master":      "main, primary or root",
	"auditlogger": "Recorder",
}

// word is a run of letters of one case, or capitalised: the words that prose
// and identifiers are made of.
var word = regexp.MustCompile(`\p{Lu}?\p{Ll}+|\p{Lu}+`)

// auditLogger joins what the word test would see as two words: slog.Logger and
// a logger are fine, one for audit is not.
var auditLogger = strings.NewReplacer("audit logger", "auditlogger", "audit-logger", "auditlogger",
	"audit_logger", "auditlogger", "auditLogger", "auditlogger", "AuditLogger", "auditlogger",
	"Audit logger", "auditlogger")

// badWords lists the words of the text that we do not say, by line.
func badWords(name, text string) []string {
	var found []string
	if !mayHaveBadWords(text) {
		return nil
	}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if !mayHaveBadWords(line) {
			continue
		}
		for _, said := range word.FindAllString(auditLogger.Replace(line), -1) {
			lower := strings.ToLower(said)
			better, bad := avoided[lower]
			if !bad {
				better, bad = avoided[strings.TrimSuffix(lower, "s")]
			}
			if bad {
				found = append(found, fmt.Sprintf("%s:%d: %q; say %s", name, number, said, better))
			}
		}
	}
	return found
}

// mayHaveBadWords tells a text that is worth a closer look: a regular expression
// over all files takes half a minute with the race detector.
func mayHaveBadWords(text string) bool {
	text = strings.ToLower(text)
	for bad := range avoided {
		if strings.Contains(text, strings.TrimPrefix(bad, "audit")) {
			return true
		}
	}
	return false
}

// isText tells text from binary content as git does, and asks for UTF-8.
func isText(content []byte) bool {
	return !bytes.ContainsRune(content[:min(len(content), 8000)], 0) && utf8.Valid(content)
}

func TestFilesUseOurWords(t *testing.T) {
	const here = "internal/tools/house/words_test.go" // which has to name them
	files, err := house.Files(root)
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		if isText(content) && file != here && filepath.Base(file) != "go.sum" {
			require.Empty(t, badWords(file, string(content)))
		}
	}
}

func TestABadWordIsFound(t *testing.T) {
	for _, text := range []string{
		"the ledger", "Ledgers", "newLedgerEntry", "LEDGER_SIZE", "a blacklist", "isBlacklisted",
		"the master key", "masterKey", "an audit logger", "AuditLogger", "auditLogger.New()",
	} {
		require.Len(t, badWords("file", text), 1, text)
	}
	for _, text := range []string{
		"acknowledger", "slog.Logger", "the library's own logger", "mastered", "Mastercard", "audit log",
	} {
		require.Empty(t, badWords("file", text), text)
	}
	require.Equal(t, []string{`a.go:2: "Master"; say main, primary or root`}, badWords("a.go", "one\nMaster\n"))
}

func TestBinaryContentIsNoText(t *testing.T) {
	require.True(t, isText([]byte("täxt")))
	require.True(t, isText(nil))
	require.False(t, isText([]byte("a\x00b")))
	require.False(t, isText([]byte("a\xffb")))
}
