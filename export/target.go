package export

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jobaudit/jobaudit"
)

// NewWriter returns a target that writes to w, with what stands before the first
// event if header is set. It has taken the events when Write returns and, if w has
// a method Sync() error as a file has, that too. A batch that could be written in
// part is written again as a whole, and never behind half of an event: w is cut back
// to the end of the last whole one, if it has Seek and Truncate as a file has.
// Otherwise, as in a pipe, what is missing of the torn event is written first.
func NewWriter(w io.Writer, e *Encoder, header bool) Target {
	t := &writerTarget{w: w, encoder: e}
	if header {
		t.header = e.Header()
	}
	return t
}

type writerTarget struct {
	w       io.Writer
	encoder *Encoder
	mu      sync.Mutex
	header  []byte // until it is written
	buf     []byte
	ends    []int  // of what is whole in buf
	rest    []byte // what is missing of an event that was written in part
}

func (t *writerTarget) Send(_ context.Context, records []jobaudit.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.complete(); err != nil {
		return fmt.Errorf("export: write: %w", err)
	}
	t.buf = append(t.buf[:0], t.header...)
	t.ends = append(t.ends[:0], 0, len(t.buf))
	for _, r := range records {
		t.buf = t.encoder.Append(t.buf, r)
		t.ends = append(t.ends, len(t.buf))
	}
	n, err := t.w.Write(t.buf)
	if err != nil {
		t.repair(min(max(n, 0), len(t.buf)))
		return fmt.Errorf("export: write: %w", err)
	}
	t.header = nil
	if file, ok := t.w.(interface{ Sync() error }); ok {
		if err := file.Sync(); err != nil {
			return fmt.Errorf("export: sync: %w", err)
		}
	}
	return nil
}

// complete writes what is missing of an event that was written in part.
func (t *writerTarget) complete() error {
	if len(t.rest) == 0 {
		return nil
	}
	n, err := t.w.Write(t.rest)
	t.rest = t.rest[min(max(n, 0), len(t.rest)):]
	if err == nil {
		t.rest = nil
	}
	return err
}

// repair sees to it that what comes behind the first n bytes of buf, which are written,
// comes behind a whole event. Those that are whole stay: who reads w may have them.
func (t *writerTarget) repair(n int) {
	i, whole := slices.BinarySearch(t.ends, n)
	if !whole && !t.cutBack(int64(n-t.ends[i-1])) {
		t.rest = bytes.Clone(t.buf[n:t.ends[i]])
		n = t.ends[i]
	} else if !whole {
		n = t.ends[i-1]
	}
	if n >= len(t.header) {
		t.header = nil
	}
}

// cutBack takes the newest bytes of w away, and reports whether they are gone.
func (t *writerTarget) cutBack(n int64) bool {
	file, ok := t.w.(interface {
		io.Seeker
		Truncate(size int64) error
	})
	if !ok {
		return false
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return false
	}
	end, err := file.Seek(0, io.SeekEnd)
	if err == nil && end == at && at >= n && file.Truncate(at-n) == nil { // or others have written behind it
		_, err = file.Seek(at-n, io.SeekStart)
		return err == nil
	}
	_, _ = file.Seek(at, io.SeekStart)
	return false
}

// NewSyslog returns a target that sends syslog messages to a host and port. An
// encoder of another format than [Syslog] gives their texts, as for receivers that
// expect CEF in syslog; there are no structured data then. The messages have
// the framing of RFC 5425 (octet counting, which RFC 6587 has for TCP): over TLS if
// config is not nil. Give it the certificates to trust, and where the receiver asks
// for one, its own; the name is that of the address unless config says another.
//
// Syslog acknowledges nothing. So each batch has a connection of its own: when it is
// written, this side is closed, and the batch counts as taken when the receiver has
// closed its side in order too, which it does after reading all. That a receiver has
// stored what it read nobody can know.
func NewSyslog(address string, e *Encoder, config *tls.Config) Target {
	return &syslogTarget{address: address, encoder: e, config: config}
}

type syslogTarget struct {
	address string
	encoder *Encoder
	config  *tls.Config
}

func (t *syslogTarget) Send(ctx context.Context, records []jobaudit.Record) error {
	var buf, message []byte
	for _, r := range records {
		v := view{record: r, Event: r.Event()}
		if t.encoder.format == Syslog {
			message = appendSyslog(message[:0], &v)
		} else {
			message = append(appendSyslogHeader(message[:0], &v), " - "...)
			message = bytes.TrimRight(t.encoder.encode(message, &v), "\r\n")
		}
		buf = append(append(strconv.AppendInt(buf, int64(len(message)), 10), ' '), message...)
	}
	conn, err := t.dial(ctx)
	if err != nil {
		return fmt.Errorf("export: syslog: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := exchange(conn, buf); err != nil {
		return fmt.Errorf("export: syslog: %s: %w", t.address, errors.Join(err, ctx.Err()))
	}
	return nil
}

func (t *syslogTarget) dial(ctx context.Context) (net.Conn, error) {
	if t.config == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", t.address)
	}
	return (&tls.Dialer{Config: t.config}).DialContext(ctx, "tcp", t.address)
}

// exchange writes everything, says that it is all, and waits until the other side
// has said the same.
func exchange(conn net.Conn, buf []byte) error {
	if _, err := conn.Write(buf); err != nil {
		return err
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("the connection cannot be closed on one side")
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return fmt.Errorf("the receiver did not close in order, so it may not have read all: %w", err)
	}
	return nil
}

// NewOTLP returns a target that posts requests of OTLP over HTTP, in JSON, to a URL
// that ends in /v1/logs by convention. header is sent with each, as for
// authorization; it is not changed. A nil client is [http.DefaultClient]. Answers
// that say that the request is wrong, and partial success, are a [*RefusedError]. A
// redirection is an error, unless the client has a CheckRedirect that follows it: events and
// header would go to another host, or a GET without them would be answered.
func NewOTLP(url string, header http.Header, client *http.Client) Target {
	if client == nil {
		client = http.DefaultClient
	}
	own := *client
	if own.CheckRedirect == nil {
		own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return &otlpTarget{url: url, header: header, client: &own}
}

type otlpTarget struct {
	url    string
	header http.Header
	client *http.Client
}

func (t *otlpTarget) Send(ctx context.Context, records []jobaudit.Record) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(appendRequest(nil, records)))
	if err != nil {
		return fmt.Errorf("export: otlp: %w", err)
	}
	maps.Copy(request.Header, t.header)
	request.Header.Set("Content-Type", "application/json")
	response, err := t.client.Do(request)
	if err != nil {
		return fmt.Errorf("export: otlp: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("export: otlp: the answer: %w", err)
	}
	switch code := response.StatusCode; {
	case code == http.StatusNoContent, code == http.StatusOK && len(body) == 0:
		return nil // not what OTLP asks for, and what Grafana Loki answers
	case code == http.StatusOK:
		return partial(body)
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		return &RefusedError{Reason: response.Status + " " + excerpt(body)}
	}
	return fmt.Errorf("export: otlp: the target answers %s %s", response.Status, excerpt(body))
}

// partial reads the answer to a request: an ExportLogsServiceResponse, whose 64-bit
// integers may be strings. An answer of another kind is none of OTLP's.
func partial(body []byte) error {
	var answer struct {
		PartialSuccess struct {
			RejectedLogRecords json.RawMessage `json:"rejectedLogRecords"`
			ErrorMessage       string          `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("export: otlp: the answer is not that of an OTLP receiver: %s", excerpt(body))
	}
	count := string(bytes.Trim(answer.PartialSuccess.RejectedLogRecords, `"`))
	if count == "" || count == "null" {
		return nil
	}
	rejected, err := strconv.ParseInt(count, 10, 64)
	if err == nil && rejected == 0 {
		return nil
	}
	return &RefusedError{Rejected: rejected, Reason: excerpt([]byte(answer.PartialSuccess.ErrorMessage))}
}

// excerpt is the beginning of what a target says, on one line.
func excerpt(body []byte) string {
	return string(appendVisible(nil, cut(string(bytes.ToValidUTF8(body, []byte("?"))), 200), appendRune))
}
