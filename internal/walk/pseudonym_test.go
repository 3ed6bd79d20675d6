package walk_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/jobaudit/jobaudit/internal/walk"
)

// telling is a guard whose pseudonyms tell what they stand for, in other words.
type telling struct{}

func (telling) Check(string) string { return "" }

func (telling) Pseudonym(class, text string) string {
	return class + ":" + strings.Map(func(r rune) rune { return r + 0x100 }, text)
}

func (telling) Least() (bytes, digits int) { return 0, 99 }

func TestAPseudonymStandsForAFieldWhateverItsOptionsAre(t *testing.T) {
	type name string
	text, number := "Ann Example", int64(123456789)
	id := uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
	env := walk.Env{Limit: 1 << 20, Guard: telling{}}
	variants := 0
	for _, value := range []any{text, name(text), &text, number, &number, uint32(number), json.Number("123456789"), id, &id, shouted{"ann"}} {
		plain := fmt.Sprint(reflect.Indirect(reflect.ValueOf(value)).Interface())
		if _, ok := value.(shouted); ok {
			plain = "ANN"
		}
		want := fmt.Sprintf(`{"f":%q}`, telling{}.Pseudonym("c", plain))
		for _, options := range []string{"", ",omitempty", ",omitzero", ",string", ",string,omitempty", ",omitzero,string"} {
			typeOf := func(tag string) reflect.Type {
				return reflect.StructOf([]reflect.StructField{
					{Name: "Other", Type: reflect.TypeFor[string]()},
					{Name: "F", Type: reflect.TypeOf(value), Tag: reflect.StructTag(`json:"f` + options + `"` + tag)},
				})
			}
			paths := []walk.Path{{Text: "f", Pseudonym: "c"}}
			tagged := typeOf(` audit:"pseudonym=c"`)
			byTag, _, err := walk.TagPaths(tagged)
			require.NoError(t, err)
			for form, c := range map[string]struct {
				typ, known reflect.Type
				paths      []walk.Path
			}{
				"path": {typeOf(""), typeOf(""), paths}, "star": {typeOf(` json2:"x"`), typeOf(` json2:"x"`), []walk.Path{{Text: "Other"}, {Text: "*", Pseudonym: "c"}}},
				"tag": {tagged, tagged, byTag}, "any": {typeOf(""), nil, paths}, "pointer": {typeOf(""), reflect.PointerTo(typeOf("")), paths},
			} {
				plan, err := walk.NewPlan(c.known, c.paths)
				require.NoError(t, err, form)
				v := reflect.New(c.typ)
				v.Elem().Field(1).Set(reflect.ValueOf(value))
				raw, err := json.Marshal(v.Interface())
				require.NoError(t, err)
				given := map[string]func() (walk.Result, error){
					"value":   func() (walk.Result, error) { return plan.Value(v.Elem(), env) },
					"pointer": func() (walk.Result, error) { return plan.Value(v, env) },
					"JSON":    func() (walk.Result, error) { return plan.Raw(raw, env) },
				}
				if form == "tag" {
					given["whole"] = func() (walk.Result, error) { return walk.Whole(v, env) }
				}
				if form == "any" && strings.Contains(options, "string") && reflect.Indirect(reflect.ValueOf(value)).Kind() == reflect.String {
					delete(given, "JSON") // nothing says that what it spells is JSON
				}
				for how, encode := range given {
					got, err := encode()
					require.NoError(t, err)
					stored := strings.Replace(string(got.JSON), `"Other":"",`, "", 1)
					require.Equal(t, want, stored, "%T %s by %s of a %s", value, options, form, how)
					variants++
				}
			}
		}
	}
	require.Greater(t, variants, 500)
}
