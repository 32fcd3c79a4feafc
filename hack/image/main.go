// SPDX-License-Identifier: Apache-2.0

// Image builds the probe's image without a container engine: a static binary
// alone in an otherwise empty file system, for amd64 and arm64, in one OCI
// index. The same sources, version and Go release give the same digest, on
// whatever machine and in whatever folder.
//
//	-o DIR receives DIR/layout (an OCI layout) and DIR/image.tar (the same as
//	an archive that `ctr -n k8s.io images import` takes)
//
// It prints the index's digest on stdout, and sizes on stderr.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// maxCompressed is what one architecture may weigh on its way to a node.
const maxCompressed = 6_000_000 // bytes

func main() { os.Exit(run()) }

func run() int {
	var c config
	out := flag.String("o", "dist/image", "`folder` to write to")
	tag := flag.String("tag", "ebpol.invalid/ebpol-probe:dev", "`name` of the image in the archive")
	flag.StringVar(&c.pkg, "package", "./cmd/ebpol-probe", "Go `package` that becomes the image")
	flag.StringVar(&c.version, "version", "", "version that the binary says it has; default: the commit")
	flag.Parse()
	digest, err := build(c, *out, *tag)
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		return 1
	}
	fmt.Println(digest)
	return 0
}

type config struct {
	pkg     string // of the Go program
	version string // written into it; empty: of the commit
	dir     string // where go runs; empty: here
}

// build compiles, assembles and writes, and returns the index's digest.
func build(c config, out, tag string) (string, error) {
	if c.version == "" {
		var err error
		if c.version, err = commit(c.dir); err != nil {
			return "", err
		}
	}
	binaries := map[string][]byte{}
	for _, arch := range []string{"amd64", "arm64"} {
		b, err := compile(c, arch)
		if err != nil {
			return "", err
		}
		binaries[arch] = b
	}
	index, sizes, err := assemble(binaries, c.version)
	if err != nil {
		return "", err
	}
	var tooBig error
	for _, arch := range sortedKeys(sizes) {
		fmt.Fprintf(os.Stderr, "image: linux/%s %.2f MB compressed, binary %.2f MB\n",
			arch, float64(sizes[arch])/1e6, float64(len(binaries[arch]))/1e6)
		if sizes[arch] > maxCompressed {
			tooBig = errors.Join(tooBig, fmt.Errorf("linux/%s is %d bytes compressed, more than %d: find what the probe has begun to link with `go version -m` and `go list -deps`",
				arch, sizes[arch], maxCompressed))
		}
	}
	if tooBig != nil {
		return "", tooBig
	}
	if err := write(index, out, tag); err != nil {
		return "", fmt.Errorf("image in %q: %w", filepath.Clean(out), err)
	}
	d, err := index.Digest()
	return d.String(), err
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
