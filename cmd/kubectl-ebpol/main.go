// SPDX-License-Identifier: Apache-2.0

// Command kubectl-ebpol judges a cluster's live traffic by the policies that
// it has and by those that its user is thinking of.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs name cloud providers' plugins
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/ebpol/kubectl-ebpol/pkg/deploy"
	"github.com/ebpol/kubectl-ebpol/pkg/plain"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// run is main with its world passed in. It returns the exit code: 0 fine, 1 an
// error that was printed, others as the commands say.
func run(args []string, in io.Reader, out, errOut io.Writer) int {
	// client-go's own log lines would land in the middle of the screen.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)

	ctx, stop := interruptible()
	defer stop()
	out, errOut = &plain.Output{W: out}, &plain.Output{W: errOut}
	streams := genericiooptions.IOStreams{In: in, Out: out, ErrOut: errOut}
	cmd := newRoot(args[0], streams)
	cmd.SetArgs(args[1:])
	cmd.SetIn(in)
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, syscall.EPIPE):
		return 0 // who read the lines has seen enough
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted)):
		return 0 // the user ended it, and what was to be freed is freed
	}
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	failed := coded{code: 1}
	if !errors.As(err, &failed) && slices.Contains(args, "--exit-code") {
		failed.code = 2 // the flags could not be read: 1 would say that something changes
	}
	if clientcmd.IsContextNotFound(err) {
		err = fmt.Errorf("%w; see kubectl config get-contexts", err)
	}
	var rights *deploy.RightsError
	if errors.As(err, &rights) {
		fmt.Fprintf(errOut, "error: %s\n", printable(err.Error())) // with the role that grants it
		return failed.code
	}
	fmt.Fprintf(errOut, "error: %s\n", oneLineEach(err))
	return failed.code
}

// errInterrupted is why the context of a program ended that was told to end.
var errInterrupted = errors.New("interrupted")

// sameSignal is for how long after the first signal others are its echo.
const sameSignal = 500 * time.Millisecond

// interruptible gives a context that the first Ctrl-C ends, so that everything
// is cleaned up, and dies at the second, so that nobody is held hostage: the
// probe pod's deadline and the lease then do the cleaning up. What comes at once
// after the first is no second: timeout(1) tells its child and then its group.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	// A pipe that nobody reads any more shall be an error, not a sudden death
	// that leaves probes behind.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
			return
		}
		for first := time.Now(); time.Since(first) < sameSignal; {
			<-signals
		}
		os.Exit(130)
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}
