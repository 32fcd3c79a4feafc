// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

var (
	which   = flag.String("cases", "cover", "all, or cover: for each set of tags the first case that has it")
	patient = flag.Duration("patient", 30*time.Second, "how long a step may take until all its connections are as expected")
)

// TestCyclonus runs the cases that cyclonus generates: its policies, its pods,
// its matcher's expectation. Only the connections are made here, from within
// the pods' network namespaces, as many at a time as there are: by exec a case
// would take a minute.
func TestCyclonus(t *testing.T) {
	api := connectCyclonus(t)
	c := &cluster{api: api, services: map[string]*corev1.Service{}}
	var protocols []corev1.Protocol
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		if p != corev1.ProtocolSCTP || *sctp {
			protocols = append(protocols, p)
		}
	}
	namespaces := []string{"x", "y", "z"}
	t.Cleanup(func() {
		for _, ns := range namespaces {
			if err := api.DeleteNamespace(ns); err != nil {
				t.Error(err)
			}
		}
		// another run may follow at once
		for start := time.Now(); time.Since(start) < 2*time.Minute; time.Sleep(time.Second) {
			if !slices.ContainsFunc(namespaces, func(ns string) bool { _, err := api.GetNamespace(ns); return err == nil }) {
				return
			}
		}
		t.Errorf("namespaces %v aren't gone after two minutes", namespaces)
	})
	resources, err := probe.NewDefaultResources(api, namespaces, []string{"a", "b", "c"}, []int{80, 81}, protocols, nil, 300, false, "")
	if err != nil {
		t.Fatal(err)
	}
	target, err := resources.GetPod("z", "c")
	if err != nil {
		t.Fatal(err)
	}
	all := generator.NewTestCaseGenerator(true, target.IP, namespaces, nil, nil).GenerateAllTestCases()
	chosen := choose(all)
	t.Logf("%d of cyclonus' %d cases (-cases=%s)", len(chosen), len(all), *which)
	for i, one := range chosen {
		t.Run(fmt.Sprintf("%03d %s", i+1, one.Description), func(t *testing.T) { c.run(t, resources, one) })
	}
}

// choose gives the cases to run: all, or the first of each set of tags.
func choose(all []*generator.TestCase) []*generator.TestCase {
	if *which == "all" {
		return all
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(all), func(c *generator.TestCase) bool {
		tags := c.Tags.Keys()
		slices.Sort(tags)
		key := strings.Join(tags, ",")
		known := seen[key]
		seen[key] = true
		return known
	})
}

// imaged is cyclonus' client with agnhost by the name that the nodes have it
// under.
type imaged struct{ *kube.Kubernetes }

func (k imaged) CreatePod(p *corev1.Pod) (*corev1.Pod, error) {
	if *image != "" {
		for i := range p.Spec.Containers {
			p.Spec.Containers[i].Image = *image
		}
	}
	return k.Kubernetes.CreatePod(p)
}

// SetPodLabels tries again if the pod was changed meanwhile, which kubelet does.
func (k imaged) SetPodLabels(namespace, pod string, labels map[string]string) (p *corev1.Pod, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		p, err = k.Kubernetes.SetPodLabels(namespace, pod, labels)
		return err
	})
	return p, err
}

// SetNamespaceLabels is like SetPodLabels.
func (k imaged) SetNamespaceLabels(namespace string, labels map[string]string) (n *corev1.Namespace, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		n, err = k.Kubernetes.SetNamespaceLabels(namespace, labels)
		return err
	})
	return n, err
}

func connectCyclonus(t *testing.T) imaged {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root on the nodes' machine: it enters the pods' network namespaces")
	}
	cfg := connect(t)
	set, err := clientset.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return imaged{&kube.Kubernetes{ClientSet: set, RestConfig: cfg}}
}

// cluster is where cases run.
type cluster struct {
	api      imaged
	services map[string]*corev1.Service // by pod
}

func (c *cluster) run(t *testing.T, resources *probe.Resources, one *generator.TestCase) {
	for _, s := range one.Steps {
		if p := s.Probe.PortProtocol; p != nil && p.Protocol == corev1.ProtocolSCTP && !*sctp {
			t.Skip("this kernel has no SCTP")
		}
	}
	state := &connectivity.TestCaseState{Kubernetes: c.api, Resources: resources}
	if err := state.ResetClusterState(); err != nil {
		t.Fatal(err)
	}
	denied := false
	for i, s := range one.Steps {
		for _, a := range s.Actions {
			if err := act(state, a); err != nil {
				t.Fatalf("step %d: %v", i+1, err)
			}
		}
		wrong, anyDenied := c.check(t, state, s.Probe)
		denied = denied || anyDenied
		if len(wrong) > 0 {
			t.Errorf("step %d: %d wrong, of them %s", i+1, len(wrong), strings.Join(wrong[:min(len(wrong), 4)], "; "))
			break
		}
	}
	// Read by whoever counts: without an engine a case that denies must fail.
	t.Logf("denies=%t", denied)
}

func act(s *connectivity.TestCaseState, a *generator.Action) error {
	switch {
	case a.CreatePolicy != nil:
		return s.CreatePolicy(a.CreatePolicy.Policy)
	case a.UpdatePolicy != nil:
		return s.UpdatePolicy(a.UpdatePolicy.Policy)
	case a.DeletePolicy != nil:
		return s.DeletePolicy(a.DeletePolicy.Namespace, a.DeletePolicy.Name)
	case a.CreateNamespace != nil:
		return s.CreateNamespace(a.CreateNamespace.Namespace, a.CreateNamespace.Labels)
	case a.SetNamespaceLabels != nil:
		return s.SetNamespaceLabels(a.SetNamespaceLabels.Namespace, a.SetNamespaceLabels.Labels)
	case a.DeleteNamespace != nil:
		return s.DeleteNamespace(a.DeleteNamespace.Namespace)
	case a.ReadNetworkPolicies != nil:
		return s.ReadPolicies(a.ReadNetworkPolicies.Namespaces)
	case a.CreatePod != nil:
		return s.CreatePod(a.CreatePod.Namespace, a.CreatePod.Pod, a.CreatePod.Labels)
	case a.SetPodLabels != nil:
		return s.SetPodLabels(a.SetPodLabels.Namespace, a.SetPodLabels.Pod, a.SetPodLabels.Labels)
	case a.DeletePod != nil:
		return s.DeletePod(a.DeletePod.Namespace, a.DeletePod.Pod)
	}
	return fmt.Errorf("cyclonus makes an action that is not known here: %+v", a)
}

// check makes all connections until each is as the matcher expects, and
// returns those that are not. A pod's own service is left out, as by cyclonus'
// --ignore-loopback: kube-proxy masquerades it as the node, which may always.
func (c *cluster) check(t *testing.T, s *connectivity.TestCaseState, config *generator.ProbeConfig) (wrong []string, denied bool) {
	t.Helper()
	expect := matcher.BuildNetworkPolicies(true, append([]*networkingv1.NetworkPolicy(nil), s.Policies...))
	var dials []*dial
	for _, j := range (&probe.JobBuilder{TimeoutSeconds: 1}).GetJobsForProbeConfig(s.Resources, config).Valid {
		if j.FromKey == j.ToKey {
			continue
		}
		if !serves(s.Resources, j) {
			continue // nobody listens: not to be told from a denial
		}
		d := &dial{job: j, address: c.address(t, s.Resources, j), want: expect.IsTrafficAllowed(j.Traffic()).IsAllowed()}
		denied = denied || !d.want
		dials = append(dials, d)
	}
	namespaces := c.enter(t, s.Resources)
	defer namespaces.close()
	start := time.Now()
	for {
		var open bool
		wrong, open = namespaces.dial(dials)
		if len(wrong) == 0 || open && *quick || time.Since(start) > *patient {
			return wrong, denied
		}
	}
}

func serves(r *probe.Resources, j *probe.Job) bool {
	for _, p := range r.Pods {
		if p.PodString().String() == j.ToKey {
			return p.IsServingPortProtocol(j.ResolvedPort, j.Protocol)
		}
	}
	return false
}

// address is that of the destination's service, by which cyclonus connects too;
// but the pod's own once a case has taken from the pod the labels by which its
// service finds it: nobody answers for that service then, with whatever policy.
func (c *cluster) address(t *testing.T, r *probe.Resources, j *probe.Job) string {
	t.Helper()
	_, name, _ := strings.Cut(j.ToKey, "/")
	pod, err := r.GetPod(j.ToNamespace, name)
	if err != nil {
		t.Fatal(err)
	}
	s := c.services[j.ToKey]
	if s == nil {
		if s, err = c.api.GetService(pod.Namespace, pod.ServiceName()); err != nil {
			t.Fatal(err)
		}
		if !createdByCase(name) {
			c.services[j.ToKey] = s
		}
	}
	if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels)) {
		return pod.IP
	}
	return s.Spec.ClusterIP
}

// createdByCase says whether a case makes the pod, and its service anew.
func createdByCase(pod string) bool { return !slices.Contains([]string{"a", "b", "c"}, pod) }
