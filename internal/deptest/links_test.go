// SPDX-License-Identifier: Apache-2.0

package deptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)

// TestLinks follows every relative link in the repository's Markdown: a page
// that names a file must not outlive it.
func TestLinks(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files", "*.md").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	for page := range strings.FieldsSeq(string(out)) {
		path := filepath.Join("../..", page)
		text, err := os.ReadFile(path)
		if err != nil {
			continue // listed, but deleted in the work tree
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %q, which isn't there", page, m[1])
			}
		}
	}
}
