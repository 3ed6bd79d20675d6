package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jobaudit/jobaudit/export"
)

// destination is where an export goes, as the flags say: standard output, a file, or
// another system.
type destination struct {
	format, out, to   string
	raw               bool
	headers           []string
	ca, cert, certKey string
}

func (d *destination) add(cmd *cobra.Command) {
	var formats []string
	for _, f := range export.Formats() {
		formats = append(formats, string(f))
	}
	flags := cmd.Flags()
	flags.StringVar(&d.format, "format", "", strings.Join(formats, ", "))
	flags.BoolVar(&d.raw, "raw", false, "csv: leave texts that a spreadsheet takes for formulas as they are")
	flags.StringVarP(&d.out, "out", "o", "", "append to this file, instead of printing")
	flags.StringVar(&d.to, "to", "", "send to syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT, or https://HOST/v1/logs (OTLP)")
	flags.StringArrayVar(&d.headers, "header", nil, "https: send this header, as in 'Name: value', or those in the file @FILE, one a line")
	flags.StringVar(&d.ca, "ca", "", "trust the certificates in this PEM file, and no others")
	flags.StringVar(&d.cert, "cert", "", "show the target the certificate in this PEM file")
	flags.StringVar(&d.certKey, "cert-key", "", "the key of --cert, as a PEM file")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// open makes the target. What it opens is closed when the program ends.
func (d *destination) open(a *app) (export.Target, error) {
	switch {
	case d.to != "" && d.out != "":
		return nil, usagef("--out and --to exclude each other")
	case d.to != "":
		return d.openURL()
	}
	encoder, err := d.encoder("")
	if err != nil {
		return nil, err
	}
	if d.out == "" {
		return export.NewWriter(struct{ writer }{a.out}, encoder, true), nil
	}
	f, err := os.OpenFile(d.out, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, f.Close)
	fresh, err := endsWithAnEvent(f, encoder.Format())
	if err != nil {
		return nil, err
	}
	return export.NewWriter(f, encoder, fresh), nil
}

// writer hides what else standard output can do: a pipe cannot be synced.
type writer interface{ Write(p []byte) (int, error) }

// encoder makes the encoder of the format that was asked for, or that the target has.
func (d *destination) encoder(implied export.Format) (*export.Encoder, error) {
	format := export.Format(d.format)
	if format == "" {
		format = implied
	}
	if format == "" {
		return nil, usagef("--format is missing")
	}
	encoder, err := export.New(format, &export.Options{Raw: d.raw})
	if err != nil {
		return nil, usageError{err}
	}
	return encoder, nil
}

// endsWithAnEvent reports whether a file is empty. If not, it has to end where an event
// ends: behind half of one, the next would be read as its other half. In CSV that may be
// behind a line feed, within quotation marks.
func endsWithAnEvent(f *os.File, format export.Format) (empty bool, err error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 || !info.Mode().IsRegular() {
		return true, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return false, err
	}
	whole := last[0] == '\n'
	if whole && format == export.CSV {
		whole, err = pairsQuotes(io.NewSectionReader(f, 0, info.Size()))
	}
	if err == nil && !whole {
		err = fmt.Errorf("%s ends within an event, as after a crash: cut off what there is of its last event, or write to another file", plain(f.Name()))
	}
	return false, err
}

// pairsQuotes reports whether every quotation mark has its other one.
func pairsQuotes(r io.Reader) (bool, error) {
	for odd, buf := false, make([]byte, 256<<10); ; {
		n, err := r.Read(buf)
		odd = odd != (bytes.Count(buf[:n], []byte{'"'})%2 == 1)
		if err == io.EOF {
			return !odd, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func (d *destination) openURL() (export.Target, error) {
	u, err := url.Parse(d.to)
	if err != nil || u.Host == "" {
		return nil, usagef("--to %q is no address of a target: syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT or https://HOST/v1/logs", plain(d.to))
	}
	config, err := d.tls()
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "syslog+tcp", "syslog+tls":
		encoder, err := d.encoder(export.Syslog)
		if err != nil {
			return nil, err
		}
		if u.Port() == "" {
			return nil, usagef("--to %q has no port: 6514 is syslog's over TLS", plain(d.to))
		}
		if u.Scheme == "syslog+tcp" {
			config = nil
		}
		return export.NewSyslog(u.Host, encoder, config), nil
	case "http", "https":
		encoder, err := d.encoder(export.OTLP)
		if err != nil {
			return nil, err
		}
		if encoder.Format() != export.OTLP {
			return nil, usagef("what is sent to %s is otlp, not %s", u.Scheme, encoder.Format())
		}
		header, err := d.header()
		if err != nil {
			return nil, err
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = config
		return export.NewOTLP(d.to, header, &http.Client{Transport: transport}), nil
	}
	return nil, usagef("--to %q: no target of the kind %q is known: syslog+tcp, syslog+tls, https", plain(d.to), plain(u.Scheme))
}

func (d *destination) header() (http.Header, error) {
	header := http.Header{}
	for _, arg := range d.headers {
		lines, err := headerLines(arg)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			name, value, found := strings.Cut(line, ":")
			if !found {
				return nil, usagef("--header: a header is written 'Name: value', or @FILE")
			}
			header.Add(textproto.TrimString(name), textproto.TrimString(value))
		}
	}
	return header, nil
}

// tls is what the flags say of certificates.
func (d *destination) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.ca != "" {
		content, err := readInput(d.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, usagef("--ca %s holds no certificate in PEM", plain(d.ca))
		}
	}
	if (d.cert == "") != (d.certKey == "") {
		return nil, usagef("--cert and --cert-key belong together")
	}
	if d.cert != "" {
		cert, err := readInput(d.cert)
		if err != nil {
			return nil, fmt.Errorf("--cert: %w", err)
		}
		key, err := readInput(d.certKey)
		if err != nil {
			return nil, fmt.Errorf("--cert-key: %w", err)
		}
		own, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("--cert: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
