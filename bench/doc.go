// Package bench measures jobaudit against what it cannot beat: the same work
// done by a bare loop, within the same run, as a ratio.
//
//	go test -run '^$' -bench . -benchtime 2s
package bench
