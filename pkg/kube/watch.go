// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"golang.org/x/sync/errgroup"
)

// Options say what to watch.
type Options struct {
	// Namespace is where to fall back to if the whole cluster can't be seen.
	Namespace string
}

// listWithin is how long a cluster may take to list what it has.
const listWithin = 60 * time.Second

// Watcher is the watch of one cluster.
type Watcher struct {
	c      *Client
	t      *table
	stop   context.CancelFunc
	wait   sync.WaitGroup
	synced []cache.InformerSynced

	mu      sync.Mutex
	trouble map[string]error // by kind: the last watch error
}

// sight is what the user may see.
type sight struct {
	namespace                                    string // "": the whole cluster, and which namespaces it has
	namespaces, nodes, services, slices, netpols bool
	jobs                                         bool
}

// Watch lists what there is and keeps watching until ctx ends or Close. It
// returns when everything was listed once. With rights in o.Namespace only it
// watches that, and the World says so by its Scope.
func Watch(ctx context.Context, c *Client, o Options) (*Watcher, error) {
	see, err := c.look(ctx, o.Namespace)
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	w := &Watcher{c: c, t: newTable(), stop: stop, trouble: map[string]error{}}
	if see.namespace != "" {
		w.t.scope = []string{see.namespace}
	}
	w.start(run, see)
	if err := w.startPolicyKinds(ctx, run, see); err != nil {
		w.Close()
		return nil, err
	}
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		cache.WaitForCacheSync(run.Done(), w.synced...)
	}()
	select {
	case <-listed:
		w.t.change(func() {}) // even an empty cluster is a state
	case <-ctx.Done():
		w.Close()
		return nil, fmt.Errorf("list what is in the cluster: %w", w.why(ctx.Err()))
	case <-time.After(listWithin):
		w.Close()
		return nil, fmt.Errorf("list what is in the cluster: %w", w.why(fmt.Errorf("cluster %q has not answered within %s", c.host(), listWithin)))
	}
	return w, nil
}

// State is the newest state.
func (w *Watcher) State() *State { return w.t.state() }

// Changed is closed when there is a newer state than the last that State gave.
func (w *Watcher) Changed() <-chan struct{} { return w.t.wait() }

// Close ends the watches and returns when they have ended.
func (w *Watcher) Close() {
	w.stop()
	w.wait.Wait()
}

// Trouble says which watches fail now, each in a sentence; none if all is well.
func (w *Watcher) Trouble() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for kind, err := range w.trouble {
		out = append(out, fmt.Sprintf("watch %s: %v", kind, err))
	}
	return out
}

func (w *Watcher) why(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for kind, trouble := range w.trouble {
		return fmt.Errorf("%s: %w", kind, trouble)
	}
	return err
}

// look finds out what may be seen, by asking for one object of each kind.
func (c *Client) look(ctx context.Context, namespace string) (sight, error) {
	if c.Config != nil && c.Config.Timeout > 0 { // --request-timeout
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Config.Timeout)
		defer cancel()
	}
	one := metav1.ListOptions{Limit: 1}
	_, err := c.Typed.CoreV1().Pods(metav1.NamespaceAll).List(ctx, one)
	s := sight{}
	switch {
	case apierrors.IsForbidden(err):
		s.namespace = namespace
		if _, err := c.Typed.CoreV1().Pods(namespace).List(ctx, one); err != nil {
			return s, fmt.Errorf("pods can be listed neither in the whole cluster nor in namespace %q: %w%s", namespace, err, readRole(namespace, err))
		}
	case err != nil:
		return s, fmt.Errorf("cluster %q: %w", c.host(), Unanswered(err))
	}
	if err := s.ask(ctx, c); err != nil {
		return s, err
	}
	if s.namespace == "" && !s.namespaces {
		// Which namespaces there are and what labels they have decides too much.
		s.namespace = namespace
		return s, s.ask(ctx, c)
	}
	return s, nil
}

// ask finds out what else may be seen there.
func (s *sight) ask(ctx context.Context, c *Client) error {
	one := metav1.ListOptions{Limit: 1}
	g, ctx := errgroup.WithContext(ctx)
	for _, ask := range []struct {
		may  *bool
		list func() error
	}{
		{&s.namespaces, func() error { _, err := c.Typed.CoreV1().Namespaces().List(ctx, one); return err }},
		{&s.nodes, func() error { _, err := c.Typed.CoreV1().Nodes().List(ctx, one); return err }},
		{&s.services, func() error { _, err := c.Typed.CoreV1().Services(s.namespace).List(ctx, one); return err }},
		{&s.slices, func() error { _, err := c.Typed.DiscoveryV1().EndpointSlices(s.namespace).List(ctx, one); return err }},
		{&s.netpols, func() error { _, err := c.Typed.NetworkingV1().NetworkPolicies(s.namespace).List(ctx, one); return err }},
		{&s.jobs, func() error { _, err := c.Metadata.Resource(jobs).Namespace(s.namespace).List(ctx, one); return err }},
	} {
		g.Go(func() error {
			err := ask.list()
			*ask.may = err == nil
			if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
				return fmt.Errorf("cluster %q: %w", c.host(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

var forbiddenUser = regexp.MustCompile(`User "([^"]+)" cannot`)

// readRole is how the right to read namespace is granted to whom the API
// server has just refused, as the end of a sentence.
func readRole(namespace string, err error) string {
	if !apierrors.IsForbidden(err) {
		return ""
	}
	user := "USER"
	if m := forbiddenUser.FindStringSubmatch(err.Error()); m != nil {
		user = m[1]
	}
	return fmt.Sprintf("; someone who may grant it can run: kubectl create rolebinding ebpol-view -n %s --clusterrole=view --user='%s'", namespace, user)
}

func (c *Client) host() string {
	if c.Config == nil {
		return ""
	}
	return c.Config.Host
}

// start begins the watches of the built-in kinds.
func (w *Watcher) start(ctx context.Context, see sight) {
	f := informers.NewSharedInformerFactoryWithOptions(w.c.Typed, 0, informers.WithNamespace(see.namespace), informers.WithTransform(strip))
	w.run(ctx, "pods", f.Core().V1().Pods().Informer(), podHandler(w.t))
	if see.namespaces {
		w.run(ctx, "namespaces", f.Core().V1().Namespaces().Informer(), namespaceHandler(w.t))
	} else {
		w.t.change(func() { w.t.spaces[see.namespace] = namespaceOf(&metav1.ObjectMeta{Name: see.namespace}) })
	}
	if see.nodes {
		w.run(ctx, "nodes", f.Core().V1().Nodes().Informer(), nodeHandler(w.t))
	} else {
		w.t.noNodes = true
	}
	if see.services {
		w.run(ctx, "services", f.Core().V1().Services().Informer(), serviceHandler(w.t))
	}
	if see.slices {
		w.run(ctx, "endpointslices", f.Discovery().V1().EndpointSlices().Informer(), sliceHandler(w.t))
	}
	if see.netpols {
		w.run(ctx, "networkpolicies", f.Networking().V1().NetworkPolicies().Informer(), networkPolicyHandler(w.t))
	} else {
		w.t.change(func() {
			w.t.problems["networkpolicies"] = "NetworkPolicies can't be listed with your rights: what the cluster's policies say is not known"
		})
	}
	if see.jobs {
		w.runJobs(ctx, see.namespace)
	}
}

// run starts one informer and counts it among those to wait for.
func (w *Watcher) run(ctx context.Context, kind string, i cache.SharedIndexInformer, h cache.ResourceEventHandler) {
	_ = i.SetWatchErrorHandler(func(_ *cache.Reflector, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trouble[kind] = err
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			w.t.change(func() {
				w.t.problems["watch "+kind] = fmt.Sprintf("your rights to watch %s have ended or never were: what is shown of them is as old as that (%v)", kind, err)
			})
		}
	})
	registered, err := i.AddEventHandler(handler{h, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.trouble[kind] != nil {
			delete(w.trouble, kind)
			w.t.change(func() { delete(w.t.problems, "watch "+kind) })
		}
	}})
	if err != nil {
		return // only a stopped informer refuses
	}
	w.synced = append(w.synced, registered.HasSynced)
	w.wait.Add(1)
	go func() {
		defer w.wait.Done()
		i.RunWithContext(ctx)
	}()
}

// handler says after each event that the watch works.
type handler struct {
	cache.ResourceEventHandler
	well func()
}

func (h handler) OnAdd(obj any, initial bool) { h.ResourceEventHandler.OnAdd(obj, initial); h.well() }
func (h handler) OnUpdate(was, is any)        { h.ResourceEventHandler.OnUpdate(was, is); h.well() }
func (h handler) OnDelete(obj any)            { h.ResourceEventHandler.OnDelete(obj); h.well() }

// strip takes out of an object what nobody here reads, before it is kept.
func strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		slim := &corev1.Pod{ObjectMeta: slimMeta(&o.ObjectMeta)}
		slim.OwnerReferences, slim.CreationTimestamp = o.OwnerReferences, o.CreationTimestamp
		slim.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork}
		for _, c := range o.Spec.InitContainers {
			slim.Spec.InitContainers = append(slim.Spec.InitContainers, corev1.Container{Ports: c.Ports, RestartPolicy: c.RestartPolicy})
		}
		for _, c := range o.Spec.Containers {
			slim.Spec.Containers = append(slim.Spec.Containers, corev1.Container{
				Ports: c.Ports, LivenessProbe: c.LivenessProbe, ReadinessProbe: c.ReadinessProbe, StartupProbe: c.StartupProbe,
			})
		}
		slim.Status = corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs, HostIP: o.Status.HostIP, HostIPs: o.Status.HostIPs}
		for _, c := range o.Status.Conditions {
			if c.Type == corev1.PodReady {
				slim.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime}}
			}
		}
		slim.Status.InitContainerStatuses = slimContainers(o.Status.InitContainerStatuses)
		slim.Status.ContainerStatuses = slimContainers(o.Status.ContainerStatuses)
		slim.Status.EphemeralContainerStatuses = slimContainers(o.Status.EphemeralContainerStatuses)
		return slim, nil
	case *corev1.Node:
		slim := &corev1.Node{ObjectMeta: slimMeta(&o.ObjectMeta)}
		slim.Spec = corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs, Unschedulable: o.Spec.Unschedulable}
		slim.Status.Addresses = o.Status.Addresses
		for _, key := range tunnelAnnotations {
			if v, ok := o.Annotations[key]; ok {
				metav1.SetMetaDataAnnotation(&slim.ObjectMeta, key, v)
			}
		}
		for _, c := range o.Status.Conditions {
			if c.Type == corev1.NodeReady {
				slim.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
			}
		}
		return slim, nil
	case metav1.Object:
		// When it was last written is all that managed fields tell us.
		last := metav1.ManagedFieldsEntry{}
		for _, m := range o.GetManagedFields() {
			if m.Subresource == "" && m.Time != nil && (last.Time == nil || last.Time.Before(m.Time)) {
				last.Time = m.Time
			}
		}
		o.SetManagedFields(nil)
		if last.Time != nil {
			o.SetManagedFields([]metav1.ManagedFieldsEntry{last})
		}
	}
	return obj, nil
}

func slimContainers(list []corev1.ContainerStatus) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for _, c := range list {
		out = append(out, corev1.ContainerStatus{Name: c.Name, ContainerID: c.ContainerID})
	}
	return out
}

// written is when the present version of an object was written, to the second.
func written(o metav1.Object) time.Time {
	at := o.GetCreationTimestamp().Time
	for _, m := range o.GetManagedFields() {
		if m.Time != nil && m.Time.After(at) {
			at = m.Time.Time
		}
	}
	return at
}

func slimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels}
}
