// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// env is what run.sh says about the cluster.
var env struct {
	kubeconfig string
	state      string // of the project's own cluster; "" for others
	plugin     string
	image      string // of the probe
	agnhost    string
	busybox    string

	client kubernetes.Interface
	config *rest.Config
	nodes  []string
}

func TestMain(m *testing.M) {
	if err := setUp(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func setUp() error {
	for name, v := range map[string]*string{
		"E2E_KUBECONFIG": &env.kubeconfig, "E2E_PLUGIN": &env.plugin, "E2E_IMAGE": &env.image,
		"E2E_AGNHOST": &env.agnhost, "E2E_BUSYBOX": &env.busybox,
	} {
		if *v = os.Getenv(name); *v == "" {
			return fmt.Errorf("%s is not set: run `make e2e`", name)
		}
	}
	env.state = os.Getenv("E2E_STATE")
	var err error
	if env.config, err = clientcmd.BuildConfigFromFlags("", env.kubeconfig); err != nil {
		return err
	}
	env.config.QPS, env.config.Burst = 100, 200
	if env.client, err = kubernetes.NewForConfig(env.config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	list, err := env.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("cluster of %s: %w", env.kubeconfig, err)
	}
	for _, n := range list.Items {
		env.nodes = append(env.nodes, n.Name)
	}
	if len(env.nodes) < 2 {
		return fmt.Errorf("cluster of %s has %d nodes; the tests need two", env.kubeconfig, len(env.nodes))
	}
	return nil
}

var errNotSupported = errors.New("not supported")

// onMachine skips a test that needs the machine of the nodes, elsewhere than
// on the project's own cluster.
func onMachine(t testing.TB) {
	t.Helper()
	if env.state == "" {
		t.Skip(fmt.Errorf("%w by this cluster: a command on the machine of its nodes", errNotSupported))
	}
}

// onNode runs a command in the namespaces of a node of the project's cluster.
func onNode(t testing.TB, node string, command ...string) string {
	t.Helper()
	onMachine(t)
	pid, err := os.ReadFile(filepath.Join(env.state, node+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("nsenter", append([]string{"-t", strings.TrimSpace(string(pid)), "-a", "--"}, command...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("on node %s: %v: %v\n%s", node, command, err, out)
	}
	return string(out)
}

func random() string {
	b := make([]byte, 3)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// target is how long the project promises something takes. What was measured
// is logged, not judged: the machine may be busy with other work. Benchmarks
// judge speed.
type target time.Duration

// slack is how many times a target a test waits before it calls it never.
const slack = 3

func (d target) log(t testing.TB, what string, took time.Duration) {
	t.Helper()
	t.Logf("%s: %s (target %s)", what, took.Round(time.Millisecond), time.Duration(d))
}
