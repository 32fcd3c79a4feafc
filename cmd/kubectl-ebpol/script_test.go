// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run this program under the names that it is called by.
func TestMain(m *testing.M) {
	main := func() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"kubectl-ebpol": main, "ebpol": main})
}

// TestScripts runs what a user would type, against a small API server of our
// own whose kubeconfig is in KUBECONFIG.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			path := filepath.Join(env.WorkDir, "kubeconfig")
			env.Setenv("KUBECONFIG", path)
			env.Setenv("HOME", env.WorkDir)
			if err := copyFile(filepath.Join(env.WorkDir, "demo.ebpol"), "../../pkg/demo/shop.ebpol"); err != nil {
				return err
			}
			if err := writeMarket(filepath.Join(env.WorkDir, "market.ebpol")); err != nil {
				return err
			}
			if err := writeRecording(filepath.Join(env.WorkDir, "shop.ebpol")); err != nil {
				return err
			}
			api := newFakeAPI(t)
			env.Setenv("SERVER", api.URL)
			return os.WriteFile(path, []byte(api.kubeconfig()), 0o600)
		},
	})
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}
