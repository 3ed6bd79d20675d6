//go:build !linux

package disk

// Storage implements [Disk]: it is not known here.
func (OS) Storage(string) Storage { return Storage{} }
