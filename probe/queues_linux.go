// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"time"
)

// queuesFile lists the queues of netfilter that somebody takes packets from, in
// the network namespace of the thread.
const queuesFile = "/proc/thread-self/net/netfilter/nfnetlink_queue"

// queues says whether somebody takes packets from netfilter's queues in a
// namespace, and how many wait there. The kernel drops all of them when a base
// chain goes (nf_queue_nf_hook_drop, called by nf_unregister_net_hook): so ours
// stays while there are queues, and goes in the end when they are empty. What
// can't be known is taken for a queue.
func queues(path string) (taken bool, waiting int) {
	var text []byte
	err := inside(path, func() (err error) {
		text, err = os.ReadFile(queuesFile)
		return err
	})
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist), 0
	}
	return readQueues(text)
}

// readQueues reads the file: a line for each queue, its number, whose it is,
// how many packets wait, and more.
func readQueues(text []byte) (taken bool, waiting int) {
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) > 2 {
			taken = true
			n, _ := strconv.Atoi(string(f[2])) // a number
			waiting += n
		}
	}
	return taken, waiting
}

const emptyWithin = time.Second

// close ends the trace. It waits for a moment in which no packet waits for an
// engine's verdict, but not for ever.
func (s *space) close() error {
	for end := time.Now().Add(emptyWithin); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, waiting := queues(s.path); waiting == 0 {
			break
		}
	}
	return s.tracer.Close()
}
