// SPDX-License-Identifier: Apache-2.0

// Gotest runs `go test -json` and prints what matters: go test's closing line
// of each package, the whole output of tests that failed, each skip with its
// reason, and the totals at the end. With -totals it adds them to a file, one
// line a run, which `gotest -sum` adds up.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() { os.Exit(run()) }

func run() int {
	totals := flag.String("totals", os.Getenv("TOTALS"), "append the totals to this `file`; default: $TOTALS")
	sum := flag.Bool("sum", false, "print the sum of the lines in -totals and exit")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: gotest [-totals FILE] [go test flags] packages\n       gotest -totals FILE -sum")
	}
	// Flags of ours come first; everything after them is go test's.
	ours, theirs := split(os.Args[1:])
	if err := flag.CommandLine.Parse(ours); err != nil {
		return 2
	}
	if *sum {
		all, err := sumOf(*totals)
		if err != nil {
			fmt.Fprintln(os.Stderr, "gotest:", err)
			return 1
		}
		fmt.Println("all stages:", all)
		return 0
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, theirs...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		return 1
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		return 1
	}
	r := newReport(os.Stdout)
	r.read(out)
	err = cmd.Wait()
	r.close()
	if *totals != "" {
		if err := appendTo(*totals, r.count); err != nil {
			fmt.Fprintln(os.Stderr, "gotest:", err)
			return 1
		}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "gotest:", err)
		return 1
	case r.count.Failed > 0:
		return 1
	}
	return 0
}

// split takes -totals and -sum off the front.
func split(args []string) (ours, theirs []string) {
	for i, a := range args {
		if !strings.HasPrefix(a, "-totals") && a != "-sum" {
			return args[:i], args[i:]
		}
	}
	return args, nil
}

// event is one line of test2json, as `go doc test2json` describes it.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

type count struct{ Packages, Passed, Skipped, Failed int }

func (c count) String() string {
	return fmt.Sprintf("%d passed, %d skipped, %d failed in %d packages", c.Passed, c.Skipped, c.Failed, c.Packages)
}

type report struct {
	w      *bufio.Writer
	count  count
	output map[string][]string // of running tests, by package and name
	skips  []string
}

func newReport(w io.Writer) *report {
	return &report{w: bufio.NewWriter(w), output: map[string][]string{}}
}

func (r *report) read(in io.Reader) {
	s := bufio.NewScanner(in)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var e event
		if json.Unmarshal(s.Bytes(), &e) != nil {
			fmt.Fprintln(r.w, s.Text()) // not ours to judge: a build error in an odd place
			continue
		}
		r.add(e)
	}
	// What is left unread would block go test for ever.
	_, _ = io.Copy(io.Discard, in)
}

func (r *report) add(e event) {
	key := e.Package + "\x00" + e.Test
	if e.Test == "" {
		r.addPackage(e, key)
		return
	}
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass":
		r.count.Passed++
		delete(r.output, key)
	case "skip":
		r.count.Skipped++
		r.skips = append(r.skips, fmt.Sprintf("--- SKIP: %s %s: %s", e.Package, e.Test, reason(r.output[key])))
		delete(r.output, key)
	case "fail":
		r.count.Failed++
		fmt.Fprint(r.w, strings.Join(r.output[key], ""))
		delete(r.output, key)
		r.w.Flush()
	}
}

func (r *report) addPackage(e event, key string) {
	switch e.Action {
	case "output", "build-output":
		r.output[key] = append(r.output[key], e.Output)
		closing := strings.HasPrefix(e.Output, "ok  \t") || strings.HasPrefix(e.Output, "FAIL\t") || e.Action == "build-output"
		if closing {
			fmt.Fprint(r.w, e.Output)
			r.w.Flush()
		}
	case "pass":
		r.count.Packages++
		delete(r.output, key)
	case "fail":
		r.count.Packages++
		// A panic or an exit outside of any test is in the tests that never ended.
		prefix := e.Package + "\x00"
		for k, lines := range r.output {
			if strings.HasPrefix(k, prefix) {
				if k != key {
					r.count.Failed++
				}
				fmt.Fprint(r.w, strings.Join(lines, ""))
				delete(r.output, k)
			}
		}
		r.w.Flush()
	}
}

// reason is the line that t.Skip wrote.
func reason(lines []string) string {
	for _, l := range lines {
		if t := strings.TrimSpace(l); t != "" && !strings.HasPrefix(t, "===") && !strings.HasPrefix(t, "---") {
			return t
		}
	}
	return "no reason given"
}

func (r *report) close() {
	for _, s := range r.skips {
		fmt.Fprintln(r.w, s)
	}
	fmt.Fprintln(r.w, "tests:", r.count)
	r.w.Flush()
}

func appendTo(file string, c count) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, c.Packages, c.Passed, c.Skipped, c.Failed)
	return errors.Join(err, f.Close())
}

func sumOf(file string) (sum count, err error) {
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	for {
		var c count
		_, err := fmt.Fscanln(f, &c.Packages, &c.Passed, &c.Skipped, &c.Failed)
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, fmt.Errorf("totals %q: %w", file, err)
		}
		sum.Packages += c.Packages
		sum.Passed += c.Passed
		sum.Skipped += c.Skipped
		sum.Failed += c.Failed
	}
}
