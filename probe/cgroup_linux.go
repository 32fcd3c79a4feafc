// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/ruleset"
)

const hookCgroup = "cgroup"

var errNoCgroup = errors.New("the pod is on the host's network, and no cgroup (version 2) of this node is its own: its traffic can't be told from its node's")

// errFound ends a walk.
var errFound = errors.New("found")

// cgroups below which kubelets put pods: as the node sees them, because a
// container sees its own part only, or as this process does.
var cgroupRoots = []string{"/proc/1/root/sys/fs/cgroup/unified", "/proc/1/root/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"}

// cgroupRoot is the first of them that is of version 2; empty: none.
func cgroupRoot() string {
	for _, root := range cgroupRoots {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return root
		}
	}
	return ""
}

// podCgroup is the cgroup of the pod with that UID; the systemd driver writes
// it with underscores.
func podCgroup(uid string) (string, error) {
	const deepest = 8
	if uid == "" {
		return "", errNoCgroup
	}
	other := strings.ReplaceAll(uid, "-", "_")
	for _, root := range cgroupRoots {
		var st unix.Statfs_t
		if unix.Statfs(root, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		found := ""
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || !d.IsDir():
				return nil //nolint:nilerr // it went meanwhile
			case strings.Contains(d.Name(), uid) || strings.Contains(d.Name(), other):
				found = path
				return errFound
			case strings.Count(path[len(root):], "/") > deepest:
				return fs.SkipDir
			}
			return nil
		})
		if errors.Is(err, errFound) {
			return found, nil
		}
	}
	return "", errNoCgroup
}

// attachHost observes a pod on the host's network through its cgroup; callers
// hold the lock. It says whether it does now.
func (p *Probe) attachHost(e *endpoint) bool {
	cgroup, err := podCgroup(e.uid)
	if err != nil {
		e.err = err
		return false
	}
	h, err := p.kernel.AttachHost(cgroup, ruleset.EndpointID(e.id))
	if err != nil {
		e.err = err
		return false
	}
	e.err, e.after, e.device = nil, time.Since(e.since), device{name: filepath.Base(cgroup)}
	e.attached = &attachment{
		hook:   hookCgroup,
		detach: h.Close,
		gone: func() bool {
			_, err := os.Stat(cgroup)
			return err != nil
		},
	}
	return true
}

// cgroupHooks are the hooks of a cgroup that a drop's reason may speak of.
var cgroupHooks = map[string]ebpf.AttachType{"BPF_CGROUP_EGRESS": ebpf.AttachCGroupInetEgress, "SOCKET_FILTER": ebpf.AttachCGroupInetIngress}

// cgroupPrograms names the programs of others that decide on packets of the
// pod with that UID: those of its own cgroup, of those above it, and of its
// containers'.
func cgroupPrograms(uid string, at ebpf.AttachType) (names []string) {
	root, err := podCgroup(uid)
	if err != nil {
		return nil
	}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { // what has gone meanwhile has no programs
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // it went meanwhile
		}
		names = programsOf(path, at, names)
		return nil
	})
	return names
}

// programsOf adds the programs of others that decide on what a cgroup does,
// those of the cgroups above it too.
func programsOf(cgroup string, at ebpf.AttachType, names []string) []string {
	f, err := os.Open(cgroup)
	if err != nil {
		return names
	}
	defer f.Close()
	const effective = 1 // BPF_F_QUERY_EFFECTIVE: those of the cgroups above too
	found, err := link.QueryPrograms(link.QueryOptions{Target: int(f.Fd()), Attach: at, QueryFlags: effective})
	if err != nil {
		return names // an older kernel, or no right to ask
	}
	for _, p := range found.Programs {
		if n := programName(p.ID); !strings.HasPrefix(n, "ebpol_") && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}
