// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The same sources in another folder give the same digest and the same archive.
func TestReproducible(t *testing.T) {
	var digests []string
	var archives [][]byte
	for _, name := range []string{"a", "b/c"} {
		src := filepath.Join(t.TempDir(), name)
		if err := os.CopyFS(src, os.DirFS("testdata/hello")); err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		d, err := build(config{pkg: ".", version: "v1.2.3", dir: src}, out, "ebpol.invalid/hello:1")
		if err != nil {
			t.Fatal(err)
		}
		tar, err := os.ReadFile(filepath.Join(out, "image.tar"))
		if err != nil {
			t.Fatal(err)
		}
		digests, archives = append(digests, d), append(archives, tar)
	}
	if digests[0] != digests[1] || !bytes.Equal(archives[0], archives[1]) {
		t.Fatalf("two builds of one source differ: %v", digests)
	}
}

// What is written is a valid image for both architectures that runs the probe.
func TestLayout(t *testing.T) {
	out := t.TempDir()
	index, _, err := assemble(map[string][]byte{"arm64": []byte("b"), "amd64": []byte("a")}, "v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := write(index, out, "ebpol.invalid/x:1"); err != nil {
		t.Fatal(err)
	}
	read, err := layout.ImageIndexFromPath(filepath.Join(out, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(read); err != nil {
		t.Fatal(err)
	}
	want, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	inner, err := read.ImageIndex(want)
	if err != nil {
		t.Fatal(err)
	}
	m, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var archs []string
	for _, d := range m.Manifests {
		archs = append(archs, d.Platform.Architecture)
		checkConfig(t, inner, d)
	}
	if got := strings.Join(archs, " "); got != "amd64 arm64" {
		t.Fatalf("architectures %q", got)
	}
}

func checkConfig(t *testing.T, index v1.ImageIndex, d v1.Descriptor) {
	t.Helper()
	img, err := index.Image(d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != d.Platform.Architecture || c.OS != "linux" || c.Config.Entrypoint[0] != "/ebpol-probe" || !c.Created.Time.Equal(epoch) {
		t.Fatalf("config %+v", c)
	}
}

// An image that got heavy is refused, with the weight.
func TestTooBig(t *testing.T) {
	src := t.TempDir()
	noise := make([]byte, maxCompressed+1<<20)
	seed := uint64(1)
	for i := range noise { // what doesn't compress
		seed = seed*6364136223846793005 + 1442695040888963407
		noise[i] = byte(seed >> 56)
	}
	for name, text := range map[string][]byte{
		"go.mod":  []byte("module big\n\ngo 1.26\n"),
		"noise":   noise,
		"main.go": []byte("package main\n\nimport _ \"embed\"\n\n//go:embed noise\nvar noise string\n\nfunc main() { println(noise) }\n"),
	} {
		if err := os.WriteFile(filepath.Join(src, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := build(config{pkg: ".", version: "v1", dir: src}, t.TempDir(), "ebpol.invalid/big:1")
	if err == nil || !strings.Contains(err.Error(), "more than 6000000") {
		t.Fatalf("got %v", err)
	}
}
