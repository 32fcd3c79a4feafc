// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

// NodeName is what the node of the demo is called.
const NodeName = "demo"

// The addresses of the node, as pods see their gateway.
var (
	nodeIP4 = netip.MustParseAddr("10.77.0.1")
	nodeIP6 = netip.MustParseAddr("fd77::1")
)

// Actor is one pod of the demo.
type Actor struct {
	Namespace string
	Name      string
	Workload  string
	Labels    map[string]string
	IPs       []netip.Addr
	Ports     []Port
	Calls     []Call
	DNS       bool // answers names on UDP port 53
}

// Key is namespace/name, as identity.Pod has it.
func (a *Actor) Key() string { return a.Namespace + "/" + a.Name }

// Port is something that an actor listens on.
type Port struct {
	Name   string
	Number uint16
	Kind   Kind
}

// Kind says what is spoken.
type Kind string

// What actors speak.
const (
	HTTP     Kind = "http"     // a request and an answer over TCP
	Database Kind = "database" // length-prefixed queries and rows over one long connection
	Knock    Kind = "knock"    // TCP: connect and close; nobody needs to answer
	Datagram Kind = "datagram" // UDP: one datagram; nobody needs to answer
)

// Call is traffic that an actor makes, for ever.
type Call struct {
	Kind  Kind
	To    string        // "name.namespace:port" of a service, or "pod/namespace/name:port"
	Every time.Duration // from the start of one to the start of the next
	Bytes int           // of the answer, where there is one
	Keep  int           // requests on one connection; 0: each on its own
}

// Service is a cluster service of the demo.
type Service struct {
	Namespace string
	Name      string
	IPs       []netip.Addr
	Protocol  flow.Protocol
	Port      uint16
	PortName  string
	Target    uint16
	Backends  []string // keys of actors
}

// Denial is a firewall rule on the node: it stands for a CNI that does what
// the cluster's policies say, but for IPv4 only, as has been seen. What it
// forgets arrives, and is shown as denied by the policy all the same.
type Denial struct {
	From, To string // keys of actors
	Protocol flow.Protocol
	Port     uint16
}

// Cast is everyone and everything in the demo.
type Cast struct {
	Actors   []*Actor
	Services []*Service
	Denials  []Denial
	Labels   map[string]map[string]string // of namespaces
}

// Shop is the demo's cast.
func Shop() *Cast {
	c := &Cast{Labels: map[string]map[string]string{
		"edge": {"team": "platform"}, "shop": {"team": "shop"}, "monitoring": {"team": "platform"},
		"kube-system": {}, "default": {},
	}}
	const ms, s = time.Millisecond, time.Second
	httpPort, metrics := Port{"http", 8080, HTTP}, Port{"metrics", 9090, HTTP}

	dns := c.add("kube-system", "coredns-5d78c-x2vkm", "deploy/coredns", "k8s-app=kube-dns")
	dns.DNS = true
	gateway := c.add("edge", "gateway-7f6b9-8hq2n", "deploy/gateway", "app=gateway")
	web1 := c.add("shop", "web-6c8d5-4tzlp", "deploy/web", "app=web")
	web2 := c.add("shop", "web-6c8d5-9wq7r", "deploy/web", "app=web")
	cart := c.add("shop", "cart-84c7f-m5d2x", "deploy/cart", "app=cart")
	orders := c.add("shop", "orders-58b4d-kx9fs", "deploy/orders", "app=orders")
	db := c.add("shop", "db-0", "sts/db", "app=db")
	report := c.add("shop", "report-29384-qzv6t", "cronjob/report", "app=report")
	scraper := c.add("monitoring", "scraper-0", "sts/scraper", "app=scraper")
	intruder := c.add("default", "intruder", "pod/intruder", "run=intruder")

	for _, web := range []*Actor{web1, web2} {
		web.Ports = []Port{httpPort, metrics}
		web.Calls = []Call{
			{Kind: HTTP, To: "cart.shop:8080", Every: 400 * ms, Bytes: 2 << 10, Keep: 8},
			{Kind: HTTP, To: "orders.shop:8080", Every: 900 * ms, Bytes: 4 << 10, Keep: 3},
		}
	}
	cart.Ports, orders.Ports = []Port{httpPort}, []Port{httpPort}
	// Somebody moved the metrics sink and forgot to tell the cart.
	cart.Calls = []Call{{Kind: Datagram, To: "pod/shop/" + web1.Name + ":8125", Every: s, Keep: 1 << 30}}
	orders.Calls = []Call{{Kind: Database, To: "db.shop:5432", Every: 200 * ms, Bytes: 8 << 10, Keep: 1 << 30}}
	db.Ports = []Port{{"postgres", 5432, Database}}
	gateway.Calls = []Call{{Kind: HTTP, To: "web.shop:80", Every: 150 * ms, Bytes: 24 << 10, Keep: 10}}
	report.Calls = []Call{{Kind: Database, To: "db.shop:5432", Every: 300 * ms, Bytes: 64 << 10, Keep: 6}}
	scraper.Calls = []Call{
		{Kind: HTTP, To: "pod/shop/" + web1.Name + ":9090", Every: 2 * s, Bytes: 16 << 10},
		{Kind: HTTP, To: "pod/shop/" + web2.Name + ":9090", Every: 2 * s, Bytes: 16 << 10},
	}
	intruder.Calls = []Call{
		{Kind: Knock, To: "pod/shop/db-0:5432", Every: 1500 * ms},
		{Kind: Knock, To: "pod/shop/" + cart.Name + ":22", Every: 2 * s},
		{Kind: HTTP, To: "orders.shop:8080", Every: 2500 * ms, Bytes: 512},
	}
	c.Denials = []Denial{{From: intruder.Key(), To: db.Key(), Protocol: flow.TCP, Port: 5432}}

	c.serve("kube-system", "kube-dns", 10, flow.UDP, Port{Name: "dns", Number: 53}, 53, dns)
	c.serve("shop", "web", 20, flow.TCP, Port{Name: "http", Number: 80}, 8080, web1, web2)
	c.serve("shop", "cart", 21, flow.TCP, httpPort, 8080, cart)
	c.serve("shop", "orders", 22, flow.TCP, httpPort, 8080, orders)
	c.serve("shop", "db", 23, flow.TCP, Port{Name: "postgres", Number: 5432}, 5432, db)
	return c
}

// add gives the next addresses of 10.77.1.0/24 and fd77:0:0:1::/64.
func (c *Cast) add(namespace, name, workload string, labels ...string) *Actor {
	i := len(c.Actors) + 10
	a := &Actor{
		Namespace: namespace, Name: name, Workload: workload, Labels: map[string]string{},
		IPs: []netip.Addr{
			netip.MustParseAddr(fmt.Sprintf("10.77.1.%d", i)),
			netip.MustParseAddr(fmt.Sprintf("fd77:0:0:1::%d", i)),
		},
	}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		a.Labels[k] = v
	}
	c.Actors = append(c.Actors, a)
	return a
}

func (c *Cast) serve(namespace, name string, host int, proto flow.Protocol, p Port, target uint16, backends ...*Actor) {
	s := &Service{
		Namespace: namespace, Name: name, Protocol: proto, Port: p.Number, PortName: p.Name, Target: target,
		IPs: []netip.Addr{
			netip.MustParseAddr(fmt.Sprintf("10.96.0.%d", host)),
			netip.MustParseAddr(fmt.Sprintf("fd96::%d", host)),
		},
	}
	for _, b := range backends {
		s.Backends = append(s.Backends, b.Key())
	}
	c.Services = append(c.Services, s)
}

// Actor finds an actor by its key, or gives nil.
func (c *Cast) Actor(key string) *Actor {
	for _, a := range c.Actors {
		if a.Key() == key {
			return a
		}
	}
	return nil
}
