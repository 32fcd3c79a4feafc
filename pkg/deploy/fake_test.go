// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"sync"
	"testing"
	"time"

	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	testclock "k8s.io/utils/clock/testing"
)

// cluster is a fake API server with a kubelet: kubelet is called with each pod
// that is created, and what it makes of it is stored.
type cluster struct {
	*fake.Clientset
	t      *testing.T
	clock  *testclock.FakeClock
	may    func(a *authz.ResourceAttributes) bool
	dryRun func(p *corev1.Pod) error

	watched chan struct{} // a watch of pods stands

	mu   sync.Mutex
	said []Progress
}

func newCluster(t *testing.T, kubelet func(p *corev1.Pod), objects ...runtime.Object) *cluster {
	t.Helper()
	c := &cluster{
		Clientset: fake.NewClientset(objects...), t: t, clock: testclock.NewFakeClock(time.Unix(1_800_000_000, 0)),
		may:    func(*authz.ResourceAttributes) bool { return true },
		dryRun: func(*corev1.Pod) error { return nil }, watched: make(chan struct{}),
	}
	// the fake loses what is created between a list and the watch that follows;
	// a real one doesn't
	stands := sync.OnceFunc(func() { close(c.watched) })
	c.PrependWatchReactor("pods", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := c.Tracker().Watch(a.GetResource(), a.GetNamespace())
		stands()
		return true, w, err
	})
	c.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authz.SelfSubjectAccessReview).DeepCopy()
		r.Status.Allowed = c.may(r.Spec.ResourceAttributes)
		return true, r, nil
	})
	c.PrependReactor("create", "selfsubjectreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authn.SelfSubjectReview{Status: authn.SelfSubjectReviewStatus{UserInfo: authn.UserInfo{Username: "jane"}}}, nil
	})
	start := func(pod *corev1.Pod) {
		pod.UID = types.UID(pod.Name)
		if kubelet != nil {
			kubelet(pod)
		}
	}
	c.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		create := a.(clienttesting.CreateActionImpl)
		pod := create.GetObject().(*corev1.Pod)
		if len(create.CreateOptions.DryRun) > 0 {
			return true, pod, c.dryRun(pod)
		}
		start(pod)
		return false, nil, nil
	})
	c.PrependReactor("create", "jobs", func(a clienttesting.Action) (bool, runtime.Object, error) {
		job := a.(clienttesting.CreateAction).GetObject().(*batchv1.Job)
		pod := &corev1.Pod{ObjectMeta: job.Spec.Template.ObjectMeta, Spec: job.Spec.Template.Spec}
		pod.Namespace, pod.Name = job.Namespace, job.Name+"-x7f2q"
		start(pod)
		return false, nil, c.Tracker().Add(pod)
	})
	return c
}

func (c *cluster) deployer(change ...func(*Options)) *Deployer {
	c.t.Helper()
	o := Options{Image: "example.invalid/probe:1", Session: "s1e2s3s4", Progress: func(p Progress) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.said = append(c.said, p)
	}}
	for _, f := range change {
		f(&o)
	}
	d, err := New(c, nil, o)
	if err != nil {
		c.t.Fatal(err)
	}
	d.clock = c.clock
	c.t.Cleanup(d.stop)
	d.watching.Do(d.watch)
	<-c.watched
	return d
}

// pods that exist, by name.
func (c *cluster) pods() map[string]*corev1.Pod {
	c.t.Helper()
	list, err := c.CoreV1().Pods("").List(c.t.Context(), metav1.ListOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	m := map[string]*corev1.Pod{}
	for i := range list.Items {
		m[list.Items[i].Name] = &list.Items[i]
	}
	return m
}

// messages that the user was shown so far.
func (c *cluster) messages() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := ""
	for _, p := range c.said {
		s += fmt.Sprintf("%s %s: %s\n", p.Node, p.Phase, p.Message)
	}
	return s
}

func node(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64"}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, f := range change {
		f(n)
	}
	return n
}

// state makes pods that stand like this.
func state(s corev1.ContainerState) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: container, State: s}}
	}
}

var running = state(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})

func waiting(reason, message string) func(*corev1.Pod) {
	return state(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
}

func forbidden(text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 403, Reason: metav1.StatusReasonForbidden, Message: text,
		Details: &metav1.StatusDetails{Kind: "pods"},
	}}
}

var namespaceResource = schema.GroupResource{Resource: "namespaces"}
