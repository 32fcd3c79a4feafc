// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/ebpol/kubectl-ebpol/pkg/wire"
	"github.com/ebpol/kubectl-ebpol/probe/nft"
)

// sessionName is what the plugin calls sessions.
var sessionName = regexp.MustCompile(`^[a-z0-9]{1,32}$`)

// tableName is what our table in a namespace is called: whose session it is,
// and which process could still need it.
func tableName(session string, pid int) (string, error) {
	process, err := filterName(pid)
	if err != nil {
		return "", err
	}
	if !sessionName.MatchString(session) {
		session = "local"
	}
	return session + "-" + strings.ReplaceAll(strings.TrimPrefix(process, filterPrefix), ":", "-"), nil
}

// staleTable says whether the process is gone that a table was made by.
func staleTable(name string) bool {
	words := strings.Split(name, "-")
	return len(words) >= 2 && stale(filterPrefix+strings.Join(words[len(words)-2:], ":"))
}

// feature says whether netfilter's rules can be named here; if not, arm tries
// it nowhere.
func (b *blamer) feature(path string) *wire.Feature {
	f := &wire.Feature{Name: "netfilter-rules"}
	if b.unable = nft.Supported(path, b.dial); b.unable != nil {
		f.Why = "netfilter's drops don't name their rule: " + b.unable.Error()
		return f
	}
	if err := traceIsQuiet(path); err != nil {
		f.Why = "netfilter's drops don't name their rule: " + err.Error()
		return f
	}
	f.Present = true
	return f
}

// sweep removes what probes left in these namespaces that were killed, below
// Linux 5.12: above, their tables went with them.
func (b *blamer) sweep(paths []string) {
	for _, path := range paths {
		err := nft.Sweep(path, staleTable)
		if err != nil && !errors.Is(err, os.ErrNotExist) && b.sink != nil {
			b.sink.Notice(wire.Notice_WARN, err.Error())
		}
	}
}

// traceIsQuiet refuses where the old iptables has tables and the kernel writes
// what its rules trace into its log, which is other people's.
func traceIsQuiet(path string) error {
	return inside(path, func() error {
		tables := legacyTables()
		if len(tables) == 0 {
			return nil
		}
		for _, family := range []string{"2", "10"} {
			logger, err := os.ReadFile("/proc/sys/net/netfilter/nf_log/" + family)
			if err == nil && strings.TrimSpace(string(logger)) != "NONE" {
				return fmt.Errorf("iptables-legacy is in use (tables %s), whose rules only the kernel's log can tell: move them to iptables-nft, or see iptables-legacy-save -c on the node",
					strings.Join(tables, ", "))
			}
		}
		return nil
	})
}

// legacyTables are those of the old iptables; it must be called inside the
// namespace.
func legacyTables() (tables []string) {
	for _, file := range []string{"ip_tables_names", "ip6_tables_names"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err != nil {
			continue
		}
		for t := range strings.FieldsSeq(string(b)) {
			if !slices.Contains(tables, t) {
				tables = append(tables, t)
			}
		}
	}
	return tables
}
