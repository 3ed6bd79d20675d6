package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/jobaudit/jobaudit/auditlog"
)

// verifierKey is a verifier key and its text.
type verifierKey struct {
	note.Verifier
	text string
}

// readKey reads a verifier key: the text itself, a file that holds it, or the
// log's key file, whose public half it is.
func readKey(textOrFile string) (verifierKey, error) {
	text := strings.TrimSpace(textOrFile)
	if content, err := readInput(textOrFile); err == nil {
		text = strings.TrimSpace(string(content))
		if strings.HasPrefix(text, "PRIVATE+KEY+") {
			public, err := auditlog.VerifierKey(text)
			if err != nil {
				return verifierKey{}, fmt.Errorf("key file %s: %w", textOrFile, err)
			}
			text = public
		}
	} else if strings.Count(text, "+") < 2 {
		return verifierKey{}, fmt.Errorf("key: %w", err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		return verifierKey{}, usagef("key: %q is no verifier key, and no file that holds one", plain(textOrFile))
	}
	return verifierKey{v, text}, nil
}

// readKeys reads the keys of --key.
func readKeys(flags []string) ([]note.Verifier, error) {
	if len(flags) == 0 {
		return nil, usagef("--key is missing: the log's verifier key, as text or in a file. " +
			"It has to come from elsewhere than the log; jobaudit key KEYFILE prints it")
	}
	var keys []note.Verifier
	for _, flag := range flags {
		key, err := readKey(flag)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// keyFlag adds --key to a command that reads mirrors too: with it a mirror is read as far
// as its log's keys have signed it.
func keyFlag(cmd *cobra.Command, keys *[]string) {
	cmd.Flags().StringArrayVar(keys, "key", nil, "verifier key, as text or in a file: of a mirror only what it has signed is read; may be repeated")
}

// give takes in the keys of a [keyFlag].
func (a *app) give(flags []string) (err error) {
	if len(flags) > 0 {
		a.keys, err = readKeys(flags)
	}
	return err
}

func (d directory) key(ctx context.Context) (verifierKey, error) {
	key, _, err := d.keyBeside(ctx)
	return key, err
}

// keyBeside looks for the key of a log in the key files beside its directory:
// *.key, and in keys/ there. The key is never inside.
func (d directory) keyBeside(ctx context.Context) (verifierKey, string, error) {
	signed, err := d.newest(ctx, false)
	if err != nil {
		return verifierKey{}, "", err
	}
	dir, err := filepath.Abs(d.path)
	if err != nil {
		return verifierKey{}, "", err
	}
	var files []string
	for _, pattern := range []string{"*.key", "keys/*.key"} {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(dir), pattern))
		if err != nil {
			return verifierKey{}, "", err
		}
		files = append(files, found...)
	}
	for _, file := range files {
		key, err := readKey(file)
		if err != nil {
			continue
		}
		if _, err := auditlog.OpenCheckpoint(signed, key); err == nil {
			return key, file, nil
		}
	}
	return verifierKey{}, "", fmt.Errorf("none of the key files beside %s signed its newest head, whose signature is %s", dir, signatureName(signed))
}

// signatureName returns the key's name in a signed note's signature line.
func signatureName(signed []byte) string {
	lines := strings.Split(strings.TrimSpace(string(signed)), "\n")
	return plain(strings.TrimPrefix(lines[len(lines)-1], "— "))
}

func (a *app) keyCommand() *cobra.Command {
	var create string
	cmd := &cobra.Command{
		Use:   "key DIR-OR-KEYFILE",
		Short: "Print the verifier key, for auditors",
		Long: `Print the verifier key that belongs to a key file, for auditors.

Of a log's directory it prints the key whose file lies beside it (*.key or
keys/*.key) and that signed its newest head. A log never holds its key: who
verifies it should have got the key some other way.

With --create it makes a new key file first, for a sequencer.`,
		Args: wrongly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if create != "" {
				if err := createKey(args[0], create); err != nil {
					return err
				}
			}
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if !info.IsDir() {
				key, err := readKey(args[0])
				if err == nil {
					fmt.Fprintln(a.out, key.text)
				}
				return unusable(err)
			}
			key, file, err := directory{path: args[0]}.keyBeside(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.err, "the key in %s signed the newest head\n", plain(file))
			fmt.Fprintln(a.out, key.text)
			return nil
		},
	}
	cmd.Flags().StringVar(&create, "create", "", "make the key file, for the log of this name: a URL without its scheme, as in example.com/jobs")
	return cmd
}

// createKey makes a key file that its owner alone can read.
func createKey(file, origin string) error {
	secret, _, err := auditlog.GenerateKey(origin)
	if err != nil {
		return usageError{err}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = syncDirectory(filepath.Dir(file))
	}
	if err != nil {
		_ = os.Remove(file) // nothing was signed with it
	}
	return err
}

// syncDirectory makes durable which files a directory has, where the system can: what is
// signed with a key that a power cut takes away can never be continued.
func syncDirectory(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if runtime.GOOS == "windows" || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// unusable makes an error about a file's content one of reading.
func unusable(err error) error {
	if usage, ok := errors.AsType[usageError](err); ok {
		return usage.error
	}
	return err
}

func (a *app) checkpointCommand() *cobra.Command {
	var key string
	cmd := &cobra.Command{
		Use:   "checkpoint SOURCE",
		Short: "Print the newest signed head that is safe to keep",
		Long: `Print the newest signed head (C2SP tlog-checkpoint) that is known to be durable:
a newer one may be lost in a crash, and would accuse an honest log. Keep it somewhere else, and
jobaudit verify --anchor finds out whether the log still holds all that it held.

With --key the signature is checked, without it is not.`,
		Args:              wrongly(cobra.ExactArgs(1)),
		ValidArgsFunction: onDir,
		RunE: func(cmd *cobra.Command, args []string) error {
			if key != "" {
				verifier, err := readKey(key)
				if err != nil {
					return err
				}
				a.keys = []note.Verifier{verifier}
			}
			source, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			signed, err := source.newest(cmd.Context(), true)
			if err != nil {
				return err
			}
			for _, verifier := range a.keys {
				if _, err := auditlog.OpenCheckpoint(signed, verifier); err != nil {
					fmt.Fprintf(a.err, "jobaudit: newest head: %v\n", err)
					return errFindings
				}
			}
			_, err = a.out.Write(signed)
			return err
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's verifier key, as text or in a file")
	return cmd
}
