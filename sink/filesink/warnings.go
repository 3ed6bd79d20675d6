package filesink

import (
	"log/slog"
	"path/filepath"
)

// The names of warnings (docs/format.md, F6).
const (
	allTemporary    = "all-on-temporary-storage"
	keyTemporary    = "key-on-temporary-storage"
	noHeadElsewhere = "no-head-elsewhere"
)

var warningTexts = map[string]string{
	allTemporary:    "log, key and anchor are on storage that goes with the container or the machine's next start: keep them on a volume",
	keyTemporary:    "the key is on storage that goes with the container or the machine's next start, the log is not: the next start could not go on with the log; keep the key on a volume too",
	noHeadElsewhere: "no head of the log is kept on other storage: somebody who can write to this one can cut the log unseen; set Options.Anchor, or Options.AnchorPath to a place elsewhere",
}

// warn says once, and in the report, what is unwise about where the log, its key
// and its heads are kept.
func (o *opening) warn() {
	at := o.opts.disk.Storage
	log, anchor := at(o.path), at(filepath.Dir(o.opts.AnchorPath))
	if log.ID == nil || anchor.ID == nil {
		return // not known here
	}
	warnings := &o.recovery.Warnings
	switch path := o.key.path; {
	case path == "": // it is kept by somebody else
	case log.Temporary && anchor.Temporary && at(path).Temporary:
		*warnings = append(*warnings, allTemporary)
	case !log.Temporary && at(path).Temporary:
		*warnings = append(*warnings, keyTemporary)
	}
	if o.opts.Anchor == nil && log.ID == anchor.ID {
		*warnings = append(*warnings, noHeadElsewhere)
	}
	for _, name := range *warnings {
		slog.Default().Warn("job audit log: "+warningTexts[name],
			slog.String("warning", name), slog.String("log", o.path), slog.String("key", o.key.path), slog.String("anchor", o.opts.AnchorPath))
	}
}
