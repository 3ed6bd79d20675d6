// Package redact has what goes with the redaction policies of package
// jobaudit without being one: values that are sealed for one person, so that
// they can be erased later, and errors whose text is a constant of the
// program.
//
// # Sealing
//
// A record cannot be changed, and a person can demand that what it says about
// them be erased. [Seal] encrypts a text with a key of the person's own, kept in
// a [KeyStore] outside the log. Deleting that key, by
// [jobaudit.Recorder.Erase], makes the text unreadable for ever, everywhere the
// record has gone, and every hash still verifies. Until then who has the key
// store can [Open] it.
//
//	keys, err := redact.OpenFileKeys("/var/lib/app/keys")
//	// in a policy:
//	func(in order) (kept, error) {
//		name, err := redact.Seal(keys, in.CustomerID, in.CustomerName)
//		return kept{in.OrderID, name}, err
//	}
//	// of a principal:
//	name, err := redact.Seal(keys, user.ID, user.Name)
//	submission.Principal.Name = name.String()
//	// when the person asks for it:
//	err = recorder.Erase(ctx, keys, user.ID, "ticket 4711")
//
// Credentials are never sealed: Seal refuses what the scan for secrets finds.
//
// # Constant texts
//
// An error's message is dropped if it holds a secret, or what a policy removed
// from the job's inputs. [Error] makes an error whose own text, which only a
// constant of the program can be, stays.
package redact
