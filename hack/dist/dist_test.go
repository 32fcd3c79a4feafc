// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestKrewManifest fills in the template and checks what krew's index does.
func TestKrewManifest(t *testing.T) {
	t.Chdir("../..")
	sha := map[string]string{}
	for _, p := range platforms {
		sha[p.archive()] = strings.Repeat("ab", 32)
	}
	data, err := krew("v1.2.3", sha)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Metadata struct{ Name string }
		Spec     struct {
			Version, Homepage, ShortDescription, Description string
			Platforms                                        []struct {
				URI, SHA256, Bin string
				Selector         struct{ MatchLabels map[string]string }
			}
		}
	}
	if err := yaml.Unmarshal(data, &m); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	s := m.Spec
	if m.Metadata.Name != "ebpol" || s.Version != "v1.2.3" || s.Homepage == "" {
		t.Errorf("name %q, version %q, homepage %q", m.Metadata.Name, s.Version, s.Homepage)
	}
	if n := len(s.ShortDescription); n == 0 || n > 50 {
		t.Errorf("shortDescription has %d characters, krew's index takes 1 to 50", n)
	}
	for line := range strings.Lines(s.Description) {
		if len(line) > 81 {
			t.Errorf("description isn't wrapped at 80: %q", line)
		}
	}
	if len(s.Platforms) != len(platforms) {
		t.Fatalf("%d platforms, want %d", len(s.Platforms), len(platforms))
	}
	for i, p := range platforms {
		got := s.Platforms[i]
		if got.Selector.MatchLabels["os"] != p.OS || got.Selector.MatchLabels["arch"] != p.Arch ||
			got.SHA256 != sha[p.archive()] || got.Bin != p.exe(program) ||
			!strings.HasSuffix(got.URI, "/v1.2.3/"+p.archive()) {
			t.Errorf("platform %s: got %+v", p, got)
		}
	}
}

func TestManifestRefusesUnknownArchive(t *testing.T) {
	t.Chdir("../..")
	if _, err := krew("v1.2.3", nil); err == nil {
		t.Error("a manifest without checksums was made")
	}
	if _, err := os.Stat(".krew.yaml"); err != nil {
		t.Error(err)
	}
}
