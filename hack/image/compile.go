// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// compile returns c's program for linux and arch. Nothing of the machine goes
// into it: no paths, no C compiler, no state of the working tree, no build
// time. -buildvcs=false because a tag or an untracked file isn't the source.
func compile(c config, arch string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "ebpol-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	file := filepath.Join(tmp, "probe")
	ldflags := "-s -w -buildid= -X github.com/ebpol/kubectl-ebpol/pkg/version.Version=" + c.version
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", file, c.pkg)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %q for linux/%s: %w\n%s", c.pkg, arch, err, out)
	}
	return os.ReadFile(file)
}

// commit names what is checked out in dir, with "-dirty" if tracked files
// differ from it.
func commit(dir string) (string, error) {
	cmd := exec.Command("git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("version of the sources: %w: %s; give one with -version", err, strings.TrimSpace(stderr.String()))
	}
	return "v0.0.0-" + strings.TrimSpace(string(out)), nil
}
