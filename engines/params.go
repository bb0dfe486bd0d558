package engines

import (
	"fmt"
	"reflect"
	"slices"
	"sort"
	"sync"
	"time"
)

// schema knows how to fill one parameter struct. It is made once for each handler.
type schema struct {
	fields []field
	names  map[string]bool // parameters and path variables the handler knows
	all    bool            // a field takes every parameter
}

// field is one field of a parameter struct.
type field struct {
	index    []int // as for reflect.Value.FieldByIndex: parameters may be embedded
	name     string
	fromPath bool
	present  bool
	pointer  bool
	kind     kind
	// compare is what the handler makes of the value, as far as policies must know.
	compare comparison
	// oldFor is the newer parameter of which this is an older name, or "".
	oldFor   string
	fallback string
	help     string
}

// kind is what a field accepts.
type kind uint8

const (
	kindString kind = iota
	kindBool
	kindInt
	kindDuration
	kindStrings
	kindInts
	kindStringMap
	kindAnyMap
	kindAny
)

func (f field) typeName() string {
	return [...]string{"string", "boolean", "integer", "duration", "array", "array", "object", "object", "any"}[f.kind]
}

// schemas holds the schema of each type of parameters that was asked for. A schema depends on its type alone and never
// changes, so all mounts of an engine share it.
var schemas sync.Map // of reflect.Type to *schema

// schemaOf reads the tags of P; a struct that cannot be decoded is a programming error and panics.
func schemaOf[P any]() *schema {
	t := reflect.TypeFor[P]()
	if s, ok := schemas.Load(t); ok {
		return s.(*schema) //nolint:forcetypeassert // nothing else is put into it
	}
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("engines: parameters %s are not a struct", t))
	}
	s := &schema{names: make(map[string]bool)}
	s.add(t, nil)
	kept, _ := schemas.LoadOrStore(t, s)
	return kept.(*schema) //nolint:forcetypeassert // nothing else is put into it
}

func (s *schema) add(t reflect.Type, outer []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(slices.Clone(outer), i)
		if sf.Anonymous {
			s.add(sf.Type, index)
			continue
		}
		f := field{index: index, fallback: sf.Tag.Get("default"), help: sf.Tag.Get("help"),
			compare: comparisonOf(sf.Tag.Get("as")), oldFor: sf.Tag.Get("old")}
		if f.help == "" && f.oldFor != "" {
			f.help = "Older name of " + f.oldFor + "."
		}
		if name, ok := sf.Tag.Lookup("path"); ok {
			f.name, f.fromPath = name, true
		} else if name, ok := sf.Tag.Lookup("param"); ok {
			f.name = name
		} else if name, ok := sf.Tag.Lookup("present"); ok {
			f.name, f.present = name, true
		} else {
			continue
		}
		ft := sf.Type
		if ft.Kind() == reflect.Pointer {
			f.pointer, ft = true, ft.Elem()
		}
		f.kind = kindOf(ft)
		s.all = s.all || f.name == "*"
		s.names[f.name] = true
		s.fields = append(s.fields, f)
	}
}

func kindOf(t reflect.Type) kind {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return kindDuration
	case t == reflect.TypeFor[[]string]():
		return kindStrings
	case t == reflect.TypeFor[[]int]():
		return kindInts
	case t == reflect.TypeFor[map[string]string]():
		return kindStringMap
	case t == reflect.TypeFor[map[string]any]():
		return kindAnyMap
	case t.Kind() == reflect.Interface:
		return kindAny
	case t.Kind() == reflect.String:
		return kindString
	case t.Kind() == reflect.Bool:
		return kindBool
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return kindInt
	default:
		panic(fmt.Sprintf("engines: parameters cannot hold a %s", t))
	}
}

// decode fills the struct that p points to; its error names the field. It returns the warnings about
// parameters that had no use.
func (s *schema) decode(p any, req *Request, v vars, quiet bool) ([]string, error) {
	if len(s.fields) > 0 {
		target := reflect.ValueOf(p).Elem()
		for i := range s.fields {
			if err := s.fields[i].set(target, req, &v); err != nil {
				return nil, err
			}
		}
	}
	if quiet || s.all || len(req.Params) == 0 {
		return nil, nil
	}
	return s.unused(req, &v), nil
}

func (f *field) set(target reflect.Value, req *Request, v *vars) error {
	var raw any
	switch {
	case f.fromPath:
		raw, _ = v.lookup(f.name)
	case f.present:
		_, ok := req.Params[f.name]
		target.FieldByIndex(f.index).SetBool(ok)
		return nil
	case f.name == "*":
		target.FieldByIndex(f.index).Set(reflect.ValueOf(req.Params))
		return nil
	default:
		value, ok := req.Params[f.name]
		if !ok || value == nil {
			if f.fallback == "" {
				return nil
			}
			value = f.fallback
		}
		raw = value
	}
	dst := target.FieldByIndex(f.index)
	if f.pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	if err := assign(dst, f.kind, raw); err != nil {
		return fmt.Errorf("error converting input for field %q: %w", f.name, err)
	}
	return nil
}

// unused names the parameters that the handler does not know or that a path segment replaced.
func (s *schema) unused(req *Request, v *vars) []string {
	var ignored, replaced []string
	for name := range req.Params {
		if _, inPath := v.lookup(name); inPath {
			replaced = append(replaced, name)
		} else if !s.names[name] {
			ignored = append(ignored, name)
		}
	}
	var warnings []string
	if len(ignored) > 0 {
		sort.Strings(ignored)
		warnings = append(warnings,
			fmt.Sprintf("Endpoint ignored these unrecognized parameters: [%s]", BriefList(ignored)))
	}
	if len(replaced) > 0 {
		sort.Strings(replaced)
		warnings = append(warnings, fmt.Sprintf(
			"Endpoint replaced the value of these parameters with the values captured from the endpoint's path: [%s]",
			BriefList(replaced)))
	}
	return warnings
}

// invalidField is the ErrInvalid for a parameter that decode could not convert.
func invalidField(err error) error {
	if err == nil {
		return nil
	}
	return Invalid("Field validation failed: %v", err)
}

// Decode fills a parameter struct from an object inside a parameter, for example the "config" of a mount.
// Entries that P does not know are ignored. It returns an ErrInvalid that names the field.
func Decode[P any](object map[string]any) (P, error) {
	var p P
	_, err := schemaOf[P]().decode(&p, &Request{Params: object}, vars{}, true)
	return p, invalidField(err)
}
