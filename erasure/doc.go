// Package erasure makes personal data in records erasable. It encrypts a text
// with a key of the person it is about, and the person's key can be deleted
// later.
//
// A record cannot be changed, and a person can demand that what it says about
// them be erased. [Seal] encrypts a text with a key of the person's own, kept in
// a [KeyStore] outside the log. Deleting that key, by
// [jobaudit.Recorder.Erase], makes the text unreadable everywhere the record has
// gone, and every hash still verifies. Until then, those who have the key store
// can [Open] it.
//
//	keys, err := erasure.OpenFileKeys("/var/lib/app/keys")
//	// in a policy:
//	func(in order) (kept, error) {
//		name, err := erasure.Seal(keys, in.CustomerID, in.CustomerName)
//		return kept{in.OrderID, name}, err
//	}
//	// of a principal:
//	name, err := erasure.Seal(keys, user.ID, user.Name)
//	submission.Principal.Name = name.String()
//	// when the person asks for it:
//	err = recorder.Erase(ctx, keys, user.ID, "ticket 4711")
//
// Credentials are never sealed: Seal refuses what the scan for secrets finds.
package erasure
