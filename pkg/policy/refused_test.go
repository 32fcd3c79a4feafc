// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/ebpol/kubectl-ebpol/pkg/policy"
)

// What the API server refuses is refused in its very words, and what it takes
// is taken.
func TestFaultsAreInTheServersWords(t *testing.T) {
	serversWords(t, "testdata/refused.txtar", 120)
	serversWords(t, "testdata/refused-v1alpha1.txtar", 70)
}

func serversWords(t *testing.T, file string, least int) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) < least {
		t.Fatalf("%d files are left of the table", len(archive.Files))
	}
	// The server takes any selector in a ClusterNetworkPolicy, which nobody can
	// follow then; and a peer of a kind that isn't known makes its rule fail
	// closed, as it may be one of a newer server (SEMANTICS case 38).
	ours := map[string]bool{"cnp operator bad": true, "cnp In without values": true, "cnp label bad": true, "cnp peer unknown field": true}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		name, text, want := archive.Files[i].Name, archive.Files[i].Data, string(archive.Files[i+1].Data)
		t.Run(name, func(t *testing.T) {
			o, err := policy.Parse(text, "f.yaml")
			said := ""
			if err != nil {
				said = err.Error()
			}
			for _, p := range o.Policies {
				for _, w := range p.Warnings {
					if strings.Contains(w, policy.Refused) {
						said += "\n" + w
					}
				}
			}
			switch {
			case ours[name]:
				if said == "" && len(o.Policies[0].Warnings) == 0 {
					t.Error("nothing is said about it")
				}
				return
			case want == "" && said != "":
				t.Errorf("the server takes it, and here it is refused: %s", said)
			}
			for line := range strings.Lines(want) {
				if !strings.Contains(said, strings.TrimSuffix(line, "\n")) {
					t.Errorf("the server says\n\t%sand here it says\n\t%s", line, said)
				}
			}
		})
	}
}
