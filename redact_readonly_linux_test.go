package jobaudit_test

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"reflect"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit"
)

// pages is memory that can be made read-only: a write to it ends the test's
// process.
type pages struct {
	mem  []byte
	used int
}

func newPages(t *testing.T) *pages {
	mem, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(mem)) })
	return &pages{mem: mem}
}

func (p *pages) protect(t *testing.T, prot int) { require.NoError(t, syscall.Mprotect(p.mem, prot)) }

func (p *pages) bytes(s string) []byte {
	b := p.mem[p.used : p.used+len(s) : p.used+len(s)]
	p.used += copy(b, s)
	return b
}

func (p *pages) string(s string) string {
	b := p.bytes(s)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// grower makes random types and values of them, with canaries in all texts.
type grower struct {
	*rand.Rand
	pages *pages
}

func (g *grower) typ(depth int) reflect.Type {
	leaves := []reflect.Type{
		reflect.TypeFor[string](), reflect.TypeFor[namedString](), reflect.TypeFor[[]byte](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[any](), reflect.TypeFor[int](), reflect.TypeFor[error](),
		reflect.TypeFor[textForm](), reflect.TypeFor[private](), reflect.TypeFor[*string](),
	}
	if depth == 0 {
		return leaves[g.IntN(len(leaves))]
	}
	switch g.IntN(8) {
	case 0:
		return reflect.SliceOf(g.typ(depth - 1))
	case 1:
		return reflect.ArrayOf(g.IntN(3), g.typ(depth-1))
	case 2:
		return reflect.MapOf(reflect.TypeFor[string](), g.typ(depth-1))
	case 3:
		return reflect.PointerTo(g.typ(depth - 1))
	case 4, 5, 6:
		var fields []reflect.StructField
		for i := range 1 + g.IntN(4) {
			f := reflect.StructField{Name: fmt.Sprint("F", i), Type: g.typ(depth - 1)}
			if g.IntN(3) == 0 {
				f.Tag = reflect.StructTag(fmt.Sprintf(`json:"keep%d,omitempty"`, i))
			}
			fields = append(fields, f)
		}
		return reflect.StructOf(fields)
	}
	return leaves[g.IntN(len(leaves))]
}

func (g *grower) fill(v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case json.RawMessage:
		v.SetBytes(g.pages.bytes(`{"keep0":["` + readOnlyCanary + `"]}`))
		return
	case textForm:
		v.Set(reflect.ValueOf(textForm{g.pages.string(readOnlyCanary)}))
		return
	case private:
		v.Set(reflect.ValueOf(private{g.pages.string(readOnlyCanary)}))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(g.pages.string(readOnlyCanary))
	case reflect.Int:
		v.SetInt(g.Int64())
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		g.fill(v.Elem(), depth)
	case reflect.Interface:
		if v.Type() == reflect.TypeFor[error]() {
			v.Set(reflect.ValueOf(fmt.Errorf("%w", codedSecret{g.pages.string(readOnlyCanary)})))
		} else if depth > 0 {
			inner := reflect.New(g.typ(depth - 1)).Elem()
			g.fill(inner, depth-1)
			v.Set(inner)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(g.pages.bytes(readOnlyCanary))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), g.IntN(3), 3))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			g.fill(v.Index(i), depth)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range g.IntN(3) {
			elem := reflect.New(v.Type().Elem()).Elem()
			g.fill(elem, depth)
			v.SetMapIndex(reflect.ValueOf(g.pages.string(fmt.Sprint("key ", i, " ", readOnlyCanary))), elem)
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			g.fill(field, depth)
		}
	}
}

const readOnlyCanary = "c4n4ry-S3cr3t/x7y8"

var seed = maphash.MakeSeed()

// deepHash covers what %#v shows, and behind pointers what JSON shows.
func deepHash(v any) uint64 {
	encoded, _ := json.Marshal(v)
	return maphash.String(seed, fmt.Sprintf("%#v %s", v, encoded))
}

// Random trees of types, with a secret in every text of them, on memory that
// cannot be written: nothing is changed, nothing of the result is the caller's
// memory, and nothing holds the secret but what passes whole.
func TestRandomValuesAreNeitherChangedNorAliasedNorLeaked(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	for round := range rounds {
		g := &grower{rand.New(rand.NewPCG(uint64(round), 1)), newPages(t)}
		v := reflect.New(g.typ(4)).Elem()
		g.fill(v, 4)
		in := v.Interface()
		g.pages.protect(t, syscall.PROT_READ)
		before := deepHash(in)

		pass, err := jobaudit.NewRegistry(&jobaudit.RegistryOptions{PassThrough: true, Patterns: map[string]string{"canary": `c4n4ry-[A-Z][0-9][a-z]{2}[0-9][a-z]/x7y8`}})
		require.NoError(t, err)
		whole := pass.StoredOutput("act", in)
		requireAbsent(t, []byte(whole.JSON), readOnlyCanary)
		rule := jobaudit.InputPaths[any](jobaudit.Keep("no.such.path"), jobaudit.Keep("[*].neither"))
		requireAbsent(t, []byte(inputs(t, rule, in).JSON), readOnlyCanary)
		named := jobaudit.InputPaths[any](jobaudit.Keep("F0"), jobaudit.Keep("keep0"), jobaudit.Keep("F1.*"), jobaudit.Keep("F2[*]"), jobaudit.Keep("[*]"))
		kept, err := jobaudit.NewRedactor("act", "1", named).RedactInputs(in)
		if err != nil {
			continue // a pointer to nothing, or a type that is none of the rule's
		}
		require.Equal(t, before, deepHash(in), "round %d", round)
		stored := string(kept)
		g.pages.protect(t, syscall.PROT_READ|syscall.PROT_WRITE)
		clear(g.pages.mem[:g.pages.used])
		require.Equal(t, stored, string(kept), "what is stored is not the caller's memory")
	}
}
