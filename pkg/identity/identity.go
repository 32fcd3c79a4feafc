// SPDX-License-Identifier: Apache-2.0

// Package identity knows who is who: the pods, namespaces, services and nodes
// of a cluster as far as verdicts and names need them, and who had which
// address when. pkg/kube fills it from the API, files fill it offline, the
// demo fills it by hand; nothing here talks to anyone.
package identity

import (
	"net/netip"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// World is a consistent view of a cluster. Maps and slices are shared and must
// not be changed after the World is handed on; a change makes a new World that
// shares what didn't change.
type World struct {
	Namespaces map[string]*Namespace // by name
	Pods       map[string]*Pod       // by namespace/name
	Services   map[string]*Service   // by namespace/name
	Nodes      map[string]*Node      // by name
	ClusterDNS []netip.Addr          // addresses of the cluster's DNS, if known

	// Scope is empty if the whole cluster is visible. Otherwise it names the
	// namespaces that the user may see: peers outside are unknown, not absent.
	Scope []string
}

// Namespace is a namespace's name and labels. The label
// kubernetes.io/metadata.name is present, as the API server guarantees.
type Namespace struct {
	Name   string
	Labels map[string]string
}

// Pod is what a policy or a person needs to know of a pod.
type Pod struct {
	Namespace   string
	Name        string
	UID         string
	Labels      map[string]string
	Node        string       // empty if not scheduled
	IPs         []netip.Addr // none before the sandbox exists, and none of ours once Done
	NoIP        bool         // it has none yet: IPs only stand for some, so that it can be asked about
	HostNetwork bool         // policies don't cover it; its IPs are the node's
	Done        bool         // phase Succeeded or Failed, or deleted: has lost its addresses (SEMANTICS case 28)
	Ports       []NamedPort  // every container's named ports, in order (init and sidecar ones included)
	Probes      []NamedPort  // TCP ports that the kubelet asks for the pod's health, each once
	Workload    string       // "deploy/web", "sts/db", "ds/x", "job/x", "cronjob/x", "pod/x": the topmost owner known
	Ready       bool
	Created     time.Time
	ReadySince  time.Time         // when it last became ready; zero: it isn't, or not known
	Containers  map[string]string // name by id, without the runtime's scheme; nil: not known
}

// Key is namespace/name.
func (p *Pod) Key() string { return p.Namespace + "/" + p.Name }

// NamedPort is a container port with a name.
type NamedPort struct {
	Name     string
	Protocol flow.Protocol
	Number   uint16
}

// Service is a service with its endpoints joined in.
type Service struct {
	Namespace      string
	Name           string
	Type           string       // ClusterIP, NodePort, LoadBalancer, ExternalName
	IPs            []netip.Addr // cluster IPs; none if headless
	ExternalIPs    []netip.Addr // external and load balancer addresses
	Ports          []ServicePort
	ExternalLocal  bool // externalTrafficPolicy: Local
	InternalLocal  bool // internalTrafficPolicy: Local
	ClientAffinity bool // sessionAffinity: ClientIP
}

// Key is namespace/name.
func (s *Service) Key() string { return s.Namespace + "/" + s.Name }

// ServicePort is one port of a service and who serves it.
type ServicePort struct {
	Name     string
	Protocol flow.Protocol
	Port     uint16
	NodePort uint16 // 0: none
	Backends []Backend
}

// Backend is one ready (or serving) endpoint of a service port.
type Backend struct {
	IP    netip.Addr
	Port  uint16 // the resolved target port
	Node  string
	Ready bool
}

// Node is a node's name, labels and addresses (as hosts, not pod ranges).
type Node struct {
	Name     string
	Labels   map[string]string
	IPs      []netip.Addr // InternalIP first
	PodCIDRs []netip.Prefix
	Ready    bool
	Cordoned bool
}
