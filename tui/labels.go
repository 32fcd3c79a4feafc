// SPDX-License-Identifier: Apache-2.0

package tui

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/tui/part"
)

// typable are the labels that can be typed, app before app.kubernetes.io/name.
func typable(labels func() []string) []string {
	if labels == nil {
		return nil
	}
	list := slices.DeleteFunc(labels(), func(l string) bool {
		key, value, _ := strings.Cut(l, "=")
		return part.Clean(l) != l || strings.ContainsAny(key+value, " =,*()!")
	})
	slices.SortStableFunc(list, func(a, b string) int {
		return cmp.Or(strings.Compare(labelKey(a), labelKey(b)), strings.Compare(a, b))
	})
	return list[:min(len(list), mostNames)]
}

func labelKey(label string) string {
	key, _, _ := strings.Cut(label, "=")
	return key
}

// labelTerms are what the last word of a label selector could become: a key, or
// one of the values that pods have for it, also in a set.
func (m *Model) labelTerms(text string) []string {
	at := strings.LastIndexAny(text, " ,(") + 1
	before, word := text[:at], text[at:]
	if at == 0 {
		return nil
	}
	open := strings.LastIndexByte(text, '(')
	set := open > strings.LastIndexByte(text, ')')
	key, typed, ok := strings.Cut(word, "=")
	lead := before + key + "="
	switch {
	case set: // as in app in (web, db
		words := strings.Fields(text[:open])
		if len(words) < 2 {
			return nil
		}
		key, lead = words[len(words)-2], before
		key = key[strings.LastIndexByte(key, ',')+1:]
	case word == "" || word == "!":
		return nil
	case strings.HasPrefix(typed, "="):
		lead += "="
	}
	key = strings.TrimSuffix(key, "!")
	var out []string
	for _, l := range m.names.labels {
		k, v, _ := strings.Cut(l, "=")
		switch {
		case !set && !ok:
			out = append(out, before+strings.Repeat("!", strings.Count(word, "!"))+k)
			if !strings.HasPrefix(word, "!") {
				out[len(out)-1] += "="
			}
		case k == key:
			out = append(out, lead+v)
		}
	}
	return slices.Compact(out)
}
