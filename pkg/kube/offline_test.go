// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"strings"
	"testing"

	"github.com/ebpol/kubectl-ebpol/pkg/flow"
)

const shopFiles = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}}
---
`

const podList = `{"apiVersion":"v1","kind":"List","items":[
{"apiVersion":"v1","kind":"Pod","metadata":{"name":"db-0","namespace":"shop","labels":{"app":"db"}},"status":{"podIP":"10.0.0.5","phase":"Running"}},
{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"spec":{"podCIDRs":["10.0.0.0/24"]}}]}`

func TestReadWorld(t *testing.T) {
	o, err := ReadWorld([]File{{"shop.yaml", []byte(shopFiles)}, {"pods.json", []byte(podList)}})
	if err != nil {
		t.Fatal(err)
	}
	web, db := o.World.Pods["shop/web"], o.World.Pods["shop/db-0"]
	if web == nil || web.Workload != "deploy/web" || web.Labels["app"] != "web" || len(web.IPs) != 1 || len(web.Ports) != 1 {
		t.Errorf("web %+v", web)
	}
	if db == nil || db.IPs[0].String() != "10.0.0.5" {
		t.Errorf("db %+v", db)
	}
	s := o.World.Services["shop/web"]
	if s == nil || len(s.Ports) != 1 || len(s.Ports[0].Backends) != 1 || s.Ports[0].Backends[0].Port != 8080 || s.Ports[0].Protocol != flow.TCP {
		t.Errorf("service %+v", s)
	}
	if o.World.Namespaces["shop"].Labels["team"] != "a" || o.World.Nodes["n1"] == nil {
		t.Errorf("world %+v", o.World)
	}
	if len(o.Assumed) != 2 || o.Objects != 5 {
		t.Errorf("%d objects, assumed %q", o.Objects, o.Assumed)
	}
}

func TestReadWorldRefuses(t *testing.T) {
	for _, text := range []string{"{", "a: [", "{\"kind\": 3}", "- x"} {
		if _, err := ReadWorld([]File{{"x", []byte(text)}}); err == nil || !strings.HasPrefix(err.Error(), "x:1: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
