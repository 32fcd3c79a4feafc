// SPDX-License-Identifier: Apache-2.0

// Dist makes what a release consists of, below -o: one archive for each
// platform (plugin, licence, completion; on Linux also the probe, so that the
// demo runs live), their checksums, and the krew manifest with those sums. The
// same commit gives the same bytes.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

const program = "kubectl-ebpol"

// stamp is the time that every file in every archive has.
var stamp = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func main() { os.Exit(run()) }

func run() int {
	out := flag.String("o", "dist", "`folder` to write to")
	version := flag.String("version", "v0.0.0", "version that the programs say they have")
	image := flag.String("image", "", "probe image, pinned by digest, that the plugin uses unless told otherwise")
	flag.Parse()
	if err := dist(*out, *version, *image); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		return 1
	}
	return 0
}

type platform struct{ OS, Arch string }

func (p platform) String() string { return p.OS + "/" + p.Arch }

// archive is the file name; users on Windows have no tar at hand.
func (p platform) archive() string {
	ext := ".tar.gz"
	if p.OS == "windows" {
		ext = ".zip"
	}
	return program + "_" + p.OS + "_" + p.Arch + ext
}

func (p platform) exe(name string) string {
	if p.OS == "windows" {
		return name + ".exe"
	}
	return name
}

var platforms = []platform{
	{"darwin", "amd64"},
	{"darwin", "arm64"},
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"windows", "amd64"},
	{"windows", "arm64"},
}

func dist(out, version, image string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var sums strings.Builder
	sha := map[string]string{}
	for _, p := range platforms {
		data, err := archive(p, version, image)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if err := os.WriteFile(filepath.Join(out, p.archive()), data, 0o644); err != nil {
			return err
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		sha[p.archive()] = sum
		fmt.Fprintf(&sums, "%s  %s\n", sum, p.archive())
		fmt.Printf("%-36s %5.1f MB\n", p.archive(), float64(len(data))/1e6)
	}
	if err := os.WriteFile(filepath.Join(out, "checksums.txt"), []byte(sums.String()), 0o644); err != nil {
		return err
	}
	manifest, err := krew(version, sha)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "ebpol.yaml"), manifest, 0o644)
}

// krew fills in .krew.yaml in the way of krew's release bot.
func krew(version string, sha map[string]string) ([]byte, error) {
	t := template.New(".krew.yaml").Funcs(template.FuncMap{
		"addURIAndSha": func(uri, tag string) (string, error) {
			uri = strings.ReplaceAll(uri, "{{ .TagName }}", tag)
			sum, ok := sha[filepath.Base(uri)]
			if !ok {
				return "", fmt.Errorf("uri %q names no archive of this release", uri)
			}
			return fmt.Sprintf("uri: %s\n    sha256: %s", uri, sum), nil
		},
	})
	t, err := t.ParseFiles(".krew.yaml")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, map[string]string{"TagName": version}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// file is one entry of an archive.
type file struct {
	name string
	mode os.FileMode
	data []byte
}

func archive(p platform, version, image string) ([]byte, error) {
	programs := []string{program}
	if p.OS == "linux" {
		programs = append(programs, "ebpol-probe")
	}
	var files []file
	for _, name := range programs {
		data, err := compile(p, name, version, image)
		if err != nil {
			return nil, err
		}
		files = append(files, file{p.exe(name), 0o755, data})
	}
	licence, err := os.ReadFile("LICENSE")
	if err != nil {
		return nil, err
	}
	files = append(files, file{"LICENSE", 0o644, licence})
	if p.OS != "windows" {
		files = append(files, file{"kubectl_complete-ebpol", 0o755, []byte("#!/bin/sh\nexec kubectl ebpol __complete \"$@\"\n")})
	}
	if p.OS == "windows" {
		return zipped(files)
	}
	return tarred(files)
}

func compile(p platform, name, version, image string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "dist")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	target := filepath.Join(dir, name)
	flags := "-s -w -buildid= -X main.version=" + version + " -X github.com/ebpol/kubectl-ebpol/pkg/version.Version=" + version
	if image != "" && name == program {
		flags += " -X main.probeImage=" + image
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", target, "./cmd/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w\n%s", name, err, out)
	}
	return os.ReadFile(target)
}

func tarred(files []file) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.data)), ModTime: stamp, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil // not before the writers have flushed
}

func zipped(files []file) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: stamp}
		h.SetMode(f.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return b.Bytes(), err
}
