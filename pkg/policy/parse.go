// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
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
	return o.ReadStream(bytes.NewReader(data), file)
}

// ReadStream is Read for a file of any length: it keeps no more of it than its
// objects.
func (o *Objects) ReadStream(r io.Reader, file string) error {
	var errs []error
	err := documents(r, file, func(d document) {
		errs = append(errs, o.add(&tree{document: d}, nil, d.json, 0)...)
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
	return errors.Join(o.add(&tree{document: document{file: file, json: data}, known: true}, nil, data, 0)...)
}

// head is what every object has.
type head struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"`
	Metadata   objectMeta         `json:"metadata"`
	Items      *[]json.RawMessage `json:"items"`
}

type objectMeta struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// tree is a document and its nodes, which are made when they are needed first:
// only policies need them.
type tree struct {
	document
	known bool
	root  *yamlv3.Node
}

// at finds the node of an object in the tree: the document's, or an item's.
func (t *tree) at(path []int) *yamlv3.Node {
	if !t.known {
		t.root, t.known = t.nodes(), true
	}
	n := t.root
	for _, i := range path {
		items := child(n, "items")
		if items == nil || i >= len(items.Content) {
			return nil
		}
		n = items.Content[i]
	}
	return n
}

// add takes an object; path leads to it through the items of lists.
func (o *Objects) add(t *tree, path []int, data []byte, depth int) []error {
	var h head
	where := func() Source {
		s := Source{File: t.file, Line: t.line}
		if len(path) > 0 {
			if n := t.at(path); n != nil {
				s.Line += n.Line - 1
			}
		}
		return s
	}
	fault := func(format string, args ...any) []error {
		s := where()
		return []error{fmt.Errorf("%s%w", s.prefix(s.Line), fmt.Errorf(format, args...))}
	}
	if depth == 0 && t.list.Kind != "" {
		data = withKind(data, t.list)
	}
	if err := json.Unmarshal(data, &h); err != nil {
		var other *json.UnmarshalTypeError
		if errors.As(err, &other) && other.Field == "" {
			return fault("this is no Kubernetes object: it is of type %s", other.Value)
		}
		return fault("this is no Kubernetes object: %s", unquoted(strings.ReplaceAll(err.Error(), " objectMeta.", " ObjectMeta.")))
	}
	switch {
	case h.Kind == "":
		if strings.HasPrefix(filepath.Base(t.file), "kustomization.y") {
			return fault("a kustomization is built: name its folder with -k")
		}
		return fault("this is no Kubernetes object: it has no kind")
	case h.Items != nil && strings.HasSuffix(h.Kind, "List"):
		if depth > 2 {
			return fault("lists within lists within lists are not read")
		}
		var errs []error
		for i, raw := range *h.Items {
			errs = append(errs, o.add(t, append(slices.Clip(path), i), withKind(raw, h), depth+1)...)
		}
		return errs
	}
	if p := newPolicyReader(data, h, o.Namespace); p != nil {
		p.src = t.source(t.at(path), len(path) == 0)
		read, errs := p.read()
		if read != nil && len(errs) == 0 {
			o.Policies = append(o.Policies, read)
		}
		return errs
	}
	if h.Kind == string(flow.NetworkPolicy) && !foreign(h) {
		s := where()
		name := strings.TrimPrefix(h.Metadata.Namespace+"/"+h.Metadata.Name, "/")
		return []error{&Fault{s.File, s.Line, flow.NetworkPolicy, name, "apiVersion", fmt.Sprintf("no matches for kind %q in version %q", h.Kind, h.APIVersion)}}
	}
	if foreign(h) {
		o.addForeign(h, where())
		return nil
	}
	if o.Skipped == nil {
		o.Skipped = map[string]int{}
	}
	o.Skipped[h.Kind]++
	if o.Other == nil {
		return nil
	}
	if err := o.Other(h.APIVersion, h.Kind, data); err != nil {
		return fault("%s %q: %s", h.Kind, strings.TrimPrefix(h.Metadata.Namespace+"/"+h.Metadata.Name, "/"), unquoted(err.Error()))
	}
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
	schema func([]byte) (*violations, error) // nil: check says all
	build  func(Source) (*Policy, error)
}

// newPolicyReader knows the kinds that are evaluated. Nil: it is none of them.
func newPolicyReader(data []byte, h head, namespace string) *policyReader {
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
		p.decode, p.check, p.schema = in, func() field.ErrorList { return validateSelectors(in) }, checkSpec(clusterNetworkPolicySpec)
		p.build = func(s Source) (*Policy, error) { return fromClusterNetworkPolicy(in, s) }
	case "policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy":
		in := &v1alpha1.AdminNetworkPolicy{}
		p.decode, p.check, p.schema = in, func() field.ErrorList { return validateAdminSelectors(in) }, checkSpec(adminNetworkPolicySpec)
		p.build = func(s Source) (*Policy, error) { return fromAdminNetworkPolicy(in, s) }
	case "policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy":
		in := &v1alpha1.BaselineAdminNetworkPolicy{}
		p.decode, p.check, p.schema = in, func() field.ErrorList { return validateBaselineSelectors(in) }, checkSpec(baselineNetworkPolicySpec)
		p.build = func(s Source) (*Policy, error) { return fromBaselineAdminNetworkPolicy(in, s) }
	default:
		return nil
	}
	return p
}

func (p *policyReader) read() (*Policy, []error) {
	var clear field.ErrorList
	if p.schema != nil {
		v, err := p.schema(p.json)
		if err != nil {
			return nil, []error{p.fault(typeErrorPath(err), err.Error())}
		}
		if clear = v.warnings; len(v.errs) > 0 {
			return nil, p.faults(append(v.errs, v.warnings...))
		}
	}
	strict, err := kjson.UnmarshalStrict(p.json, p.decode)
	if err != nil {
		return nil, []error{p.fault(typeErrorPath(err), unquoted(err.Error()))}
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
	if errs = append(errs, p.faults(p.check())...); len(errs) > 0 {
		return nil, errs
	}
	out, err := p.build(p.src)
	if err != nil {
		return nil, []error{fmt.Errorf("%s%w", p.src.prefix(p.src.Line), err)}
	}
	for _, e := range clear {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%s %sit: %s", e.Field, Refused, e))
	}
	return out, nil
}

// Refused is what warnings say, behind their field, of policies that the API
// server doesn't store though it is clear what they mean.
const Refused = "the API server would refuse "

func (p *policyReader) faults(list field.ErrorList) []error {
	var out []error
	for _, e := range list {
		out = append(out, p.fault(e.Field, e.Error()))
	}
	return out
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
