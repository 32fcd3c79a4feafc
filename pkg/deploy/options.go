// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Defaults of [Options].
const (
	// DefaultNamespace is where a pod on the host's network and PID namespace
	// is most likely to be let in: Pod Security's own examples exempt
	// kube-system, and the node agents of clusters live there. Ordinary
	// namespaces of hardened clusters enforce "baseline", which refuses it.
	DefaultNamespace    = "kube-system"
	DefaultDeadline     = 4 * time.Hour
	DefaultStartTimeout = 90 * time.Second
)

// SocketDir is the one writable folder in the probe's file system.
const SocketDir = "/run/ebpol"

// Options say what pod to make. Namespace, Deadline and StartTimeout have
// defaults; Image and Session have none.
type Options struct {
	Namespace    string
	Image        string
	Session      string        // 4 to 32 of a-z 0-9; names everything that is made
	Args         []string      // after `ebpol-probe run`
	PullSecrets  []string      // names of secrets in Namespace
	Privileged   bool          // for clusters that insist; otherwise six capabilities
	Deadline     time.Duration // the cluster ends the pod after it, whatever happens; at least 10 s
	StartTimeout time.Duration // from creation to a running container
	Progress     func(Progress)
}

// Progress is one step of one node's probe, for a screen.
type Progress struct {
	Node    string
	Phase   Phase
	Message string // one sentence, from the cluster: not safe to draw as it is
}

// Phase is where a probe is in its life; the words are those of the wire's
// ProbeState.
type Phase string

// Phases, in order. PhaseFailed can follow any of the first three.
const (
	PhaseCreating   Phase = "creating"
	PhaseStarting   Phase = "starting"
	PhaseConnecting Phase = "connecting"
	PhaseGone       Phase = "gone"
	PhaseFailed     Phase = "failed"
)

var sessionID = regexp.MustCompile(`^[a-z0-9]{4,32}$`)

// withDefaults returns o complete, or every mistake in it.
func (o Options) withDefaults() (Options, error) {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = DefaultStartTimeout
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	var errs []error
	if msgs := validation.IsDNS1123Label(o.Namespace); len(msgs) > 0 {
		errs = append(errs, fmt.Errorf("probe namespace %q: %s", o.Namespace, strings.Join(msgs, "; ")))
	}
	if o.Image == "" || strings.ContainsAny(o.Image, " \t\r\n") {
		errs = append(errs, fmt.Errorf("probe image %q is not an image's name; give one with --probe-image", o.Image))
	}
	if !sessionID.MatchString(o.Session) {
		errs = append(errs, fmt.Errorf("session %q is not 4 to 32 of a-z and 0-9", o.Session))
	}
	if o.Deadline < 10*time.Second {
		errs = append(errs, fmt.Errorf("deadline %s is shorter than 10s", o.Deadline))
	}
	return o, errors.Join(errs...)
}
