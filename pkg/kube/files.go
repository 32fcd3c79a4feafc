// SPDX-License-Identifier: Apache-2.0

package kube

import (
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
}

// maxFile bounds one file: the largest real sets of policies are a few
// megabytes, and nothing here shall be made to swallow a disk.
const maxFile = 64 << 20

var fileExtensions = []string{".yaml", ".yml", ".json"}

// ReadFiles reads what the options name, in order; files of a folder by name.
func ReadFiles(ctx context.Context, o FileOptions) ([]File, error) {
	var out []File
	for _, name := range o.Names {
		files, err := readOne(ctx, name, o)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	if o.Kustomize != "" {
		f, err := kustomize(o.Kustomize)
		if err != nil {
			return nil, fmt.Errorf("kustomization %q: %w", o.Kustomize, err)
		}
		out = append(out, f)
	}
	return out, nil
}

func readOne(ctx context.Context, name string, o FileOptions) ([]File, error) {
	switch {
	case name == "-":
		if o.In == nil {
			return nil, errors.New("standard input can't be read here")
		}
		return readAll("standard input", o.In)
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		return fetch(ctx, name)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, notThere(name, err)
	}
	if !info.IsDir() {
		return open(name)
	}
	var out []File
	err = filepath.WalkDir(name, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != name && !o.Recursive:
			return filepath.SkipDir
		case d.IsDir() || !slices.Contains(fileExtensions, strings.ToLower(filepath.Ext(path))):
			return nil
		}
		files, err := open(path)
		out = append(out, files...)
		return err
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("folder %q holds no .yaml, .yml or .json file; use -R to look into its folders", name)
	}
	return out, err
}

func notThere(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("file %q doesn't exist", name)
	}
	return err
}

func open(path string) ([]File, error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, notThere(path, err)
	}
	defer f.Close()
	return readAll(path, f)
}

func readAll(name string, r io.Reader) ([]File, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%q is larger than %d MiB", name, maxFile>>20)
	}
	return []File{{name, data}}, nil
}

func fetch(ctx context.Context, url string) ([]File, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%q: the server answers %s", url, res.Status)
	}
	return readAll(url, res.Body)
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
