// SPDX-License-Identifier: Apache-2.0

// Package wire is what plugin and probe say to each other: length-delimited
// protobuf frames over any byte stream, and the same frames in a recording.
// ebpol.proto says what the frames mean; this package reads and writes them,
// and converts between them and the types that the rest works with.
//
// Whatever comes off a wire or out of a file may be hostile. A [Reader] never
// holds more than one frame of at most [MaxFrame] bytes and [MaxItems] nested
// messages, and every conversion checks lengths and ranges before it hands a
// value on. Strings are valid UTF-8 but otherwise untouched: whoever draws
// them strips control sequences.
package wire

//go:generate ../../hack/generate-proto.sh

// Version of the protocol that this package speaks.
const Version = 1

// Where a probe listens in its own pod. The folder is an emptyDir, because the
// pod's root is read-only, and an abstract socket would be open to everyone on
// the node's network namespace, which the pod shares.
const (
	SocketDir  = "/run/ebpol"
	SocketPath = SocketDir + "/probe.sock"
)
