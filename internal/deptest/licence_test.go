// SPDX-License-Identifier: Apache-2.0

package deptest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLicences: each source file says its licence in its first lines.
func TestLicences(t *testing.T) {
	out, err := exec.Command("git", "-C", "../..", "ls-files", "*.go", "*.c", "*.h", "*.sh").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		f, err := os.Open(filepath.Join("../..", file))
		if err != nil {
			continue // listed, but deleted in the work tree
		}
		var head []string
		for s := bufio.NewScanner(f); len(head) < 3 && s.Scan(); {
			head = append(head, s.Text())
		}
		f.Close()
		first := strings.Join(head, "\n")
		want := "SPDX-License-Identifier: Apache-2.0"
		if ext := filepath.Ext(file); ext == ".c" || ext == ".h" {
			want = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"
		}
		if !strings.Contains(first, want) && !strings.Contains(first, "DO NOT EDIT") {
			t.Errorf("%s doesn't begin with %q", file, want)
		}
	}
}
