// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

const stream = `{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestSkip","Output":"=== RUN   TestSkip\n"}
{"Action":"output","Package":"p","Test":"TestSkip","Output":"    x_test.go:3: not root\n"}
{"Action":"skip","Package":"p","Test":"TestSkip"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
{"Action":"output","Package":"q","Test":"TestBad","Output":"    y_test.go:7: wrong\n"}
{"Action":"fail","Package":"q","Test":"TestBad"}
{"Action":"output","Package":"q","Test":"TestPanics","Output":"panic: oh\n"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.2s\n"}
{"Action":"fail","Package":"q"}
`

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out)
	r.read(strings.NewReader(stream))
	r.close()
	if want := (count{Packages: 2, Passed: 1, Skipped: 1, Failed: 2}); r.count != want {
		t.Errorf("counted %v, want %v", r.count, want)
	}
	got := out.String()
	for _, want := range []string{
		"ok  \tp\t0.1s", "FAIL\tq\t0.2s", "y_test.go:7: wrong", "panic: oh",
		"--- SKIP: p TestSkip: x_test.go:3: not root", "tests: 1 passed, 1 skipped, 2 failed in 2 packages",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "noise") {
		t.Errorf("the report has output of a test that passed:\n%s", got)
	}
}

func TestSum(t *testing.T) {
	file := filepath.Join(t.TempDir(), "totals")
	for range 2 {
		if err := appendTo(file, count{1, 2, 3, 4}); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := sumOf(file)
	if want := (count{2, 4, 6, 8}); err != nil || sum != want {
		t.Errorf("got %v, %v, want %v", sum, err, want)
	}
}
