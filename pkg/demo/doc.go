// SPDX-License-Identifier: Apache-2.0

// Package demo is a small shop in network namespaces, for trying the program
// on a Linux machine without a cluster: pods with names, labels and traffic,
// services, a firewall that stands for a CNI, policies that the "cluster" has,
// and stricter ones that their author thinks are complete. They forget a
// nightly report and the monitoring. An intruder is dropped, on IPv4 only.
//
// The cast is data ([Cast]) and the same everywhere; [Start] makes it real and
// needs root on Linux. Each pod is a process of this very program inside the
// pod's namespace ([RunPod]), which dies with its parent. Nothing is written
// anywhere.
package demo
