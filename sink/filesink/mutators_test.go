package filesink_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jobaudit/jobaudit/auditlog"
	"github.com/jobaudit/jobaudit/sink/filesink"
)

// A mutator is one way to change a log's files. With the key it may sign.
type mutator struct {
	name   string
	key    bool
	change func(r *rand.Rand, w *world, im image)
}

// pick returns the name of some segment.
func pick(r *rand.Rand, im image) string {
	names := im.entries()
	return names[r.IntN(len(names))]
}

// lines splits a segment into its lines, with their line feeds.
func lines(b []byte) [][]byte { return bytes.SplitAfter(b, []byte("\n")) }

// onLines changes the lines of some segment.
func onLines(change func(r *rand.Rand, lines [][]byte) [][]byte) func(*rand.Rand, *world, image) {
	return func(r *rand.Rand, _ *world, im image) {
		name := pick(r, im)
		list := lines(im[name])
		im[name] = bytes.Join(change(r, list[:max(len(list)-1, 1)]), nil)
	}
}

// onBytes changes the bytes of some segment, between two places in it.
func onBytes(change func(r *rand.Rand, b []byte, from, to int) []byte) func(*rand.Rand, *world, image) {
	return func(r *rand.Rand, _ *world, im image) {
		name := pick(r, im)
		b := im[name]
		from := r.IntN(len(b))
		to := from + r.IntN(len(b)-from)
		if r.IntN(2) == 0 {
			to = min(to, from+1+r.IntN(64))
		}
		im[name] = change(r, bytes.Clone(b), from, to)
	}
}

var mutators = []mutator{
	{name: "a bit is flipped", change: onBytes(func(r *rand.Rand, b []byte, from, _ int) []byte {
		b[from] ^= 1 << r.IntN(8)
		return b
	})},
	{name: "bytes are cut out", change: onBytes(func(_ *rand.Rand, b []byte, from, to int) []byte {
		return slices.Delete(b, from, to)
	})},
	{name: "bytes become zero", change: onBytes(func(_ *rand.Rand, b []byte, from, to int) []byte {
		clear(b[from:to])
		return b
	})},
	{name: "whole sectors become zero", change: onBytes(func(_ *rand.Rand, b []byte, from, to int) []byte {
		clear(b[from/512*512 : min(len(b), (to/512+1)*512)])
		return b
	})},
	{name: "bytes are put in", change: onBytes(func(r *rand.Rand, b []byte, from, to int) []byte {
		return slices.Insert(b, from, slices.Clone(b[from:to])...)
	})},
	{name: "a segment is cut", change: onBytes(func(_ *rand.Rand, b []byte, from, _ int) []byte { return b[:from] })},
	{name: "a segment loses its beginning", change: onBytes(func(_ *rand.Rand, b []byte, from, _ int) []byte { return b[from:] })},

	{name: "a line is dropped", change: onLines(func(r *rand.Rand, l [][]byte) [][]byte {
		i := r.IntN(len(l))
		return slices.Delete(l, i, i+1)
	})},
	{name: "a commit line is dropped", change: onLines(func(r *rand.Rand, l [][]byte) [][]byte {
		for range 50 {
			if i := r.IntN(len(l)); auditlog.IsCommit(l[i]) {
				return slices.Delete(l, i, i+1)
			}
		}
		return l
	})},
	{name: "a line is doubled", change: onLines(func(r *rand.Rand, l [][]byte) [][]byte {
		i := r.IntN(len(l))
		return slices.Insert(l, i, l[i])
	})},
	{name: "two lines are swapped", change: onLines(func(r *rand.Rand, l [][]byte) [][]byte {
		i, k := r.IntN(len(l)), r.IntN(len(l))
		l[i], l[k] = l[k], l[i]
		return l
	})},
	{name: "a line is moved", change: onLines(func(r *rand.Rand, l [][]byte) [][]byte {
		i := r.IntN(len(l))
		one := l[i]
		l = slices.Delete(slices.Clone(l), i, i+1)
		return slices.Insert(l, r.IntN(len(l)+1), one)
	})},
	{name: "the lines before a commit line are dropped", change: onLines(func(r *rand.Rand, l [][]byte) [][]byte {
		for range 50 {
			i := r.IntN(len(l))
			if !auditlog.IsCommit(l[i]) {
				continue
			}
			from := i
			for from > 0 && !auditlog.IsCommit(l[from-1]) {
				from--
			}
			return slices.Delete(l, from, i)
		}
		return l
	})},
	{name: "all behind a commit line goes but the newest one", change: func(_ *rand.Rand, _ *world, im image) {
		names := im.entries()
		last := names[len(names)-1]
		l := lines(im[last])
		l = l[:len(l)-1]
		for i := range l[:len(l)-1] {
			if auditlog.IsCommit(l[i]) {
				im[last] = join(bytes.Join(l[:i+1], nil), l[len(l)-1])
				return
			}
		}
	}},
	{name: "a line is moved to another segment", change: func(r *rand.Rand, _ *world, im image) {
		from, to := pick(r, im), pick(r, im)
		l := lines(im[from])
		i := r.IntN(max(len(l)-1, 1))
		one := bytes.Clone(l[i])
		im[from] = bytes.Join(slices.Delete(l, i, i+1), nil)
		l = lines(im[to])
		im[to] = bytes.Join(slices.Insert(l, r.IntN(len(l)), one), nil)
	}},
	{name: "a forged line is appended", change: func(r *rand.Rand, w *world, im image) {
		name := pick(r, im)
		im[name] = append(im[name], strings.Replace(w.leaves[r.IntN(len(w.leaves))], "u-1", "u-2", 1)+"\n"...)
	}},
	{name: "a real line is appended", change: func(r *rand.Rand, w *world, im image) {
		name := pick(r, im)
		im[name] = append(im[name], w.leaves[r.IntN(len(w.leaves))]+"\n"...)
	}},
	{name: "a forged batch is appended", change: func(r *rand.Rand, w *world, im image) {
		name, commit := pick(r, im), lines(w.files[pick(r, w.files)])
		im[name] = append(im[name], join([]byte("{\"schemaVersion\":\"1.0.0\"}\n"), commit[len(commit)-2])...)
	}},

	{name: "a segment is removed", change: func(r *rand.Rand, _ *world, im image) { delete(im, pick(r, im)) }},
	{name: "the newest segment is removed", change: func(_ *rand.Rand, _ *world, im image) {
		names := im.entries()
		delete(im, names[len(names)-1])
	}},
	{name: "the newest segment and the checkpoint go", change: func(_ *rand.Rand, _ *world, im image) {
		names := im.entries()
		delete(im, names[len(names)-1])
		delete(im, "checkpoint")
	}},
	{name: "a segment is emptied", change: func(r *rand.Rand, _ *world, im image) { im[pick(r, im)] = nil }},
	{name: "all segments are emptied", change: func(_ *rand.Rand, _ *world, im image) {
		for _, name := range im.entries() {
			im[name] = nil
		}
	}},
	{name: "a segment is renamed", change: func(r *rand.Rand, _ *world, im image) {
		name := pick(r, im)
		to := fmt.Sprintf("entries/%020d.jsonl", r.IntN(80))
		im[name], im[to] = im[to], im[name]
		if im[name] == nil {
			delete(im, name)
		}
	}},
	{name: "a file is added", change: func(r *rand.Rand, w *world, im image) {
		im[fmt.Sprintf("entries/%020d.jsonl", r.IntN(90))] = bytes.Clone(w.files[pick(r, w.files)])
	}},
	{name: "a segment is of an older copy", change: func(r *rand.Rand, w *world, im image) {
		if len(w.older) > 0 {
			older := w.older[r.IntN(len(w.older))]
			name := pick(r, older)
			im[name] = bytes.Clone(older[name])
		}
	}},
	{name: "everything is of an older copy", change: func(r *rand.Rand, w *world, im image) {
		if len(w.older) > 0 {
			clear(im)
			for name, b := range w.older[r.IntN(len(w.older))] {
				im[name] = bytes.Clone(b)
			}
			delete(im, "lock")
		}
	}},
	{name: "the entries are of an older copy", change: func(r *rand.Rand, w *world, im image) {
		if len(w.older) == 0 {
			return
		}
		older := w.older[r.IntN(len(w.older))]
		for _, name := range im.entries() {
			delete(im, name)
		}
		for _, name := range older.entries() {
			im[name] = bytes.Clone(older[name])
		}
		if r.IntN(2) == 0 {
			delete(im, "checkpoint")
		}
	}},
	{name: "a segment is of another log", change: func(r *rand.Rand, w *world, im image) {
		im[pick(r, im)] = bytes.Clone(w.other[pick(r, w.other)])
	}},
	{name: "everything is of another log", change: func(_ *rand.Rand, w *world, im image) {
		clear(im)
		for name, b := range w.other {
			im[name] = bytes.Clone(b)
		}
	}},

	{name: "a leaf is changed and the roots are computed again", change: resign(nil)},
	{name: "a leaf is changed and signed with the key", key: true, change: func(r *rand.Rand, w *world, im image) {
		resign(w)(r, w, im)
	}},

	{name: "a job is taken out and signed with the key", key: true, change: func(r *rand.Rand, w *world, im image) {
		job := []byte(`"job":{"id":"` + w.records[r.IntN(len(w.records))].JobID().String())
		w.sign(r, im, slices.DeleteFunc(slices.Clone(w.leaves), func(l string) bool { return bytes.Contains([]byte(l), job) }))
	}},
	{name: "the end is another one, signed with the key", key: true, change: func(r *rand.Rand, w *world, im image) {
		w.sign(r, im, append(slices.Clone(w.leaves[:r.IntN(len(w.leaves))]), w.strange...))
	}},
	{name: "the end is cut off and the rest signed with the key", key: true, change: func(r *rand.Rand, w *world, im image) {
		w.sign(r, im, w.leaves[:1+r.IntN(len(w.leaves)-1)])
	}},

	{name: "a cache is spoiled", change: func(r *rand.Rand, _ *world, im image) {
		name := cacheOf(r, im)
		if b := im[name]; len(b) > 0 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
	}},
	{name: "a cache is cut", change: func(r *rand.Rand, _ *world, im image) {
		name := cacheOf(r, im)
		im[name] = im[name][:r.IntN(len(im[name])+1)]
	}},
	{name: "a cache is removed", change: func(r *rand.Rand, _ *world, im image) { delete(im, cacheOf(r, im)) }},
	{name: "a cache is of another file", change: func(r *rand.Rand, w *world, im image) {
		from := []image{im, w.other, w.files}[r.IntN(3)]
		im[cacheOf(r, im)] = bytes.Clone(from[cacheOf(r, from)])
	}},
	{name: "the caches are of an older copy", change: func(r *rand.Rand, w *world, im image) {
		if len(w.older) > 0 {
			older := w.older[r.IntN(len(w.older))]
			for name := range older {
				if !strings.HasPrefix(name, "entries/") && name != "lock" {
					im[name] = bytes.Clone(older[name])
				}
			}
		}
	}},
	{name: "all caches go", change: func(_ *rand.Rand, _ *world, im image) {
		for name := range im {
			if !strings.HasPrefix(name, "entries/") {
				delete(im, name)
			}
		}
	}},
	{name: "an index is forged", change: forgeIndex},
}

// sign makes the image a log of these events.
func (w *world) sign(r *rand.Rand, im image, leaves []string) {
	clear(im)
	var tree auditlog.Tree
	name := ""
	for i, leaf := range leaves {
		if name == "" {
			name = fmt.Sprintf("entries/%020d.jsonl", i)
		}
		tree.Append(nil, auditlog.HashLeaf([]byte(leaf)))
		im[name] = append(append(im[name], leaf...), '\n')
		if i < len(leaves)-1 && r.IntN(3) > 0 {
			continue
		}
		c, err := tree.Sign(w.signer)
		if err != nil {
			panic(err)
		}
		im[name] = append(auditlog.AppendCommit(im[name], c), '\n')
		if r.IntN(4) == 0 {
			name = ""
		}
	}
}

// cacheOf returns the name of some cache.
func cacheOf(r *rand.Rand, im image) string {
	names := []string{"tree"}
	for name := range im {
		if strings.HasPrefix(name, "index/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[r.IntN(len(names))]
}

// resign changes an event and writes all commit lines from there on again, with
// the key if w is given, else with the old signatures.
func resign(signs *world) func(*rand.Rand, *world, image) {
	return func(r *rand.Rand, w *world, im image) {
		var tree auditlog.Tree
		victim := int64(r.IntN(len(w.leaves)))
		for _, name := range im.entries() {
			var out []byte
			for _, line := range lines(im[name]) {
				text := bytes.TrimSuffix(line, []byte("\n"))
				switch {
				case len(line) == 0:
				case !auditlog.IsCommit(text):
					if tree.Size() == victim {
						text = bytes.Replace(text, []byte("reindex"), []byte("renamed"), 1)
					}
					tree.Append(nil, auditlog.HashLeaf(text))
					out = append(append(out, text...), '\n')
				case signs != nil:
					c, err := tree.Sign(signs.signer)
					if err != nil {
						panic(err)
					}
					out = append(auditlog.AppendCommit(out, c), '\n')
				default:
					head, err := auditlog.CommitHead(text)
					if err != nil {
						panic(err)
					}
					text = bytes.Replace(text, []byte(head.Root.String()), []byte(tree.Root().String()), 1)
					out = append(append(out, text...), '\n')
				}
			}
			im[name] = out
		}
		for name := range im {
			if !strings.HasPrefix(name, "entries/") {
				delete(im, name)
			}
		}
	}
}

// forgeIndex changes rows of an index and its hashes, so that it reads well.
func forgeIndex(r *rand.Rand, _ *world, im image) {
	name := cacheOf(r, im)
	b := im[name]
	if name == "tree" || len(b) < 8192 {
		return
	}
	im[name] = filesink.ForgeIndex(b, nil, func(pages []byte) {
		page := pages[4096*r.IntN(len(pages)/4096):][:4096]
		switch r.IntN(3) {
		case 0:
			clear(page[:24*(1+r.IntN(40))])
		case 1:
			page[r.IntN(1000)] ^= 1 << r.IntN(8)
		case 2:
			page = pages[:4096]
			page[16+r.IntN(200)] ^= 1 << r.IntN(8)
		}
	})
}
