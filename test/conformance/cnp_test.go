// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientset "k8s.io/client-go/kubernetes"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	api "sigs.k8s.io/network-policy-api/apis/v1alpha2"
	"sigs.k8s.io/network-policy-api/conformance/tests"
	"sigs.k8s.io/network-policy-api/conformance/utils/config"
	"sigs.k8s.io/network-policy-api/conformance/utils/suite"
)

var (
	image = flag.String("image", "", "agnhost's image, as the cluster's nodes have it")
	sctp  = flag.Bool("sctp", false, "the kernel has SCTP")
	quick = flag.Bool("quick", false, "give up sooner on an expected answer: for a run in which most must fail")
)

func connect(t *testing.T) *rest.Config {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 200, 400
	return cfg
}

// TestClusterNetworkPolicy is sigs.k8s.io/network-policy-api's own suite, with
// every feature that it knows.
func TestClusterNetworkPolicy(t *testing.T) {
	cfg := connect(t)
	scheme := clientScheme(t)
	plain, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	c := interceptor.NewClient(plain, interceptor.Funcs{
		Create: func(ctx context.Context, w client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if u, ok := o.(*unstructured.Unstructured); ok && u.GetKind() == "StatefulSet" {
				if err := adapt(u); err != nil {
					return err
				}
			}
			return w.Create(ctx, o, opts...)
		},
	})
	set, err := clientset.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	timeouts := config.TimeoutConfig{DeleteTimeout: 2 * time.Minute, PokeTimeout: 30 * time.Second}
	if *quick {
		timeouts = config.TimeoutConfig{DeleteTimeout: 2 * time.Minute, PokeTimeout: 4 * time.Second}
	}
	s := suite.New(suite.Options{
		Client: c, ClientSet: set, KubeConfig: *cfg, Debug: true, CleanupBaseResources: true,
		EnableAllSupportedFeatures: true, TimeoutConfig: timeouts,
	})
	s.Setup(t)
	for _, test := range tests.ConformanceTests {
		t.Run(test.ShortName, func(t *testing.T) {
			if !*sctp && strings.HasSuffix(test.ShortName, "SCTP") {
				t.Skip("this kernel has no SCTP")
			}
			test.Run(t, s)
		})
	}
}

func clientScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{api.Install, kubescheme.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// adapt makes the suite's pods run here: agnhost by the name that the nodes
// have it under, and no SCTP server on a kernel without SCTP, as its pod would
// never become ready.
func adapt(set *unstructured.Unstructured) error {
	path := []string{"spec", "template", "spec", "containers"}
	list, _, err := unstructured.NestedSlice(set.Object, path...)
	if err != nil {
		return err
	}
	var kept []any
	for _, item := range list {
		c, ok := item.(map[string]any)
		if !ok {
			continue
		}
		if !*sctp && servesSCTP(c) {
			continue
		}
		if *image != "" {
			c["image"] = *image
			if command, _, _ := unstructured.NestedStringSlice(c, "command"); len(command) > 0 && command[0] == "/bin/bash" {
				c["command"].([]any)[0] = "/bin/sh" // is all that the image has, and enough
			}
		}
		kept = append(kept, c)
	}
	return unstructured.SetNestedSlice(set.Object, kept, path...)
}

func servesSCTP(container map[string]any) bool {
	env, _, _ := unstructured.NestedSlice(container, "env")
	for _, e := range env {
		if m, ok := e.(map[string]any); ok {
			if name, _ := m["name"].(string); strings.HasPrefix(name, "SERVE_SCTP_PORT") {
				return true
			}
		}
	}
	return false
}
