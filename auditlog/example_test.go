package auditlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jobaudit/jobaudit/auditlog"
	"golang.org/x/mod/sumdb/note"
)

func Example() {
	signerKey, verifierKey, err := auditlog.GenerateKey("example.com/jobs")
	if err != nil {
		panic(err)
	}
	signer, _ := note.NewSigner(signerKey)
	verifier, _ := note.NewVerifier(verifierKey)

	// One batch: its lines, then the commit line that signs for them.
	var tree auditlog.Tree
	var log, hashes []byte
	for _, line := range []string{"submitted", "started", "succeeded"} {
		hashes = tree.Append(hashes, auditlog.HashLeaf([]byte(line)))
		log = append(log, line+"\n"...)
	}
	head, err := tree.Sign(signer)
	if err != nil {
		panic(err)
	}
	log = append(auditlog.AppendCommit(log, head), '\n')

	// Somebody with the verifier key changes a line and verifies.
	log = bytes.Replace(log, []byte("started"), []byte("stalled"), 1)
	segments := []auditlog.Segment{{Name: "the log", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(log)), nil
	}}}
	_, err = auditlog.Verify(context.Background(), segments, &auditlog.Options{
		Keys:  []note.Verifier{verifier},
		Hints: auditlog.StoredHashes(bytes.NewReader(hashes)),
	}, nil)
	if found, ok := errors.AsType[*auditlog.VerifyError](err); ok {
		for _, f := range found.Findings {
			fmt.Println(f.Kind, f.Index, f.Segment, f.Offset)
		}
	}
	// Output: leaf_changed 1 the log 10
}

func ExampleVerify() {
	log := `one
two
{"checkpoint":"example.com/jobs\n2\nT1X2GdkhUjV3iyufF9b0kVsWFxIU0VI4EpNml2Teci4=\n\n— example.com/jobs AAAAAAA=\n"}
three`
	segments := []auditlog.Segment{{Name: "log", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader([]byte(log))), nil
	}}}
	report, err := auditlog.Verify(context.Background(), segments, nil, func(leaf auditlog.Leaf) error {
		fmt.Printf("%d %s\n", leaf.Index, leaf.Bytes)
		return nil
	})
	fmt.Println(report.Level, report.Head.Size, "tail:", report.Tail.Bytes, err)
	// Output:
	// 0 one
	// 1 two
	// L0 2 tail: 5 <nil>
}

func ExampleProve() {
	signerKey, verifierKey, _ := auditlog.GenerateKey("example.com/jobs")
	signer, _ := note.NewSigner(signerKey)
	verifier, _ := note.NewVerifier(verifierKey)

	var tree auditlog.Tree
	var hashes []byte
	for _, line := range []string{"one", "two", "three"} {
		hashes = tree.Append(hashes, auditlog.HashLeaf([]byte(line)))
	}
	head, _ := tree.Sign(signer)

	proof, err := auditlog.Prove(head, 1, []byte("two"), auditlog.StoredHashes(bytes.NewReader(hashes)))
	if err != nil {
		panic(err)
	}
	text, _ := proof.MarshalText() // the contents of a .tlog-proof file

	// Elsewhere, with no log at hand:
	got, err := auditlog.OpenProof(text, verifier)
	fmt.Printf("%d %s %v\n", got.Index(), got.Leaf(), err)
	// Output: 1 two <nil>
}

func ExampleSuccessorOrigin() {
	fmt.Println(auditlog.SuccessorOrigin("example.com/jobs"))
	fmt.Println(auditlog.SuccessorOrigin("example.com/jobs/s2"))
	// Output:
	// example.com/jobs/s2
	// example.com/jobs/s3
}
