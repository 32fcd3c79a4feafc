// SPDX-License-Identifier: Apache-2.0

package deptest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ebpol/kubectl-ebpol"

// A border forbids imports. Patterns are import paths; one that ends with
// "/..." also stands for everything below it.
type border struct {
	from   []string
	never  []string
	except []string // patterns of never that are fine after all
	direct bool     // judge only what the package's own files import
	why    string
}

// borders of non-test code. A border that forbids a chain of imports prints it.
var borders = []border{
	{
		from:  []string{module + "/cmd/kubectl-ebpol"},
		never: []string{"github.com/cilium/ebpf/...", module + "/probe/...", module + "/bpf/..."},
		why:   "the plugin runs on macOS and Windows and never touches a kernel: it sends numbers to a probe",
	},
	{
		from:  []string{module + "/cmd/ebpol-probe"},
		never: []string{"k8s.io/...", "sigs.k8s.io/...", module + "/pkg/kube/...", module + "/pkg/deploy/...", module + "/pkg/policy/..."},
		why:   "the probe knows numbers, not Kubernetes: it has no token, and must stay a few megabytes",
	},
	{
		from:  []string{module + "/cmd/ebpol-probe"},
		never: []string{"net/http/...", "crypto/tls", "github.com/klauspost/..."},
		why:   "the probe listens on no port and calls nobody: it speaks frames over a pipe",
	},
	{
		from:  []string{module + "/cmd/ebpol-probe"},
		never: []string{"charm.land/...", "github.com/spf13/...", module + "/tui/..."},
		why:   "nobody looks at the probe's screen; each megabyte is pulled by every node",
	},
	{
		from:   []string{module + "/tui/..."},
		never:  []string{module + "/...", "k8s.io/...", "sigs.k8s.io/..."},
		except: []string{module + "/tui/...", module + "/pkg/store/...", module + "/pkg/policy", module + "/pkg/policy/...", module + "/pkg/flow", module + "/pkg/count", module + "/pkg/plain", module + "/pkg/nearest", module + "/pkg/version"},
		direct: true,
		why:    "the screen draws snapshots and asks through tui.Actions; it must not know where frames come from",
	},
	{
		from:  []string{module + "/pkg/flow/...", module + "/pkg/ruleset/..."},
		never: []string{module + "/...", "k8s.io/...", "sigs.k8s.io/..."},
		except: []string{
			module + "/pkg/flow/...", module + "/pkg/ruleset/...",
		},
		why: "the nouns and the compiled form are leaves, so that probe, plugin and screen may all import them",
	},
	{
		from:  []string{module + "/pkg/wire/...", module + "/pkg/store/...", module + "/pkg/identity/..."},
		never: []string{"k8s.io/client-go/...", module + "/pkg/kube/...", module + "/pkg/deploy/..."},
		why:   "a recording is read without a cluster: nothing between the wire and the screen talks to one",
	},
	{
		from:   []string{module + "/..."},
		never:  []string{"k8s.io/client-go/...", "k8s.io/cli-runtime/..."},
		except: nil,
		direct: true,
		why:    "pkg/kube and pkg/deploy are the only home of client-go, so that everything else works from files",
	},
	{
		from:   []string{module + "/pkg/...", module + "/tui/...", module + "/cmd/kubectl-ebpol/..."},
		never:  []string{module + "/pkg/testkit/..."},
		direct: true,
		why:    "the test kit never ships",
	},
}

// clientGoHomes may import client-go.
var clientGoHomes = []string{
	module + "/pkg/kube/...", module + "/pkg/deploy/...", module + "/cmd/kubectl-ebpol/...",
	module + "/test/...", module + "/hack/...",
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	ImportMap  map[string]string
	Standard   bool
}

func TestBorders(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		graph := list(t, goos)
		for _, b := range borders {
			for path := range graph {
				if !matches(path, b.from) {
					continue
				}
				if slices.Contains(b.never, "k8s.io/client-go/...") && b.direct && matches(path, clientGoHomes) {
					continue
				}
				if b.direct && matches(path, []string{module + "/pkg/testkit/..."}) {
					continue
				}
				if chain := find(graph, path, b); chain != nil {
					t.Errorf("GOOS=%s: %s\n\tbecause %s", goos, strings.Join(chain, "\n\t-> "), b.why)
				}
			}
		}
	}
}

// TestBordersBite proves that a border which is crossed is found: with made-up
// graphs, since the real one is good.
func TestBordersBite(t *testing.T) {
	graph := map[string]*pkg{
		"m/a": {Imports: []string{"m/b"}}, "m/b": {Imports: []string{"x/y/z"}}, "x/y/z": {},
	}
	for _, c := range []struct {
		name string
		b    border
		want string
	}{
		{"indirect", border{never: []string{"x/..."}}, "m/a m/b x/y/z"},
		{"direct only", border{never: []string{"x/..."}, direct: true}, ""},
		{"direct", border{never: []string{"m/b"}, direct: true}, "m/a m/b"},
		{"except", border{never: []string{"x/..."}, except: []string{"x/y/..."}}, ""},
		{"exact", border{never: []string{"x/y"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(find(graph, "m/a", c.b), " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// find returns the shortest chain of imports from path to something forbidden.
func find(graph map[string]*pkg, path string, b border) []string {
	chains := [][]string{{path}}
	seen := map[string]bool{path: true}
	for len(chains) > 0 {
		chain := chains[0]
		chains = chains[1:]
		p := graph[chain[len(chain)-1]]
		if p == nil {
			continue
		}
		for _, i := range p.Imports {
			if seen[i] {
				continue
			}
			seen[i] = true
			next := append(slices.Clone(chain), i)
			if matches(i, b.never) && !matches(i, b.except) {
				return next
			}
			if !b.direct {
				chains = append(chains, next)
			}
		}
	}
	return nil
}

func matches(path string, patterns []string) bool {
	for _, p := range patterns {
		if base, ok := strings.CutSuffix(p, "/..."); ok {
			if path == base || strings.HasPrefix(path, base+"/") {
				return true
			}
		} else if path == p {
			return true
		}
	}
	return false
}

// list is the import graph of the module's non-test code for one platform.
func list(t *testing.T, goos string) map[string]*pkg {
	t.Helper()
	noteTree(t)
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Imports,Standard", module+"/...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	graph := map[string]*pkg{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if !p.Standard {
			graph[p.ImportPath] = &p
		}
	}
	if graph[module+"/pkg/flow"] == nil {
		t.Fatalf("go list found %d packages, but not pkg/flow", len(graph))
	}
	return graph
}

// noteTree reads every folder of the module, so that go test's cache knows
// what this result rests on: it can't see what go list reads.
func noteTree(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a folder that has just gone is no concern of ours
		}
		if name := d.Name(); d.IsDir() && (name == "bin" || name == "dist" || len(name) > 2 && name[0] == '.' && name[1] != '.') {
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
