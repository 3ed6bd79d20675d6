package export

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/google/uuid"

	"github.com/jobaudit/jobaudit"
)

// Format names a format.
type Format string

// The formats. Each event is one line, in syslog and CSV up to line feeds in
// quoted texts.
const (
	CSV         Format = "csv"         // RFC 4180, with a header
	JSONL       Format = "jsonl"       // the stored bytes, one event a line
	CloudEvents Format = "cloudevents" // CloudEvents 1.0 in JSON, structured mode
	OCSF        Format = "ocsf"        // classes 1006, 6003 and 0 of OCSF 1.9.0-dev
	ECS         Format = "ecs"         // Elastic Common Schema 9.5.0-dev
	Syslog      Format = "syslog"      // RFC 5424 with structured data
	CEF         Format = "cef"         // ArcSight Common Event Format 0
	OTLP        Format = "otlp"        // OpenTelemetry logs: one export request in JSON a line
)

// Formats returns all formats, in the order in which they are documented.
func Formats() []Format {
	return []Format{CSV, JSONL, CloudEvents, OCSF, ECS, Syslog, CEF, OTLP}
}

// Options are the optional parts of an [Encoder]. The zero value, like nil,
// gives the defaults.
type Options struct {
	// Raw leaves texts in CSV as they are. By default a text that a spreadsheet
	// would take for a formula, and one that begins with an apostrophe, gets an
	// apostrophe in front.
	Raw bool
}

// Encoder writes events in one format. It keeps nothing between calls and is
// safe for concurrent use.
type Encoder struct {
	format Format
	header []byte
	encode func(dst []byte, v *view) []byte
}

// New returns the encoder of a format. The error says which formats there are.
func New(format Format, opts *Options) (*Encoder, error) {
	e := &Encoder{format: format}
	switch format {
	case CSV:
		raw := opts != nil && opts.Raw
		e.header = csvHeader()
		e.encode = func(dst []byte, v *view) []byte { return appendCSV(dst, v, raw) }
	case JSONL:
		e.encode = func(dst []byte, v *view) []byte { return append(v.record.AppendTo(dst), '\n') }
	case CloudEvents:
		e.encode = appendCloudEvent
	case OCSF:
		e.encode = appendOCSF
	case ECS:
		e.encode = appendECS
	case Syslog:
		e.encode = func(dst []byte, v *view) []byte { return append(appendSyslog(dst, v), '\n') }
	case CEF:
		e.encode = appendCEF
	case OTLP:
		e.encode = func(dst []byte, v *view) []byte { return append(appendOTLP(dst, v), '\n') }
	default:
		return nil, fmt.Errorf("export: %q is no format; there are %s", string(format), strings.Join(names(), ", "))
	}
	return e, nil
}

func names() (list []string) {
	for _, f := range Formats() {
		list = append(list, string(f))
	}
	return list
}

// Format returns the encoder's format.
func (e *Encoder) Format() Format { return e.format }

// Header returns what stands before the first event: the names of the columns in
// CSV, nothing in the other formats.
func (e *Encoder) Header() []byte { return append([]byte(nil), e.header...) }

// Append appends an event, with what ends it, to dst. The zero Record appends
// nothing.
func (e *Encoder) Append(dst []byte, r jobaudit.Record) []byte {
	if r.Len() == 0 {
		return dst
	}
	v := view{record: r}
	if e.format != JSONL {
		v.Event = r.Event()
	}
	return e.encode(dst, &v)
}

// Write writes the header and all records, in pieces of about 64 KiB, and returns
// the ID of the newest event that was written as a whole. It ends at the first
// error, of reading or of writing; what came before it has been written.
func Write(w io.Writer, format Format, records iter.Seq2[jobaudit.Record, error], opts *Options) (last uuid.UUID, err error) {
	e, err := New(format, opts)
	if err != nil {
		return last, err
	}
	buf := e.Header()
	newest := last
	flush := func() error {
		if _, err := w.Write(buf); err != nil {
			return fmt.Errorf("export: write: %w", err)
		}
		buf, last = buf[:0], newest
		return nil
	}
	for r, err := range records {
		if err != nil {
			if failed := flush(); failed != nil {
				return last, failed
			}
			return last, fmt.Errorf("export: read: %w", err)
		}
		buf = e.Append(buf, r)
		newest = r.ID()
		if len(buf) >= 64<<10 {
			if err := flush(); err != nil {
				return last, err
			}
		}
	}
	return last, flush()
}
