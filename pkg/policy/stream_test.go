// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// repeated gives a head, a text so many times with its number in it, and an end.
func repeated(head, text, end string, n int) io.Reader {
	readers := []io.Reader{strings.NewReader(head)}
	for i := range n {
		readers = append(readers, strings.NewReader(strings.ReplaceAll(text, "NUMBER", fmt.Sprint(i))))
	}
	return io.MultiReader(append(readers, strings.NewReader(end))...)
}

// A List of any length is read item by item, with the lines of each, however
// it is written.
func TestLongListsAreReadByTheirItems(t *testing.T) {
	const n = 500 // in all more than one document may be
	long := strings.Repeat("0123456789 ", 1000)
	for name, c := range map[string]struct {
		in    io.Reader
		line  int // of the last item
		field int // of the last item's rule
	}{
		"kubectl's YAML": {repeated("apiVersion: v1\nitems:\n",
			"- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata:\n    name: pNUMBER\n    annotations:\n      note: |-\n        - no item "+long+"\n\n        items:\n  spec:\n    podSelector: {}\n    ingress:\n    - ports:\n      - port: 80\n",
			"kind: List\nmetadata:\n  resourceVersion: \"\"\n", n), 3 + 14*(n-1), 3 + 14*(n-1) + 12},
		"indented, kinds left out": {repeated("kind: NetworkPolicyList\napiVersion: networking.k8s.io/v1\nitems:\n",
			"    # the next one\n    - metadata: {name: pNUMBER, annotations: {a: \""+long+"\"}}\n      spec:\n        podSelector: {}\n        ingress: [{}]\n",
			"", n), 4 + 5*(n-1) + 1, 4 + 5*(n-1) + 4},
		"documents": {repeated("",
			"---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: pNUMBER, annotations: {a: \""+long+"\"}}\nspec:\n  podSelector: {}\n  ingress: [{}]\n",
			"...\n", n), 7*(n-1) + 2, 7*(n-1) + 7},
		"JSON": {repeated("{\n\"apiVersion\": \"v1\",\n\"kind\": \"List\", \"items\": [\n{\"kind\": \"Secret\"}",
			",\n{\"apiVersion\": \"networking.k8s.io/v1\", \"kind\": \"NetworkPolicy\",\n \"metadata\": {\"name\": \"pNUMBER\", \"annotations\": {\"a\": \""+long+"\"}},\n \"spec\": {\"podSelector\": {},\n  \"ingress\": [{}]}}",
			"\n], \"metadata\": {}}\n", n), 5 + 4*(n-1), 5 + 4*(n-1) + 3},
		"JSON objects": {repeated("",
			"{\"apiVersion\": \"networking.k8s.io/v1\", \"kind\": \"NetworkPolicy\",\n \"metadata\": {\"name\": \"pNUMBER\", \"annotations\": {\"a\": \""+long+"\"}},\n \"spec\": {\"podSelector\": {},\n  \"ingress\": [{}]}}\n\n",
			"", n), 1 + 5*(n-1), 1 + 5*(n-1) + 3},
	} {
		t.Run(name, func(t *testing.T) {
			o := &policy.Objects{}
			if err := o.ReadStream(c.in, "f"); err != nil {
				t.Fatal(err)
			}
			if len(o.Policies) != n {
				t.Fatalf("%d policies, want %d", len(o.Policies), n)
			}
			last := o.Policies[n-1]
			if last.Name != fmt.Sprint("p", n-1) || last.Source.Line != c.line || last.Source.LineOf("spec.ingress[0]") != c.field {
				t.Errorf("%s at line %d, its rule at line %d; want lines %d and %d", last.Name, last.Source.Line, last.Source.LineOf("spec.ingress[0]"), c.line, c.field)
			}
			if !strings.Contains(last.Source.YAML, last.Name) || len(last.Source.YAML) > 12_000 {
				t.Errorf("its text is %q", last.Source.YAML)
			}
		})
	}
}

// endless is a stream without an end: whoever reads it must stop by himself.
type endless struct {
	text []byte
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	e.read += n
	return n, nil
}

func TestWhatHasNoEndIsRefusedEarly(t *testing.T) {
	for name, text := range map[string]string{
		"one line": "x", "one document": "a: b\n", "braces": "{", "brackets": "[[[[", "JSON text": `{"a":"`, "JSON objects": `{"a":{`,
		"JSON items": `{"items":[`, "NUL": "\x00", "one item": "items:\n- a:\n    b:\n", "quotes": `"`,
	} {
		t.Run(name, func(t *testing.T) {
			o := &policy.Objects{}
			in := &endless{text: []byte(text)}
			first := text
			if name == "one item" {
				in.text = []byte("    c: d\n")
			}
			err := o.ReadStream(io.MultiReader(strings.NewReader(first), in), "f")
			if err == nil || !strings.HasPrefix(err.Error(), "f:") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			if in.read > 32<<20 {
				t.Errorf("read %d MB", in.read>>20)
			}
		})
	}
}

func TestOddTexts(t *testing.T) {
	const one = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: shop}\nspec: {podSelector: {}}\n"
	for name, c := range map[string]struct{ text, want string }{
		"byte order mark":    {"\xef\xbb\xbf" + one, ""},
		"CRLF":               {strings.ReplaceAll("---\n"+one+"---\n", "\n", "\r\n"), ""},
		"no newline":         {strings.TrimSuffix(one, "\n"), ""},
		"directives":         {"%YAML 1.1\n---\n" + one + "...\n", ""},
		"on the separator":   {"--- # first\n" + one, ""},
		"a List in a List":   {"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - " + strings.ReplaceAll(strings.TrimSpace(one), "\n", "\n    ") + "\n", ""},
		"JSON after a mark":  {"\xef\xbb\xbf{\"apiVersion\":\"networking.k8s.io/v1\",\"kind\":\"NetworkPolicy\",\"metadata\":{\"name\":\"a\",\"namespace\":\"shop\"},\"spec\":{\"podSelector\":{}}}", ""},
		"JSON, then marks":   {"{\"kind\":\"b\"}\n---\n{\"kind\":\"b\"}\n--- # and YAML\n" + one, ""},
		"line after a mark":  {"{\"kind\":\"b\"}\n\n---\n{\"kind\":\"b\"}\n---\na: [\n", "f:6: "},
		"YAML's booleans":    {strings.Replace(one, "namespace: shop", "namespace: y", 1), "f:1: this is no Kubernetes object: json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.namespace of type string (YAML takes y, n, yes, no, on and off for true and false: put it in quotes)"},
		"a label that is so": {strings.Replace(one, "podSelector: {}", "podSelector: {matchLabels: {a: on}}", 1), "f:4: NetworkPolicy \"shop/a\": json: cannot unmarshal bool into Go struct field LabelSelector.spec.podSelector.matchLabels of type string (YAML takes"},
		"UTF-16":             {"\xff\xfea\x00:\x00", "f: this is UTF-16: save it as UTF-8"},
		"NUL":                {one + "# \x00\n", "f:5: a NUL byte: this is no text"},
		"tabs":               {"a:\n\tb: c\n", "f:2: found character that cannot start any token"},
		"itself":             {"a: &a {b: *a}\n", "f:1: anchor 'a' value contains itself"},
		"laughs":             {laughs(), "f:1: document contains excessive aliasing"},
		"twice":              {one + "kind: NetworkPolicy\n", "f:5: key \"kind\" already set in map"},
		"deep":               {"a: " + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), "f:1: "},
		"deep JSON":          {`{"a":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}", "f:1: the document is nested deeper than 128"},
		"JSON cut":           {"{\"a\":\n[1,", "f:2: the JSON ends too early"},
		"JSON and more":      {"{\"kind\":\"a\"}\n}", "f:2: invalid character '}'"},
		"items no list":      {`{"kind":"List","items":{}}`, "f:1: items is no list"},
		"list of nulls":      {"apiVersion: v1\nkind: List\nitems: [null]\n", "f:3: this is no Kubernetes object: it has no kind"},
		"a scalar":           {"42\n", "f:1: this is no Kubernetes object"},
		"old version":        {strings.Replace(one, "networking.k8s.io/v1", "extensions/v1beta1", 1), `no matches for kind "NetworkPolicy" in version "extensions/v1beta1"`},
		"after a bad one":    {"a: [\n---\n" + one, "f:1: "},
		"behind an endpoint": {one + "...\n" + strings.Replace(one, "name: a", "name: b", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := &policy.Objects{}
			err := o.ReadStream(bytes.NewReader([]byte(c.text)), "f")
			switch {
			case c.want == "" && (err != nil || len(o.Policies) == 0 || o.Policies[0].Key() != "shop/a"):
				t.Errorf("%v, %d policies", err, len(o.Policies))
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func laughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}
