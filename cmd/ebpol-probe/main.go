// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command ebpol-probe is the part of kubectl ebpol that runs on a node: it
// owns the BPF programs and speaks frames with the plugin, over a unix socket
// in its own pod or over its own stdin and stdout.
//
//	ebpol-probe run      own the programs and serve one plugin; the pod's main process
//	ebpol-probe connect  join stdin and stdout to a running probe's socket
//	ebpol-probe check    print what this node can do
//	ebpol-probe judge    judge packets that are asked about by the loaded program; nothing is attached
//	ebpol-probe version  print the version
//
// It knows nothing of Kubernetes and opens no port.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ebpol/kubectl-ebpol/pkg/version"
	"github.com/ebpol/kubectl-ebpol/probe/serve"
)

// Exit codes. The plugin and its users see them as those of a pod.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	exitNone  = 3 // connect: no probe is listening
	exitCut   = 4 // connect: the probe ended the stream
)

func main() { os.Exit(newProgram().main(os.Args[1:])) }

// program is main with its world passed in.
type program struct {
	in        io.ReadCloser
	out       io.WriteCloser
	errOut    io.Writer
	open      func(session string) (serve.Probe, error) // the kernel's side
	loadJudge func() (judger, error)                    // the program alone, for judge
	features  func() (serve.Facts, bool, error)         // what the node can do, and whether it is enough
}

const usage = `usage: ebpol-probe COMMAND

  run [--socket PATH] [--stdio] [--node NAME] [--linger 60s]
          own the BPF programs and serve one plugin
  connect [--socket PATH]
          join stdin and stdout to a running probe
  check [-o json]
          print what this node can do
  judge
          answer questions on stdin by the loaded program; for kubectl ebpol explain --engine kernel
  version
`

func (p *program) main(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(p.errOut, usage)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var err error
	switch args[0] {
	case "run":
		err = p.run(ctx, args[1:])
	case "connect":
		err = p.connect(ctx, args[1:])
	case "check":
		err = p.check(args[1:])
	case "judge":
		err = p.judge(ctx, args[1:])
	case "version", "--version":
		fmt.Fprintln(p.out, "ebpol-probe", version.String())
	case "help", "--help", "-h":
		fmt.Fprint(p.out, usage)
	default:
		fmt.Fprintf(p.errOut, "ebpol-probe: command %q: use run, connect, check, judge or version\n", args[0])
		return exitUsage
	}
	var code *coded
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &code):
		if code.err != nil {
			fmt.Fprintln(p.errOut, "ebpol-probe:", code.err)
		}
		return code.code
	}
	fmt.Fprintln(p.errOut, "ebpol-probe:", err)
	return exitError
}

// flags is a flag set that reports to the program's error stream.
func (p *program) flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet("ebpol-probe "+name, flag.ContinueOnError)
	fs.SetOutput(p.errOut)
	return fs
}

func parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &coded{exitUsage, nil} // the flag set has said why
	}
	if fs.NArg() > 0 {
		return &coded{exitUsage, fmt.Errorf("argument %q is not expected: %s takes flags only", fs.Arg(0), fs.Name())}
	}
	return nil
}

// coded ends the program with a code; a nil err has been printed.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return fmt.Sprintf("exit code %d: %v", e.code, e.err) }

func (e *coded) Unwrap() error { return e.err }
