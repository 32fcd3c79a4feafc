// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

type (
	runtimeObject  = runtime.Object
	watchInterface = watch.Interface
)

// Probe is a running probe on one node.
type Probe struct {
	d    *Deployer
	node string
	pod  *corev1.Pod
}

// Node is where it runs.
func (p *Probe) Node() string { return p.node }

// Err is nil while the pod runs, as far as the cluster has told; then it says
// why it doesn't, and is [ErrGone].
func (p *Probe) Err() error {
	pod, _, err := p.d.current(p.node)
	if err != nil {
		return nil //nolint:nilerr // not told any more
	}
	if pod == nil || pod.UID != p.pod.UID {
		return &goneError{p.node, "its pod was deleted"}
	}
	if s := look(pod); s.over != "" {
		return &goneError{p.node, s.over}
	}
	return nil
}

// Dial joins a new stream to the probe's program. It returns when the stream
// stands. A stream that is cut, by whomever, ends with an error, never with
// io.EOF; dial again unless the error or [Probe.Err] is [ErrGone]. ctx is for
// dialling only.
func (p *Probe) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	if err := p.Err(); err != nil {
		return nil, err
	}
	e, err := p.d.exec(p.pod)
	if err != nil {
		return nil, err
	}
	return dial(ctx, e, p.node)
}

// Close deletes the pod and returns when it is gone.
func (p *Probe) Close(ctx context.Context) error { return p.d.end(ctx, p.node) }

// executor runs `ebpol-probe connect` in pod: over WebSocket, or SPDY where the
// API server or a proxy before it doesn't know that. SPDY asks for the right
// to create pods/exec, WebSocket before Kubernetes 1.35 for the right to get
// it, so that one who has only the former comes in by SPDY.
func executor(client kubernetes.Interface, config *rest.Config, pod *corev1.Pod) (remotecommand.Executor, error) {
	url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: []string{"/ebpol-probe", "connect"},
			Stdin: true, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec).URL()
	config = rest.CopyConfig(config)
	config.Timeout = 0 // --request-timeout is for requests, not for a session
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", url)
	if err != nil {
		return nil, err
	}
	ws, err := remotecommand.NewWebSocketExecutor(config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}
