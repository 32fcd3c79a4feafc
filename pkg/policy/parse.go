// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
	v1alpha1 "sigs.k8s.io/network-policy-api/apis/v1alpha1"
	v1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// Parse reads policies from YAML or JSON, lists included. They are read strictly: the error joins one
// "file:line: kind "name": field: what" for each fault, in the API server's
// words. What could be read is returned with the error. Objects of other kinds
// are counted, and named if they are policies too.
func Parse(data []byte, file string) (*Objects, error) {
	o := &Objects{}
	return o, o.Read(data, file)
}

// Read adds what a further file holds.
func (o *Objects) Read(data []byte, file string) error {
	var errs []error
	err := eachDocument(data, file, func(d document) {
		errs = append(errs, o.add(d, d.node, d.json, 0)...)
	})
	return errors.Join(append(errs, err)...)
}

// Add adds an object that was read by other means; file names where, and may
// be empty.
func (o *Objects) Add(obj runtime.Object, file string) error {
	data, err := json.Marshal(obj)
	if err != nil {
		return err
	}
	d := document{file: file, json: data}
	return errors.Join(o.add(d, nil, data, 0)...)
}

// head is what every object has.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Items *[]json.RawMessage `json:"items"`
}

func (o *Objects) add(d document, node *yamlv3.Node, data []byte, depth int) []error {
	var h head
	where := Source{File: d.file, Line: d.line}
	if node != nil {
		where.Line = d.line + node.Line - 1
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return []error{fmt.Errorf("%sthis is no Kubernetes object: %w", where.prefix(where.Line), err)}
	}
	switch {
	case h.Kind == "":
		return []error{fmt.Errorf("%sthis is no Kubernetes object: it has no kind", where.prefix(where.Line))}
	case h.Items != nil && strings.HasSuffix(h.Kind, "List"):
		if depth > 2 {
			return []error{fmt.Errorf("%slists within lists within lists are not read", where.prefix(where.Line))}
		}
		items := child(node, "items")
		var errs []error
		for i, raw := range *h.Items {
			var child *yamlv3.Node
			if items != nil && i < len(items.Content) {
				child = items.Content[i]
			}
			errs = append(errs, o.add(d, child, withKind(raw, h), depth+1)...)
		}
		return errs
	}
	if p := newPolicyReader(d, node, data, h, o.Namespace); p != nil {
		read, errs := p.read()
		if read != nil && len(errs) == 0 {
			o.Policies = append(o.Policies, read)
		}
		return errs
	}
	o.addOther(h, where)
	return nil
}

// withKind gives an item of a typed list (NetworkPolicyList) its kind.
func withKind(raw json.RawMessage, list head) json.RawMessage {
	kind := strings.TrimSuffix(list.Kind, "List")
	if kind == "" || bytes.Contains(raw, []byte(`"kind"`)) && json.Unmarshal(raw, &head{}) == nil && itemKind(raw) != "" {
		return raw
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return raw
	}
	m["kind"], _ = json.Marshal(kind)
	m["apiVersion"], _ = json.Marshal(list.APIVersion)
	out, err := json.Marshal(m)
	if err != nil {
		return raw
	}
	return out
}

func itemKind(raw json.RawMessage) string {
	var h head
	_ = json.Unmarshal(raw, &h)
	return h.Kind
}

// prefix is "file:line: ", as far as they are known.
func (s Source) prefix(line int) string {
	switch {
	case s.File == "":
		return ""
	case line == 0:
		return s.File + ": "
	}
	return fmt.Sprintf("%s:%d: ", s.File, line)
}

// policyReader reads one policy strictly.
type policyReader struct {
	head
	json   []byte
	src    Source
	decode any
	check  func() field.ErrorList
	build  func(Source) (*Policy, error)
}

// newPolicyReader knows the kinds that are evaluated. Nil: it is none of them.
func newPolicyReader(d document, node *yamlv3.Node, data []byte, h head, namespace string) *policyReader {
	p := &policyReader{head: h, json: data}
	switch h.APIVersion + " " + h.Kind {
	case "networking.k8s.io/v1 NetworkPolicy":
		in := &networkingv1.NetworkPolicy{}
		p.decode, p.check = in, func() field.ErrorList { return ValidateNetworkPolicy(in) }
		p.build = func(s Source) (*Policy, error) {
			if in.Namespace == "" {
				in.Namespace = namespace
			}
			return fromNetworkPolicy(in, s)
		}
	case "policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy":
		in := &v1alpha2.ClusterNetworkPolicy{}
		p.decode, p.check = in, func() field.ErrorList { return ValidateClusterNetworkPolicy(in) }
		p.build = func(s Source) (*Policy, error) { return fromClusterNetworkPolicy(in, s) }
	case "policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy":
		in := &v1alpha1.AdminNetworkPolicy{}
		p.decode, p.check = in, func() field.ErrorList { return ValidateAdminNetworkPolicy(in) }
		p.build = func(s Source) (*Policy, error) { return fromAdminNetworkPolicy(in, s) }
	case "policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy":
		in := &v1alpha1.BaselineAdminNetworkPolicy{}
		p.decode, p.check = in, func() field.ErrorList { return ValidateBaselineAdminNetworkPolicy(in) }
		p.build = func(s Source) (*Policy, error) { return fromBaselineAdminNetworkPolicy(in, s) }
	default:
		return nil
	}
	p.src = d.source(node)
	return p
}

func (p *policyReader) read() (*Policy, []error) {
	strict, err := kjson.UnmarshalStrict(p.json, p.decode)
	if err != nil {
		return nil, []error{p.fault(typeErrorPath(err), cleanTypeError(err))}
	}
	var errs []error
	for _, e := range strict {
		path := ""
		if f, ok := e.(kjson.FieldError); ok { //nolint:errorlint // it comes unwrapped
			path = f.FieldPath()
		}
		if p.Kind != string(flow.NetworkPolicy) && unknownPeer.MatchString(path) {
			continue // a peer of a kind that isn't known fails closed (case 38)
		}
		errs = append(errs, p.fault(path, e.Error()))
	}
	for _, e := range p.check() {
		errs = append(errs, p.fault(e.Field, e.Error()))
	}
	if len(errs) > 0 {
		return nil, errs
	}
	out, err := p.build(p.src)
	if err != nil {
		return nil, []error{fmt.Errorf("%s%w", p.src.prefix(p.src.Line), err)}
	}
	return out, nil
}

var unknownPeer = regexp.MustCompile(`^spec\.(ingress\[\d+\]\.from|egress\[\d+\]\.to)\[\d+\]\.\w+$`)

// Fault is why a policy was not read: what the API server would refuse, and
// where. Its text is one line.
type Fault struct {
	File   string // empty: not from a file
	Line   int    // 0: not known
	Kind   flow.RuleKind
	Policy string // namespace/name, or name
	Field  string // such as "spec.ingress[0].ports[1].endPort"; may be empty
	Text   string // in the API server's words; begins with the field, or names it
}

func (f *Fault) Error() string {
	return fmt.Sprintf("%s%s %q: %s", Source{File: f.File}.prefix(f.Line), f.Kind, f.Policy, f.Text)
}

func (p *policyReader) fault(path, text string) error {
	name := p.Metadata.Name
	if p.Metadata.Namespace != "" {
		name = p.Metadata.Namespace + "/" + name
	}
	return &Fault{p.src.File, p.src.LineOf(path), flow.RuleKind(p.Kind), name, path, text}
}

var structField = regexp.MustCompile(`Go struct field \w+\.(\S+) of type (\S+)`)

// typeErrorPath finds the field that a decoding error speaks of. It has no
// indexes, so the line is that of the first such list.
func typeErrorPath(err error) string {
	if m := structField.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

var goTypes = strings.NewReplacer("[]", "a list of ", "map[string]string", "strings by string", "v1.", "", "v1alpha1.", "", "v1alpha2.", "", "*", "")

// cleanTypeError says what was found and wanted, without Go's words for it.
func cleanTypeError(err error) string {
	text := strings.TrimPrefix(err.Error(), "json: ")
	if m := structField.FindStringSubmatch(text); m != nil {
		found, _, _ := strings.Cut(strings.TrimPrefix(text, "cannot unmarshal "), " into ")
		return fmt.Sprintf("%s: a %s stands where %s is wanted", m[1], found, goTypes.Replace(m[2]))
	}
	return text
}
