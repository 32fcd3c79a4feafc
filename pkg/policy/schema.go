// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// schema is as much of a CustomResourceDefinition's as policies need. What it
// refuses is said in the words of the API server, which a test compares.
type schema struct {
	kind     string // "object", "array", "string" or "integer"
	required []string
	fields   map[string]*schema // of an object; nil: any
	values   *schema            // of an object with any keys
	items    *schema            // of an array
	least    int                // properties, items or the number itself
	most     int                // likewise; of a string its length; 0: no bound
	enum     []string
	pattern  *regexp.Regexp
	set      bool // of an array: no value twice
	// rule is what the definition says in CEL. It is asked once all else holds.
	rule func(value any) string
	// lenient says that what is refused has a clear meaning all the same: it is
	// a warning.
	lenient bool
}

// violations are what a schema refuses: errs means that the object can't be
// read, warnings that the API server wouldn't store it and its meaning is clear.
type violations struct{ errs, warnings field.ErrorList }

func (v *violations) add(lenient bool, e *field.Error) {
	if lenient {
		v.warnings = append(v.warnings, e)
		return
	}
	v.errs = append(v.errs, e)
}

// checkSchema compares an object with its schema.
func checkSchema(s *schema, value any, path *field.Path) *violations {
	v := &violations{}
	v.shape(s, value, path)
	if len(v.errs) == 0 {
		v.rules(s, value, path)
	}
	return v
}

func (v *violations) shape(s *schema, value any, path *field.Path) {
	if is := typeOf(value); is != s.kind {
		v.add(false, field.TypeInvalid(path, is, fmt.Sprintf("%s in body must be of type %s: %q", path, s.kind, is)))
		return
	}
	switch value := value.(type) {
	case map[string]any:
		v.object(s, value, path)
	case []any:
		if len(value) < s.least {
			v.add(s.lenient, field.Invalid(path, len(value), fmt.Sprintf("%s in body should have at least %d items", path, s.least)))
		}
		if s.most > 0 && len(value) > s.most {
			v.add(false, field.TooMany(path, len(value), s.most))
		}
		for i, item := range value {
			v.shape(s.items, item, path.Index(i))
			if text, ok := item.(string); s.set && ok && slices.Contains(value[:i], item) {
				v.add(true, field.Duplicate(path.Index(i), text))
			}
		}
	case string:
		switch {
		case s.enum != nil && !slices.Contains(s.enum, value):
			v.add(false, field.NotSupported(path, value, s.enum))
		case s.most > 0 && len(value) > s.most:
			v.add(false, field.TooLong(path, value, s.most))
		case s.pattern != nil && !s.pattern.MatchString(value):
			v.add(false, field.Invalid(path, value, fmt.Sprintf("%s in body should match '%s'", path, s.pattern)))
		}
	case json.Number:
		n, err := value.Int64()
		switch {
		case err != nil:
			v.add(false, field.TypeInvalid(path, "number", fmt.Sprintf("%s in body must be of type integer: %q", path, "number")))
		case n < int64(s.least):
			v.add(false, field.Invalid(path, n, fmt.Sprintf("%s in body should be greater than or equal to %d", path, s.least)))
		case n > int64(s.most):
			v.add(false, field.Invalid(path, n, fmt.Sprintf("%s in body should be less than or equal to %d", path, s.most)))
		}
	}
}

func (v *violations) object(s *schema, value map[string]any, path *field.Path) {
	for _, key := range s.required {
		if there, ok := value[key]; !ok || there == nil {
			v.add(false, field.Required(path.Child(key), ""))
		}
	}
	if len(value) < s.least {
		v.add(s.lenient, field.Invalid(path, len(value), fmt.Sprintf("%s in body should have at least %d properties", path, s.least)))
	}
	if s.most > 0 && len(value) > s.most {
		v.add(false, field.TooMany(path, len(value), s.most))
	}
	for _, key := range slices.Sorted(maps.Keys(value)) {
		under := s.fields[key]
		if under == nil {
			under = s.values
		}
		if under != nil && value[key] != nil { // the server leaves nulls out, and strict decoding tells of unknown keys
			v.shape(under, value[key], path.Child(key))
		}
	}
}

func (v *violations) rules(s *schema, value any, path *field.Path) {
	if s.rule != nil {
		if text := s.rule(value); text != "" {
			e := field.Invalid(path, value, text)
			if _, plain := value.(string); !plain {
				e = &field.Error{Type: field.ErrorTypeInvalid, Field: path.String(), BadValue: field.OmitValueType{}, Detail: text}
			}
			v.add(s.lenient, e)
		}
	}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if under := s.fields[key]; under != nil {
				v.rules(under, value[key], path.Child(key))
			}
		}
	case []any:
		for i, item := range value {
			v.rules(s.items, item, path.Index(i))
		}
	}
}

// typeOf is a JSON value's type, as the API server calls it.
func typeOf(value any) string {
	switch value.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		return "integer"
	}
	return "null"
}
