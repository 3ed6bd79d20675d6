package secrets_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestThePasswordOfAnEntryIsFoundWhateverItsUserIsNamed: a word of .netrc that stands where
// a value has to be is one.
func TestThePasswordOfAnEntryIsFoundWhateverItsUserIsNamed(t *testing.T) {
	s := newScanner(t, nil)
	const value = "Zq8vN3rXw2LkT7pY"
	for _, name := range []string{"app", "machine", "login", "account", "password", "macdef", "default"} {
		for _, form := range []string{
			"machine api.example.org login %[1]s password %[2]s",
			"machine api.example.org\n\tlogin %[1]s\n\tpassword %[2]s\n",
			"machine api.example.org account %[1]s login app password %[2]s",
			"machine api.example.org login app account %[1]s password %[2]s",
			"machine a login %[1]s password guest\nmachine b login %[1]s password %[2]s",
			"machine a login b machine c login %[1]s password %[2]s",
			"machine a login %[1]s account %[1]s password %[2]s",
		} {
			requireFound(t, s, fmt.Sprintf(form, name, value))
		}
	}
}

// TestAPasswordThatBeginsInItsEntryIsFound: as it is judged in whole, not by the part of it
// that is looked at.
func TestAPasswordThatBeginsInItsEntryIsFound(t *testing.T) {
	s := newScanner(t, nil)
	const value = "Zq8vN3rXw2LkT7pY"
	for pad := range 600 {
		for _, behind := range []string{"", "\nmachine other.example.org", "\" rest", "' rest"} {
			entry := " api.example.org" + strings.Repeat(" ", pad) + " login app password "
			for _, none := range []string{strings.Repeat("*", 40), "guest", strings.Repeat("a", 300)} {
				s.Find("machine" + entry + none + behind) // reads no further than the text
			}
			if len(entry) < 512 {
				requireFound(t, s, "machine"+entry+value+behind)
			}
		}
	}
}

// TestAnEntryBehindAWordThatWantsAValueIsLookedAtAsFarAsAny: its machine may be that value.
func TestAnEntryBehindAWordThatWantsAValueIsLookedAtAsFarAsAny(t *testing.T) {
	s := newScanner(t, nil)
	const entry = "machine db.example.org login app password Zq8vN3rXw2LkT7pY"
	for words := range 260 {
		before := "machine " + strings.Repeat("x ", words)
		for _, last := range []string{"login\n", "account ", "login machine account ", "login machine x login "} {
			requireFound(t, s, before+last+entry)
			requireFound(t, s, before+last+strings.Repeat("machine x login ", 40)+entry)
		}
	}
}
