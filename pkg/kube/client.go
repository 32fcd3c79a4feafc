// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// Client is a connection to a cluster.
type Client struct {
	Config    *rest.Config
	Typed     kubernetes.Interface
	Dynamic   dynamic.Interface
	Metadata  metadata.Interface
	Discovery discovery.DiscoveryInterface

	requests *atomic.Uint64
}

// Unanswered adds what can be done to an error that says that no API server
// answered a request; others it leaves alone.
func Unanswered(err error) error {
	var asked *url.Error
	switch {
	case err == nil, !errors.As(err, &asked), errors.Is(err, context.Canceled):
		return err
	case strings.HasPrefix(asked.URL, "http://localhost:8080/"): // what client-go takes for want of a better
		return fmt.Errorf("%w; no kubeconfig names a cluster: set KUBECONFIG, or give --kubeconfig", err)
	}
	return fmt.Errorf("%w; is the cluster up, and is it the one that you mean? see kubectl cluster-info", err)
}

// Requests is how many requests were sent so far, watches included, each once.
func (c *Client) Requests() uint64 {
	if c.requests == nil {
		return 0
	}
	return c.requests.Load()
}

// Connect prepares clients for a configuration. It sends nothing.
func Connect(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	// A burst at the start, a handful of watches afterwards: the default of 5
	// requests a second would make the start wait for itself.
	config.QPS, config.Burst = 50, 100
	requests := new(atomic.Uint64)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counting{next, requests} })
	c := &Client{Config: config, requests: requests}
	// Watches must outlive --request-timeout, which is for single requests.
	watching := rest.CopyConfig(config)
	watching.Timeout = 0
	binary := rest.CopyConfig(watching)
	binary.ContentType = "application/vnd.kubernetes.protobuf"
	binary.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	var err error
	if c.Typed, err = kubernetes.NewForConfig(binary); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", config.Host, err)
	}
	if c.Dynamic, err = dynamic.NewForConfig(watching); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", config.Host, err)
	}
	if c.Metadata, err = metadata.NewForConfig(watching); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", config.Host, err)
	}
	c.Discovery = c.Typed.Discovery()
	return c, nil
}

type counting struct {
	next     http.RoundTripper
	requests *atomic.Uint64
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.next.RoundTrip(r)
}

// WrappedRoundTripper lets client-go find what lies below, for exec streams.
func (c *counting) WrappedRoundTripper() http.RoundTripper { return c.next }
