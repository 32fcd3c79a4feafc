// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// Features says what this machine can do, and whether it is enough to observe.
func Features() (serve.Facts, bool, error) {
	p, err := Open(Options{})
	if err != nil {
		features, _, detectErr := detect("")
		if detectErr != nil {
			return serve.Facts{}, false, detectErr
		}
		features = append(features, &wire.Feature{Name: "flows", Why: err.Error()})
		return serve.Facts{Kernel: release(), Features: features}, false, nil
	}
	facts := p.Facts()
	facts.Features = append(facts.Features, &wire.Feature{Name: "flows", Present: true})
	return facts, true, p.Close()
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// detect finds the hook and says what is missing.
func detect(hook string) ([]*wire.Feature, string, error) {
	tcx := haveTCX()
	switch hook {
	case "":
		hook = hookTCX
		if tcx != nil {
			hook = hookClsact
		}
	case hookClsact:
	case hookTCX:
		if tcx != nil {
			return nil, "", fmt.Errorf("TCX links: %w: use clsact: %w", errors.ErrUnsupported, tcx)
		}
	default:
		return nil, "", fmt.Errorf("hook %q: use tcx or clsact", hook)
	}
	features := []*wire.Feature{{Name: hookTCX, Present: hook == hookTCX}, {Name: hookClsact, Present: hook == hookClsact}}
	switch {
	case hook == hookClsact && tcx != nil:
		features[0].Why = "no TCX links (kernel 6.6): filters stay if the probe is killed, until the next one comes"
	case hook == hookClsact:
		features[0].Why = "clsact was asked for"
	default:
		features[1].Why = "not needed: TCX links are there"
	}
	return features, hook, nil
}

// dropFeatures says what the trace can do here.
func dropFeatures(d *drops, err error) []*wire.Feature {
	if d == nil {
		return []*wire.Feature{{Name: "drops", Why: "packets that the kernel drops aren't seen, nor who dropped them: " + err.Error()}}
	}
	named, placed := &wire.Feature{Name: "drop-reasons", Present: !d.bare}, &wire.Feature{Name: "drop-places", Present: d.symbols.known()}
	if d.bare {
		named.Why = "the kernel gives no reasons (5.17 has them): a drop is known by its place only"
	}
	if !placed.Present {
		placed.Why = "the kernel hides the names of its functions (kernel.kptr_restrict): a drop is known by its reason only, and by no place"
		if d.bare {
			placed.Why = "the kernel gives no reasons and hides the names of its functions (kernel.kptr_restrict): drops are counted, and nobody is blamed for them unless netfilter's trace names the rule"
		}
	}
	return []*wire.Feature{{Name: "drops", Present: true}, named, placed}
}
