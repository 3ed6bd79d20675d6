package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/jobaudit/jobaudit/internal/tools/s3server"
	"github.com/jobaudit/jobaudit/mirror"
	"github.com/jobaudit/jobaudit/sink/s3mirror"
)

// place is where the mirrors of all nodes lie.
type place struct {
	name string
	// cut cuts the network between a node and its mirror, or connects it again.
	cut   func(node string, cut bool) error
	close func() error
	base  string
}

// target is where a node's mirror lies.
func (p place) target(node string) string { return p.base + "/" + node }

func directories(dir string) (place, error) {
	base := filepath.Join(dir, "mirrors")
	cut, err := cutByFile(dir)
	return place{name: "directories", base: base, cut: cut, close: func() error { return nil }}, errors.Join(err, os.Mkdir(base, 0o700))
}

// bucket is one under an address of the user's, whose network is not ours to cut:
// the calls fail instead.
func bucket(url, dir string) (place, error) {
	// Another run's nodes have other keys, and what is locked stays.
	base := strings.TrimSuffix(url, "/") + "/" + time.Now().UTC().Format("20060102T150405")
	cut, err := cutByFile(dir)
	return place{name: base, base: base, cut: cut, close: func() error { return nil }}, err
}

// cutVariable names the directory in which files tell which nodes are cut off.
const cutVariable = "FLEET_CUT"

func cutByFile(dir string) (func(node string, cut bool) error, error) {
	dir = filepath.Join(dir, "cut")
	return func(node string, cut bool) error {
		if cut {
			return os.WriteFile(filepath.Join(dir, node), nil, 0o600)
		}
		return os.Remove(filepath.Join(dir, node))
	}, errors.Join(os.Mkdir(dir, 0o700), os.Setenv(cutVariable, dir))
}

// ownServer starts a server, and makes a bucket whose objects nobody can remove for
// a day.
func ownServer(ctx context.Context) (place, error) {
	server, err := s3server.Start(ctx)
	if err != nil {
		return place{}, err
	}
	for name, value := range map[string]string{"AWS_ENDPOINT_URL_S3": server.URL(), "AWS_ACCESS_KEY_ID": s3server.User, "AWS_SECRET_ACCESS_KEY": s3server.Secret} {
		if err := os.Setenv(name, value); err != nil {
			return place{}, errors.Join(err, server.Close())
		}
	}
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(server.URL()), Region: "us-east-1", UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: s3server.User, SecretAccessKey: s3server.Secret}, nil
		}),
	})
	name := aws.String("fleet")
	_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name, ObjectLockEnabledForBucket: aws.Bool(true)})
	if err == nil {
		_, err = client.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: name,
			ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled,
				Rule: &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1)}}}})
	}
	if err != nil {
		return place{}, errors.Join(err, server.Close())
	}
	return place{name: "a bucket under Object Lock", base: "s3://fleet", close: server.Close, cut: func(_ string, cut bool) error {
		server.Cut(cut)
		return nil
	}}, nil
}

// openStore opens a node's mirror.
func openStore(ctx context.Context, target string) (mirror.Store, func() error, error) {
	var store mirror.Store
	done := func() error { return nil }
	if strings.HasPrefix(target, "s3://") {
		s, err := s3mirror.OpenURL(ctx, target, nil)
		if err != nil {
			return nil, nil, err
		}
		store = s
	} else {
		d, err := mirror.OpenDirectory(target, true)
		if err != nil {
			return nil, nil, err
		}
		store, done = d, d.Close
	}
	return &watchedStore{Store: store, node: target[strings.LastIndexByte(target, '/')+1:]}, done, nil
}

// watchedStore is a store that can be cut off, and whose process can be killed at a
// step.
type watchedStore struct {
	mirror.Store
	node string
	// step is the call at which the process is killed, behind it if behind is set;
	// 0 for none.
	step   int
	behind bool
	calls  int
}

var errCut = errors.New("the network is cut")

func (s *watchedStore) before() error {
	if s.calls++; s.calls == s.step && !s.behind {
		kill()
	}
	if dir := os.Getenv(cutVariable); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, s.node)); !errors.Is(err, fs.ErrNotExist) {
			return errCut
		}
	}
	return nil
}

func (s *watchedStore) after() {
	if s.calls == s.step {
		kill()
	}
}

// kill ends this process as kill -9 does.
func kill() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {}
}

// Put is mirror.Store's.
func (s *watchedStore) Put(ctx context.Context, name string, data []byte) error {
	if err := s.before(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	defer s.after()
	return s.Store.Put(ctx, name, data)
}

// Get is mirror.Store's.
func (s *watchedStore) Get(ctx context.Context, name string, most int64) iter.Seq2[[]byte, error] {
	return watchedPass(s, s.Store.Get(ctx, name, most))
}

// List is mirror.Store's.
func (s *watchedStore) List(ctx context.Context, prefix, from string) iter.Seq2[string, error] {
	return watchedPass(s, s.Store.List(ctx, prefix, from))
}

func watchedPass[T any](s *watchedStore, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := s.before(); err != nil {
			var none T
			yield(none, err)
			return
		}
		all(yield)
		s.after()
	}
}
