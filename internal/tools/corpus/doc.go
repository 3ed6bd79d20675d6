// Package corpus holds the scan for secrets against the samples with which other
// programs test themselves: gitleaks (MIT) and the Veles detectors of OSV-SCALIBR
// (Apache-2.0). Both make them when the test runs, from their sources; nothing of
// theirs is in the repository or in any program that users build.
package corpus
