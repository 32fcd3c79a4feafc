// SPDX-License-Identifier: Apache-2.0

// Package kube watches a cluster and says who is who and which policies there
// are: an [identity.World] and a list of policies, again each time that one of
// them changed.
//
//	c, err := kube.Connect(flags)               // a kubeconfig's context; nothing asked yet
//	w, err := kube.Watch(ctx, c, kube.Options{}) // lists once, then watches
//	state := w.State()                           // the newest; never changes
//	<-w.Changed()                                // there is a newer one
//
// It is gentle with the API server: one watch for each kind, protobuf where
// the server speaks it, and no polling. Objects are reduced to what is needed
// as they come in, so that memory holds a few hundred bytes of each pod.
// [Client.Requests] counts what was asked.
//
// Whoever may see some namespaces only gets a World with those as its Scope:
// peers outside are then unknown, not absent.
package kube
