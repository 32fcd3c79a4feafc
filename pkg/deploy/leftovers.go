// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Leftover is an object of a session, running or not, whoever's it is.
type Leftover struct {
	Kind      string // "pod" or "job"
	Namespace string
	Name      string
	Node      string // of a pod
	Session   string
	StartedBy string // user, "" if unknown
	Phase     string // of a pod
	Created   time.Time
}

// Leftovers lists the pods and jobs of all sessions in all namespaces, or, for
// whoever may not look there, in namespace. all says which it was.
func Leftovers(ctx context.Context, client kubernetes.Interface, namespace string) (found []Leftover, all bool, err error) {
	found, err = leftovers(ctx, client, metav1.NamespaceAll)
	if err == nil || !apierrors.IsForbidden(err) {
		return found, err == nil, err
	}
	found, err = leftovers(ctx, client, namespace)
	return found, false, err
}

func leftovers(ctx context.Context, client kubernetes.Interface, namespace string) ([]Leftover, error) {
	var found []Leftover
	add := func(kind string, m metav1.ObjectMeta, node, phase string) {
		found = append(found, Leftover{
			Kind: kind, Namespace: m.Namespace, Name: m.Name, Node: node, Phase: phase,
			Session: m.Labels[LabelSession], StartedBy: m.Annotations[AnnotationFor], Created: m.CreationTimestamp.Time,
		})
	}
	jobs, err := client.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{LabelSelector: Selector})
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("list jobs labelled %s: %w", Selector, err)
	}
	if err == nil {
		for _, j := range jobs.Items {
			add("job", j.ObjectMeta, "", "")
		}
	}
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: Selector})
	if err != nil {
		return nil, fmt.Errorf("list pods labelled %s: %w", Selector, err)
	}
	for _, p := range pods.Items {
		add("pod", p.ObjectMeta, p.Spec.NodeName, string(p.Status.Phase))
	}
	sort.SliceStable(found, func(i, j int) bool {
		a, b := found[i], found[j]
		if a.Session != b.Session {
			return a.Session < b.Session
		}
		return a.Kind+a.Namespace+a.Name < b.Kind+b.Namespace+b.Name
	})
	return found, nil
}

// Remove deletes what Leftovers found and returns when the pods are gone. Ends
// running sessions too: leave those out that shall go on.
func Remove(ctx context.Context, client kubernetes.Interface, found []Leftover) error {
	var errs []error
	for _, l := range found {
		var err error
		if l.Kind == "job" {
			err = client.BatchV1().Jobs(l.Namespace).Delete(ctx, l.Name, metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationBackground)})
		} else {
			err = client.CoreV1().Pods(l.Namespace).Delete(ctx, l.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(2))})
		}
		if err = ignoreNotFound(err); err != nil {
			errs = append(errs, fmt.Errorf("delete %s %s/%s: %w", l.Kind, l.Namespace, l.Name, err))
		}
	}
	for _, l := range found {
		if l.Kind == "pod" && errors.Join(errs...) == nil {
			errs = append(errs, untilGone(ctx, client, l))
		}
	}
	return errors.Join(errs...)
}

func untilGone(ctx context.Context, client kubernetes.Interface, l Leftover) error {
	pods := client.CoreV1().Pods(l.Namespace)
	one := metav1.ListOptions{FieldSelector: "metadata.name=" + l.Name}
	for {
		list, err := pods.List(ctx, one)
		if err != nil || len(list.Items) == 0 {
			return err
		}
		one.ResourceVersion = list.ResourceVersion
		w, err := pods.Watch(ctx, one)
		if err != nil {
			return err
		}
		for e := range w.ResultChan() {
			if e.Type == "DELETED" {
				w.Stop()
				return nil
			}
		}
		one.ResourceVersion = ""
		if ctx.Err() != nil {
			return fmt.Errorf("pod %s/%s is deleted but not gone yet: %w", l.Namespace, l.Name, context.Cause(ctx))
		}
	}
}
