package simdisk

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jobaudit/jobaudit/sink/filesink/internal/disk"
)

// ErrPower is what every call returns once the power is gone.
var ErrPower = errors.New("the power is gone")

// Memory is a disk in memory that knows what is durable: the contents of a
// file up to its last sync, the entries of a directory up to its last. Cut
// makes the power go at a call; Crash gives what the disk may hold after that.
type Memory struct {
	mu    sync.Mutex
	dirs  map[string]*folder
	locks map[string]bool
	nodes int
	calls int // that change something
	cut   int // the call at which the power goes; 0 for none
	// Calls in [failFrom, failTo) fail.
	failFrom, failTo int
	// room is how many bytes files may still grow by; -1 for any number. full is what
	// a write beyond that fails with.
	room int64
	full error
}

// A folder is a directory. Its entries are names in it, a *node or a *folder.
type folder struct {
	entries, durable map[string]any
	pending          []links
}

// links are changes of entries that become durable together.
type links map[string]any // nil removes

type node struct {
	id            int
	data, durable []byte
	pending       []change
}

// A change is a write, or a truncation if data is nil.
type change struct {
	off  int64
	data []byte
}

// NewMemory returns an empty disk.
func NewMemory() *Memory {
	return &Memory{dirs: map[string]*folder{"/": newFolder()}, locks: map[string]bool{}, room: -1}
}

func newFolder() *folder { return &folder{entries: map[string]any{}, durable: map[string]any{}} }

// Cut makes the power go in the middle of the n-th changing call from now.
func (m *Memory) Cut(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, m.cut = 0, n
}

// Fail makes count changing calls fail, from the n-th from now on: writes stop
// half way, and what a failed sync was to make durable never will be, whatever
// later syncs say, although it can be read. Linux does that.
func (m *Memory) Fail(n, count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, m.failFrom, m.failTo = 0, n, n+count
}

// Fill leaves room for so many bytes, -1 for any number. A write beyond that
// writes what fits and fails with ENOSPC. What is cut or removed makes room.
func (m *Memory) Fill(room int64) { m.fill(room, syscall.ENOSPC) }

// Quota is Fill by somebody's share of the disk: writes fail with EDQUOT.
func (m *Memory) Quota(room int64) { m.fill(room, syscall.EDQUOT) }

func (m *Memory) fill(room int64, full error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room, m.full = room, full
}

// grow takes room, or gives it back if n is negative.
func (m *Memory) grow(n int64) {
	if m.room >= 0 {
		m.room -= n
	}
}

// Kill ends the process that used the disk, and its locks; what it wrote is
// there, but not durable.
func (m *Memory) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cut = 0
	clear(m.locks)
}

// Calls returns how many changing calls there were since Cut.
func (m *Memory) Calls() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls
}

// call counts a changing call, which do makes pending, and tells whether the
// power went in it.
func (m *Memory) call(do func() error) error {
	if m.dead() {
		return ErrPower
	}
	m.calls++
	if m.calls >= m.failFrom && m.calls < m.failTo {
		return ErrInjected
	}
	err := do()
	if m.dead() {
		return ErrPower
	}
	return err
}

func (m *Memory) dead() bool { return m.cut > 0 && m.calls >= m.cut }

// A Fate decides what becomes of a change that was not durable.
type Fate interface {
	// Keep decides about a change of a directory's entries.
	Keep() bool
	// Tear returns what is left of a write's sectors of 512 bytes: for each
	// whether it is kept; nil for all of them.
	Tear(sectors int) []bool
}

// Fates are what may become of everything that was not durable.
func Fates(seed uint64) map[string]Fate {
	r := rand.New(rand.NewPCG(seed, 1))
	return map[string]Fate{
		"all is lost":            fate{r, 0, 0, 0},
		"all is kept":            fate{r, 1, 1, 0},
		"only names are kept":    fate{r, 1, 0, 0},
		"only contents are kept": fate{r, 0, 1, 0},
		"writes are torn":        fate{r, 1, 1, 1},
		"anything":               fate{r, .5, .5, .5},
	}
}

type fate struct {
	r                  *rand.Rand
	names, files, tear float64
}

func (f fate) Keep() bool { return f.r.Float64() < f.names }

func (f fate) Tear(sectors int) []bool {
	kept := make([]bool, sectors)
	if f.r.Float64() >= f.files {
		return kept
	}
	if f.r.Float64() >= f.tear {
		return nil
	}
	if f.r.IntN(2) == 0 { // from the front, as far as it came
		for i := range f.r.IntN(sectors + 1) {
			kept[i] = true
		}
		return kept
	}
	for i := range kept {
		kept[i] = f.r.IntN(2) == 0
	}
	return kept
}

// keepAll makes everything durable.
type keepAll struct{}

func (keepAll) Keep() bool      { return true }
func (keepAll) Tear(int) []bool { return nil }

// Crash returns a disk with what a crash leaves of this one.
func (m *Memory) Crash(f Fate) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := NewMemory()
	after.dirs = map[string]*folder{}
	nodes := map[*node]*node{}
	m.copyFolder(after, nodes, "/", f)
	return after
}

func (m *Memory) copyFolder(after *Memory, nodes map[*node]*node, name string, f Fate) {
	old, fresh := m.dirs[name], newFolder()
	after.dirs[name] = fresh
	entries := maps.Clone(old.durable)
	for _, l := range old.pending {
		if f.Keep() {
			l.apply(entries)
		}
	}
	for _, base := range slices.Sorted(maps.Keys(entries)) {
		switch entry := entries[base].(type) {
		case *node:
			if nodes[entry] == nil {
				after.nodes++
				data := entry.crash(f)
				nodes[entry] = &node{id: after.nodes, data: data, durable: slices.Clone(data)}
			}
			fresh.durable[base] = nodes[entry]
		case *folder:
			child := path.Join(name, base)
			m.copyFolder(after, nodes, child, f)
			fresh.durable[base] = after.dirs[child]
		}
	}
	fresh.entries = maps.Clone(fresh.durable)
}

func (l links) apply(entries map[string]any) {
	for name, entry := range l {
		if entry == nil {
			delete(entries, name)
		} else {
			entries[name] = entry
		}
	}
}

const sector = 512

func (n *node) crash(f Fate) []byte {
	data := slices.Clone(n.durable)
	for _, c := range n.pending {
		if c.data == nil {
			if f.Tear(1) == nil {
				data = truncate(data, c.off)
			}
			continue
		}
		// Sectors are the disk's, not the write's.
		first := c.off / sector
		last := (c.off + int64(len(c.data)) - 1) / sector
		kept := f.Tear(int(last - first + 1))
		for i := first; i <= last; i++ {
			if kept != nil && !kept[i-first] {
				continue
			}
			from, to := max(i*sector, c.off), min((i+1)*sector, c.off+int64(len(c.data)))
			data = put(data, c.data[from-c.off:to-c.off], from)
		}
	}
	return data
}

func truncate(data []byte, size int64) []byte {
	if int64(len(data)) > size {
		return data[:size:size]
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}

func put(data, b []byte, off int64) []byte {
	if end := off + int64(len(b)); end > int64(len(data)) {
		data = truncate(data, end)
	}
	copy(data[off:], b)
	return data
}

// OpenDir implements [disk.Disk]. A directory that it makes is durable.
func (m *Memory) OpenDir(name string, create bool) (disk.Dir, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead() {
		return nil, ErrPower
	}
	name = path.Clean("/" + name)
	if m.dirs[name] == nil {
		if !create {
			return nil, fs.ErrNotExist
		}
		m.folder(name)
	}
	return &memoryDir{m, name}, nil
}

// Resolve implements [disk.Disk].
func (m *Memory) Resolve(name string) (string, error) { return path.Clean("/" + name), nil }

// Storage implements [disk.Disk]: nothing is known.
func (m *Memory) Storage(string) disk.Storage { return disk.Storage{} }

type memoryDir struct {
	m    *Memory
	name string
}

// at finds the folder of a name. The caller holds the disk's lock.
func (d *memoryDir) at(name string) (*folder, string, error) {
	full := path.Join(d.name, name)
	f := d.m.dirs[path.Dir(full)]
	if f == nil {
		return nil, "", fs.ErrNotExist
	}
	return f, path.Base(full), nil
}

// link changes names, as one call.
func (d *memoryDir) link(f *folder, l links) error {
	return d.m.call(func() error {
		l.apply(f.entries)
		f.pending = append(f.pending, l)
		return nil
	})
}

func (d *memoryDir) Create(name string, _ bool) (disk.File, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, base, err := d.at(name)
	if err != nil {
		return nil, err
	}
	if f.entries[base] != nil {
		return nil, fs.ErrExist
	}
	d.m.nodes++
	n := &node{id: d.m.nodes}
	if err := d.link(f, links{base: n}); err != nil {
		return nil, err
	}
	return &memoryFile{d.m, n}, nil
}

func (d *memoryDir) Open(name string) (disk.File, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	n, err := d.node(name)
	if err != nil {
		return nil, err
	}
	return &memoryFile{d.m, n}, nil
}

func (d *memoryDir) node(name string) (*node, error) {
	if d.m.dead() {
		return nil, ErrPower
	}
	f, base, err := d.at(name)
	if err != nil {
		return nil, err
	}
	n, ok := f.entries[base].(*node)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return n, nil
}

func (d *memoryDir) Edit(name string) (disk.File, error) { return d.Open(name) }

func (d *memoryDir) Rename(from, to string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	n, err := d.node(from)
	if err != nil {
		return err
	}
	f, base, err := d.at(from)
	if err != nil {
		return err
	}
	old, _ := f.entries[path.Base(to)].(*node)
	err = d.link(f, links{base: nil, path.Base(to): n})
	if err == nil && old != nil {
		d.m.grow(-int64(len(old.data)))
	}
	return err
}

func (d *memoryDir) Link(from, to string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	n, err := d.node(from)
	if err != nil {
		return err
	}
	f, base, err := d.at(to)
	if err != nil {
		return err
	}
	if f.entries[base] != nil {
		return fs.ErrExist
	}
	return d.link(f, links{base: n})
}

func (d *memoryDir) Remove(name string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	n, err := d.node(name)
	if err != nil {
		return err
	}
	f, base, err := d.at(name)
	if err != nil {
		return err
	}
	if err = d.link(f, links{base: nil}); err == nil {
		d.m.grow(-int64(len(n.data)))
	}
	return err
}

func (d *memoryDir) Mkdir(name string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f, base, err := d.at(name)
	if err != nil || f.entries[base] != nil {
		return err
	}
	child := newFolder()
	d.m.dirs[path.Join(d.name, name)] = child
	return d.link(f, links{base: child})
}

func (d *memoryDir) List(name string) ([]string, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.dead() {
		return nil, ErrPower
	}
	f := d.m.dirs[path.Join(d.name, name)]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return slices.Sorted(maps.Keys(f.entries)), nil
}

func (d *memoryDir) ReadDir(name string) ([]fs.DirEntry, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.dead() {
		return nil, ErrPower
	}
	f := d.m.dirs[path.Join(d.name, name)]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	var entries []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(f.entries)) {
		e := entry{name: base}
		if n, ok := f.entries[base].(*node); ok {
			e.size = int64(len(n.data))
		} else {
			e.mode = fs.ModeDir
		}
		entries = append(entries, fs.FileInfoToDirEntry(e))
	}
	return entries, nil
}

// An entry is what ReadDir says of a name.
type entry struct {
	name string
	size int64
	mode fs.FileMode
}

func (e entry) Name() string       { return e.name }
func (e entry) Size() int64        { return e.size }
func (e entry) Mode() fs.FileMode  { return e.mode }
func (e entry) ModTime() time.Time { return time.Time{} }
func (e entry) IsDir() bool        { return e.mode.IsDir() }
func (e entry) Sys() any           { return nil }

func (d *memoryDir) Stat(name string) (disk.Info, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	n, err := d.node(name)
	if err != nil && d.m.dirs[path.Join(d.name, name)] != nil && !d.m.dead() {
		return disk.Info{}, nil // a directory
	}
	if err != nil {
		return disk.Info{}, err
	}
	return disk.Info{Size: int64(len(n.data)), ID: n.id}, nil
}

func (d *memoryDir) Sync(name string) error {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	f := d.m.dirs[path.Join(d.name, name)]
	if f == nil {
		return fs.ErrNotExist
	}
	if err := d.m.call(func() error { return nil }); err != nil {
		return err
	}
	f.durable, f.pending = maps.Clone(f.entries), nil
	return nil
}

func (d *memoryDir) Lock(name string) (io.Closer, error) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	full := path.Join(d.name, name)
	if d.m.locks[full] {
		return nil, disk.ErrLocked
	}
	d.m.locks[full] = true
	return unlock{d.m, full}, nil
}

func (d *memoryDir) Locked(name string) bool {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.m.locks[path.Join(d.name, name)]
}

type unlock struct {
	m    *Memory
	name string
}

func (u unlock) Close() error {
	u.m.mu.Lock()
	defer u.m.mu.Unlock()
	delete(u.m.locks, u.name)
	return nil
}

func (d *memoryDir) Reach(name string) (disk.Info, error) { return d.Stat(name) }
func (d *memoryDir) Close() error                         { return nil }

type memoryFile struct {
	m *Memory
	n *node
}

func (f *memoryFile) ReadAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.dead() {
		return 0, ErrPower
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.n.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(b []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	fits := b
	if more := off + int64(len(b)) - int64(len(f.n.data)); f.m.room >= 0 && more > f.m.room {
		fits = b[:max(0, int64(len(b))-more+f.m.room)]
	}
	err := f.m.call(func() error {
		before := len(f.n.data)
		f.n.write(fits, off)
		f.m.grow(int64(len(f.n.data) - before))
		if len(fits) < len(b) {
			return f.m.full
		}
		return nil
	})
	if err != nil && err == f.m.full {
		return len(fits), err
	}
	if errors.Is(err, ErrInjected) {
		f.n.write(b[:len(b)/2], off)
		return len(b) / 2, err
	}
	return len(b), err
}

func (n *node) write(b []byte, off int64) {
	if len(b) > 0 {
		n.data = put(n.data, b, off)
		n.pending = append(n.pending, change{off, slices.Clone(b)})
	}
}

func (f *memoryFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.m.call(func() error {
		f.m.grow(size - int64(len(f.n.data)))
		f.n.data = truncate(slices.Clone(f.n.data), size)
		f.n.pending = append(f.n.pending, change{off: size})
		return nil
	})
}

func (f *memoryFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.call(func() error { return nil })
	if err == nil {
		f.n.durable = f.n.crash(keepAll{})
	}
	if !errors.Is(err, ErrPower) {
		f.n.pending = nil
	}
	return err
}

func (f *memoryFile) Stat() (disk.Info, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return disk.Info{Size: int64(len(f.n.data)), ID: f.n.id}, nil
}

func (f *memoryFile) Close() error { return nil }

// Holding returns a disk with a directory that holds these files, by their names
// from there, and these folders, all of it durable.
func Holding(dir string, files map[string][]byte, folders ...string) *Memory {
	m := NewMemory()
	for _, folder := range folders {
		m.folder(path.Join("/", dir, folder))
	}
	m.Hold(dir, files)
	return m
}

// Hold puts files into a directory, durably.
func (m *Memory) Hold(dir string, files map[string][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.folder(path.Join("/", dir))
	for name, data := range files {
		full := path.Join("/", dir, name)
		f := m.folder(path.Dir(full))
		m.nodes++
		n := &node{id: m.nodes, data: slices.Clone(data), durable: slices.Clip(data)}
		f.entries[path.Base(full)], f.durable[path.Base(full)] = n, n
	}
}

// folder returns a folder, and makes it and those above it if need be.
func (m *Memory) folder(name string) *folder {
	if f := m.dirs[name]; f != nil {
		return f
	}
	up, f := m.folder(path.Dir(name)), newFolder()
	m.dirs[name], up.entries[path.Base(name)], up.durable[path.Base(name)] = f, f, f
	return f
}

// Files returns the contents of all files below a directory as they are now, by
// their names from there.
func (m *Memory) Files(name string) map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string][]byte{}
	m.addFiles(all, path.Clean("/"+name), "")
	return all
}

func (m *Memory) addFiles(all map[string][]byte, dir, prefix string) {
	f := m.dirs[dir]
	if f == nil {
		return
	}
	for base, entry := range f.entries {
		switch entry := entry.(type) {
		case *node:
			all[prefix+base] = slices.Clone(entry.data)
		case *folder:
			m.addFiles(all, path.Join(dir, base), prefix+base+"/")
		}
	}
}

// Freeze keeps what there is: what the process that uses the disk does from now
// on reaches nothing, as if it had been killed. Thaw ends that, and its locks.
func (m *Memory) Freeze() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls, m.cut = 1, 1
}

// Thaw lets another process use the disk.
func (m *Memory) Thaw() { m.Kill() }
