// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"hash/fnv"
	"regexp"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels and annotations of everything that we create; `cleanup` finds it by them.
const (
	LabelName     = "app.kubernetes.io/name"
	LabelNameIs   = "ebpol-probe"
	LabelSession  = "ebpol.dev/session"
	AnnotationFor = "ebpol.dev/started-by" // the user, as the API server knows them
	Selector      = LabelName + "=" + LabelNameIs

	container = "probe"
)

// capabilities are what loading, attaching in other network namespaces and
// finding those takes. SYS_ADMIN: setns, and what BPF doesn't cover on older
// kernels; SYS_PTRACE and DAC_READ_SEARCH: /proc/PID/ns of others.
var capabilities = []corev1.Capability{"BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"}

var notInName = regexp.MustCompile(`[^a-z0-9-]+`)

// objectName is unique for (session, node) and short enough to be a label.
func objectName(session, node string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node))
	short := notInName.ReplaceAllString(node, "-")
	if len(short) > 10 {
		short = short[:10]
	}
	return fmt.Sprintf("ebpol-%s-%s-%08x", session, short, h.Sum32())
}

func (d *Deployer) meta(node string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Namespace: d.o.Namespace, Name: objectName(d.o.Session, node),
		Labels: map[string]string{LabelName: LabelNameIs, LabelSession: d.o.Session},
	}
	if user := d.user(); user != "" {
		m.Annotations = map[string]string{AnnotationFor: user}
	}
	return m
}

// pod is the probe's pod on node. node is pinned by name: neither the
// scheduler nor a cordon has a say in where someone wants to look.
func (d *Deployer) pod(node string) *corev1.Pod {
	deadline := int64(d.o.Deadline.Seconds())
	return &corev1.Pod{
		ObjectMeta: d.meta(node),
		Spec: corev1.PodSpec{
			NodeName:                      node,
			HostNetwork:                   true,
			HostPID:                       true,
			DNSPolicy:                     corev1.DNSDefault,
			RestartPolicy:                 corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:         &deadline,
			TerminationGracePeriodSeconds: ptr(int64(2)),
			AutomountServiceAccountToken:  ptr(false),
			EnableServiceLinks:            ptr(false),
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			ImagePullSecrets:              secrets(d.o.PullSecrets),
			SecurityContext:               &corev1.PodSecurityContext{RunAsUser: ptr(int64(0)), RunAsGroup: ptr(int64(0))},
			Containers:                    []corev1.Container{d.container(node)},
			Volumes: []corev1.Volume{{Name: "run", VolumeSource: corev1.VolumeSource{
				EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: quantity("1Mi")},
			}}},
		},
	}
}

func (d *Deployer) container(node string) corev1.Container {
	return corev1.Container{
		Name:            container,
		Image:           d.o.Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Args:            append([]string{"run"}, d.o.Args...),
		Env:             []corev1.EnvVar{{Name: "NODE_NAME", Value: node}, {Name: "EBPOL_SESSION", Value: d.o.Session}},
		// BPF maps count as the container's memory. What is asked for is also the
		// weight under which it waits its turn on a busy node: rules must not
		// wait long, though it hardly computes.
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: *quantity("50m"), corev1.ResourceMemory: *quantity("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: *quantity("1"), corev1.ResourceMemory: *quantity("256Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "run", MountPath: SocketDir}},
		// the reason why it ended, where who watches the pod reads it
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          d.securityContext(),
	}
}

// securityContext has no seccomp filter beyond the runtime's own, which lets
// through what the capabilities allow. The profiles of AppArmor and SELinux
// that containers get would hide other processes' namespaces.
func (d *Deployer) securityContext() *corev1.SecurityContext {
	if d.o.Privileged {
		return &corev1.SecurityContext{Privileged: ptr(true), ReadOnlyRootFilesystem: ptr(true)}
	}
	return &corev1.SecurityContext{
		Privileged:             ptr(false),
		ReadOnlyRootFilesystem: ptr(true),
		Capabilities:           &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: capabilities},
		SeccompProfile:         &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		AppArmorProfile:        &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined},
		SELinuxOptions:         &corev1.SELinuxOptions{Type: "spc_t"},
	}
}

// job makes that pod once and is deleted, with it, as soon as it has ended.
func (d *Deployer) job(node string) *batchv1.Job {
	pod := d.pod(node)
	return &batchv1.Job{
		ObjectMeta: d.meta(node),
		Spec: batchv1.JobSpec{
			BackoffLimit:            ptr(int32(0)),
			TTLSecondsAfterFinished: ptr(int32(0)),
			ActiveDeadlineSeconds:   pod.Spec.ActiveDeadlineSeconds,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: pod.Annotations},
				Spec:       pod.Spec,
			},
		},
	}
}

func secrets(names []string) []corev1.LocalObjectReference {
	var refs []corev1.LocalObjectReference
	for _, n := range names {
		refs = append(refs, corev1.LocalObjectReference{Name: n})
	}
	return refs
}

func quantity(s string) *resource.Quantity {
	q := resource.MustParse(s)
	return &q
}

func ptr[T any](v T) *T { return &v }
