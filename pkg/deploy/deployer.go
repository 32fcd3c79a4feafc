// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Deployer makes and ends the probes of one session. Its methods may be called
// from many goroutines.
type Deployer struct {
	client kubernetes.Interface
	o      Options
	clock  clock.WithTicker
	exec   func(pod *corev1.Pod) (remotecommand.Executor, error)

	watching sync.Once
	stop     context.CancelFunc // of the watch
	live     context.Context    // ends when stop was called

	mu      sync.Mutex
	changed chan struct{}          // closed at the next change of what follows
	pods    map[string]*corev1.Pod // by node
	broken  error                  // of the watch, for good
	who     string
	jobs    bool // we may use them
}

// New checks options and returns a Deployer. config is what exec streams are
// dialled with; it must be the one that client was made from.
func New(client kubernetes.Interface, config *rest.Config, o Options) (*Deployer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Deployer{client: client, o: o, clock: clock.RealClock{}, changed: make(chan struct{}), pods: map[string]*corev1.Pod{}}
	d.exec = func(pod *corev1.Pod) (remotecommand.Executor, error) { return executor(client, config, pod) }
	d.live, d.stop = context.WithCancel(klog.NewContext(context.Background(), klog.Logger{}))
	return d, nil
}

// Namespace is where the probes run.
func (d *Deployer) Namespace() string { return d.o.Namespace }

func (d *Deployer) now() time.Time { return d.clock.Now() }

func (d *Deployer) user() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.who
}

func (d *Deployer) tell(node string, phase Phase, message string) {
	d.o.Progress(Progress{Node: node, Phase: phase, Message: message})
}

// Preflight finds out, without changing anything, whether probes can be made
// and spoken to. Its errors are a [*RightsError], a [*RefusedError], or what
// the API server said. node is one of those that a probe is for.
func (d *Deployer) Preflight(ctx context.Context, node string) error {
	who := make(chan string, 1)
	go func() { who <- d.whoAmI(ctx) }()
	need, want := rights(d.o.Namespace)
	ok, err := d.allowed(ctx, append(need, want...))
	user := <-who
	if err != nil {
		return err
	}
	refused := &RightsError{User: user, Namespace: d.o.Namespace}
	for i, r := range need {
		if !ok[i] {
			refused.Missing = append(refused.Missing, r)
		}
	}
	if len(refused.Missing) > 0 {
		return refused
	}
	d.mu.Lock()
	d.who, d.jobs = user, ok[len(need)] && ok[len(need)+1]
	d.mu.Unlock()
	_, err = d.client.CoreV1().Pods(d.o.Namespace).Create(ctx, d.pod(node), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil && !noDryRun.MatchString(err.Error()) {
		return d.explain(err)
	}
	return nil
}

// Open puts a probe on node and returns when its program runs, or says why it
// doesn't; then nothing of it is left. A node that can't take one is known at
// once. Call Preflight before the first.
func (d *Deployer) Open(ctx context.Context, node string) (*Probe, error) {
	p, err := d.open(ctx, node)
	if err != nil {
		// also if ctx has ended: what was made has to go
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, d.remove(tidy, node))
		d.tell(node, PhaseFailed, oneLine(err.Error()))
		return nil, err
	}
	return p, nil
}

func (d *Deployer) open(ctx context.Context, node string) (*Probe, error) {
	d.watching.Do(d.watch)
	d.tell(node, PhaseCreating, "")
	if err := d.checkNode(ctx, node); err != nil {
		return nil, err
	}
	d.mu.Lock()
	jobs := d.jobs
	d.mu.Unlock()
	// A request that is cut off when the user changes their mind may still be
	// carried out, after the deletion that follows it: it is waited for.
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	var err error
	if jobs {
		_, err = d.client.BatchV1().Jobs(d.o.Namespace).Create(ask, d.job(node), metav1.CreateOptions{})
	} else {
		_, err = d.client.CoreV1().Pods(d.o.Namespace).Create(ask, d.pod(node), metav1.CreateOptions{})
	}
	if err != nil {
		return nil, d.explain(err)
	}
	d.tell(node, PhaseStarting, "")
	pod, err := d.wait(ctx, node)
	if err != nil {
		return nil, err
	}
	d.tell(node, PhaseConnecting, "")
	return &Probe{d: d, node: node, pod: pod}, nil
}

// watch follows the session's pods until stop: one watch for all nodes, which
// the informer renews when it is cut.
func (d *Deployer) watch() {
	selector := LabelSession + "=" + d.o.Session
	pods := d.client.CoreV1().Pods(d.o.Namespace)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtimeObject, error) {
			o.LabelSelector = selector
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watchInterface, error) {
			o.LabelSelector = selector
			return pods.Watch(ctx, o)
		},
	}
	informer := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, d.client), &corev1.Pod{}, 0, nil)
	_ = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			d.update(func() { d.broken = fmt.Errorf("watch the probes in namespace %q: %w", d.o.Namespace, err) })
		}
	})
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { d.seen(o, false) },
		UpdateFunc: func(_, o any) { d.seen(o, false) },
		DeleteFunc: func(o any) { d.seen(o, true) },
	})
	go informer.RunWithContext(d.live)
}

func (d *Deployer) seen(o any, gone bool) {
	if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = t.Obj
	}
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	d.update(func() {
		node := pod.Spec.NodeName
		if gone {
			if old := d.pods[node]; old != nil && old.UID == pod.UID {
				delete(d.pods, node)
			}
			return
		}
		d.pods[node] = pod
	})
}

func (d *Deployer) update(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
}

// current is the pod of node, nil if there is none, and a channel that is
// closed when that may have changed.
func (d *Deployer) current(node string) (*corev1.Pod, <-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pods[node], d.changed, d.broken
}

// Close ends all probes of the session and returns when they are gone, or when
// ctx ends, naming those that aren't.
func (d *Deployer) Close(ctx context.Context) error {
	defer d.stop()
	d.mu.Lock()
	nodes := make([]string, 0, len(d.pods))
	for n := range d.pods {
		nodes = append(nodes, n)
	}
	d.mu.Unlock()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { errs[i] = d.end(ctx, n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// end removes a probe that was fine.
func (d *Deployer) end(ctx context.Context, node string) error {
	err := d.remove(ctx, node)
	if err == nil {
		d.tell(node, PhaseGone, "")
	}
	return err
}

// remove deletes node's objects and waits until its pod is gone.
func (d *Deployer) remove(ctx context.Context, node string) error {
	name := objectName(d.o.Session, node)
	pod, _, _ := d.current(node)
	pods := d.client.CoreV1().Pods(d.o.Namespace)
	err := ignoreNotFound(d.client.BatchV1().Jobs(d.o.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationBackground)}))
	if apierrors.IsForbidden(err) {
		err = nil // then we have made none
	}
	// not left to the garbage collector, which takes its time
	grace := metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(2))}
	if pod != nil {
		name = pod.Name
	}
	err = errors.Join(err, ignoreNotFound(pods.Delete(ctx, name, grace)))
	if err != nil {
		return fmt.Errorf("delete the probe on node %q: %w; `kubectl ebpol cleanup` finds it", node, err)
	}
	for {
		p, changed, broken := d.current(node)
		if p == nil || broken != nil {
			return nil //nolint:nilerr // a watch that broke is told elsewhere
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("probe on node %q is deleted but not gone yet: %w; `kubectl ebpol cleanup` shows whether it went", node, context.Cause(ctx))
		}
	}
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
