// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/yaml"
)

// File is the text of one source of objects.
type File struct {
	Name string // path, URL, "standard input"
	Data []byte
}

// FileOptions are kubectl's -f, -R and -k.
type FileOptions struct {
	Names     []string // files, folders, http(s) URLs, "-"
	Recursive bool
	Kustomize string
	In        io.Reader // what "-" reads
	// Tell is told how far reading is; nil: nobody asks.
	Tell func(Reading)
}

// Reading is how far the reading of files is.
type Reading struct {
	Name    string
	Bytes   int64 // of this file so far
	Size    int64 // of this file; 0: not known
	Objects int   // of all files, of kinds that matter
}

// maxFile bounds a file that is read as a whole: the largest real sets of
// policies are a few megabytes, and nothing here shall be made to swallow a
// disk. [ReadObjects] has no such bound.
const maxFile = 64 << 20

var fileExtensions = []string{".yaml", ".yml", ".json"}

// ReadFiles reads what the options name, in order; files of a folder by name.
func ReadFiles(ctx context.Context, o FileOptions) ([]File, error) {
	var out []File
	err := o.each(ctx, func(name string, r io.Reader, _ int64) error {
		f, err := readAll(name, r)
		out = append(out, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each opens what the options name, in order. It ends at the first error.
func (o *FileOptions) each(ctx context.Context, f func(name string, r io.Reader, size int64) error) error {
	for _, name := range o.Names {
		if err := o.one(ctx, name, f); err != nil {
			return err
		}
	}
	if o.Kustomize == "" {
		return nil
	}
	built, err := kustomize(o.Kustomize)
	if err != nil {
		return fmt.Errorf("kustomization %q: %w", o.Kustomize, err)
	}
	return f(built.Name, bytes.NewReader(built.Data), int64(len(built.Data)))
}

func (o *FileOptions) one(ctx context.Context, name string, f func(string, io.Reader, int64) error) error {
	switch {
	case name == "-":
		if o.In == nil {
			return errors.New("standard input can't be read here")
		}
		return f("standard input", o.In, 0)
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		return fetch(ctx, name, f)
	}
	info, err := os.Stat(name)
	if err != nil {
		// A pattern that no shell has expanded, as kubectl takes it.
		if found, bad := filepath.Glob(name); bad == nil && len(found) > 0 && errors.Is(err, fs.ErrNotExist) {
			for _, path := range found {
				if err := o.one(ctx, path, f); err != nil {
					return err
				}
			}
			return nil
		}
		return notThere(name, err)
	}
	if !info.IsDir() {
		return open(name, f)
	}
	found := false
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != name && !o.Recursive:
			return filepath.SkipDir
		case d.IsDir() || !slices.Contains(fileExtensions, strings.ToLower(filepath.Ext(path))):
			return nil
		}
		found = true
		return open(path, f)
	})
	if err == nil && !found {
		err = fmt.Errorf("folder %q holds no .yaml, .yml or .json file; use -R to look into its folders", name)
	}
	return err
}

func notThere(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("file %q doesn't exist", name)
	}
	return err
}

func open(path string, use func(string, io.Reader, int64) error) error {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return notThere(path, err)
	}
	defer f.Close()
	size := int64(0)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return use(path, f, size)
}

func readAll(name string, r io.Reader) (File, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return File{}, fmt.Errorf("read %q: %w", name, err)
	}
	if len(data) > maxFile {
		return File{}, fmt.Errorf("%q is larger than %d MiB", name, maxFile>>20)
	}
	return File{name, data}, nil
}

func fetch(ctx context.Context, url string, use func(string, io.Reader, int64) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 30 * time.Second}}
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%q: the server answers %s", url, res.Status)
	}
	return use(url, res.Body, max(res.ContentLength, 0))
}

// kustomize builds a kustomization as kubectl does.
func kustomize(folder string) (File, error) {
	infos, err := resource.NewLocalBuilder().Unstructured().Flatten().
		FilenameParam(false, &resource.FilenameOptions{Kustomize: folder}).Do().Infos()
	if err != nil {
		return File{}, err
	}
	var out strings.Builder
	for _, i := range infos {
		b, err := yaml.Marshal(i.Object)
		if err != nil {
			return File{}, err
		}
		out.WriteString("---\n")
		out.Write(b)
	}
	return File{folder, []byte(out.String())}, nil
}
