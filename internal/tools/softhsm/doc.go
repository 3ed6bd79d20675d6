// Package softhsm signs logs with a key that a PKCS #11 token holds: it shows, by
// a test with SoftHSM, that a log's secret need not be in the process that writes
// the log (filesink.NewKey).
//
// miekg/pkcs11 is the common Go binding of PKCS #11 (OASIS, version 2.40; EdDSA
// as in version 3.0). It needs cgo.
package softhsm
