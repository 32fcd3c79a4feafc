// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pullGrace is how long a failed pull may be retried: a registry's hiccup
// passes, and who waits is told within 10 s.
const pullGrace = 5 * time.Second

// quiet is after how long without an end a wait says what it waits for.
const quiet = 3 * time.Second

// ErrGone is wrapped by every error that says that a probe's pod has ended or
// will not start: dialling again is of no use.
var ErrGone = errors.New("the probe is gone")

type goneError struct{ node, why string }

func (e *goneError) Error() string        { return fmt.Sprintf("probe on node %q: %s", e.node, e.why) }
func (e *goneError) Is(target error) bool { return target == ErrGone }

// situation is what a pod's object tells about its start.
type situation struct {
	running bool
	over    string // why it will never run, or doesn't any more
	pulling string // why the image wasn't pulled so far; it is tried again
	waiting string // what goes on, if nothing is wrong
}

var neverStarts = []string{
	"InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
	"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "ContainerCannotRun",
}

var notPulled = []string{"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed"}

// look reads a pod; nil is a pod that isn't there yet.
func look(p *corev1.Pod) situation {
	if p == nil {
		return situation{waiting: "the pod has not been created"}
	}
	image := ""
	if len(p.Spec.Containers) > 0 {
		image = p.Spec.Containers[0].Image
	}
	for _, c := range p.Status.ContainerStatuses {
		switch s := c.State; {
		case s.Terminated != nil:
			return situation{over: ended(s.Terminated) + advice(s.Terminated.Reason, image)}
		case s.Running != nil && p.DeletionTimestamp == nil:
			return situation{running: true}
		case s.Waiting != nil && slices.Contains(neverStarts, s.Waiting.Reason):
			return situation{over: fmt.Sprintf("%s: %s%s", s.Waiting.Reason, oneLine(s.Waiting.Message), advice(s.Waiting.Reason, image))}
		case s.Waiting != nil && slices.Contains(notPulled, s.Waiting.Reason):
			return situation{pulling: fmt.Sprintf("image %q can't be pulled (%s): %s; give one that the node can reach with --probe-image",
				image, s.Waiting.Reason, oneLine(s.Waiting.Message))}
		}
	}
	switch {
	case p.DeletionTimestamp != nil:
		return situation{over: "somebody deleted the pod"}
	case p.Status.Phase == corev1.PodFailed:
		return situation{over: fmt.Sprintf("the node refused or ended the pod: %s %s", p.Status.Reason, oneLine(p.Status.Message))}
	case p.Status.Phase == corev1.PodSucceeded:
		return situation{over: "it ended"}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return situation{waiting: fmt.Sprintf("not scheduled: %s", oneLine(c.Message))}
		}
	}
	if len(p.Status.ContainerStatuses) == 0 {
		return situation{waiting: "the node's kubelet has not taken the pod up"}
	}
	return situation{waiting: fmt.Sprintf("the container is being created, or image %q pulled", image)}
}

// advice says what can be done where it is the image that is wrong.
func advice(reason, image string) string {
	switch reason {
	case "InvalidImageName":
		return "; give another with --probe-image"
	case "ErrImageNeverPull":
		return "; load it onto the node, or give another with --probe-image"
	case "StartError", "RunContainerError", "ContainerCannotRun", "CreateContainerError":
		return fmt.Sprintf("; if %q isn't the probe's image, give that with --probe-image", image)
	}
	return ""
}

func ended(t *corev1.ContainerStateTerminated) string {
	s := fmt.Sprintf("it ended with exit code %d", t.ExitCode)
	switch {
	case t.Reason == "OOMKilled":
		s = "it needed more memory than its limit and was killed"
	case t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed":
		s += " (" + t.Reason + ")"
	}
	if m := oneLine(t.Message); m != "" {
		s += ": " + m
	}
	return s
}

// wait returns the running pod of node, or why there will be none. It follows
// the session's watch, and speaks when nothing happens.
func (d *Deployer) wait(ctx context.Context, node string) (*corev1.Pod, error) {
	timeout := d.clock.NewTimer(d.o.StartTimeout)
	defer timeout.Stop()
	speak := d.clock.NewTimer(quiet)
	defer speak.Stop()
	var pull <-chan time.Time // runs while pulls fail
	said := ""
	say := func(s string) {
		if s != said {
			said = s
			d.tell(node, PhaseStarting, s)
		}
	}
	for {
		pod, changed, err := d.current(node)
		if err != nil {
			return nil, err
		}
		now := look(pod)
		switch {
		case now.running:
			return pod, nil
		case now.over != "":
			return nil, &goneError{node, now.over}
		case now.pulling != "":
			say(now.pulling)
			if pull == nil {
				t := d.clock.NewTimer(pullGrace)
				defer t.Stop()
				pull = t.C()
			}
		}
		select {
		case <-changed:
		case <-speak.C():
			if now.waiting != "" {
				say(now.waiting + d.lastEvent(ctx, pod, node))
			}
			speak.Reset(quiet)
		case <-pull:
			if now.pulling != "" {
				return nil, &goneError{node, now.pulling}
			}
			pull = nil
		case <-timeout.C():
			return nil, &goneError{node, fmt.Sprintf("not running after %s: %s%s", d.o.StartTimeout, now.waiting+now.pulling, d.lastEvent(ctx, pod, node))}
		case <-ctx.Done():
			return nil, fmt.Errorf("probe on node %q: %w", node, context.Cause(ctx))
		}
	}
}

// lastEvent is what the cluster last said about the pod, or about the job that
// should have made it; "" if it said nothing or we may not read events.
func (d *Deployer) lastEvent(ctx context.Context, pod *corev1.Pod, node string) string {
	name := objectName(d.o.Session, node)
	if pod != nil {
		name = pod.Name
	}
	events, err := d.client.CoreV1().Events(d.o.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name, Limit: 50})
	if err != nil || len(events.Items) == 0 {
		return ""
	}
	last := slices.MaxFunc(events.Items, func(a, b corev1.Event) int { return eventTime(a).Compare(eventTime(b)) })
	return fmt.Sprintf(" (%s: %s)", last.Reason, oneLine(last.Message))
}

func eventTime(e corev1.Event) time.Time {
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
