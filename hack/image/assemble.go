// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of everything in an image: a fixed one, so that digests
// depend on content alone.
var epoch = time.Unix(0, 0).UTC()

// assemble makes the index from binaries by architecture, and says how many
// bytes of layers a node of each architecture pulls.
func assemble(binaries map[string][]byte, version string) (v1.ImageIndex, map[string]int64, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	sizes := map[string]int64{}
	for _, arch := range sortedKeys(binaries) {
		img, size, err := image(binaries[arch], arch, version)
		if err != nil {
			return nil, nil, err
		}
		sizes[arch] = size
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return index, sizes, nil
}

func image(binary []byte, arch, version string) (v1.Image, int64, error) {
	root, err := rootfs(binary)
	if err != nil {
		return nil, 0, err
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(root)), nil },
		tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, 0, err
	}
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: v1.Time{Time: epoch},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: []string{"/ebpol-probe"},
			Cmd:        []string{"run"},
			Env:        []string{"PATH=/"}, // so that `exec … ebpol-probe connect` finds it
			WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":    "ebpol-probe",
				"org.opencontainers.image.version":  version,
				"org.opencontainers.image.licenses": "Apache-2.0",
				"org.opencontainers.image.source":   "https://github.com/ebpol/kubectl-ebpol",
			},
		},
	})
	if err != nil {
		return nil, 0, err
	}
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: epoch}}})
	if err != nil {
		return nil, 0, err
	}
	size, err := layer.Size()
	return img, size, err
}

// rootfs is the file system: the program, and the folders that mounts need
// where the root is read-only.
func rootfs(binary []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range []string{"proc/", "run/", "run/ebpol/", "sys/", "tmp/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755, ModTime: epoch, Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "ebpol-probe", Typeflag: tar.TypeReg, Mode: 0o555, Size: int64(len(binary)), ModTime: epoch, Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := w.Write(binary); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// write replaces out/layout and out/image.tar.
func write(index v1.ImageIndex, out, tag string) error {
	dir := filepath.Join(out, "layout")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// containerd takes the name from its own annotation; others use OCI's
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          tag,
		"org.opencontainers.image.ref.name": tag,
	})); err != nil {
		return err
	}
	return archive(dir, filepath.Join(out, "image.tar"))
}

// archive writes the files below dir, in order of their names and without
// times or owners.
func archive(dir, file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(name), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text)), ModTime: epoch, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	})
	if err != nil {
		return err
	}
	return w.Close()
}
