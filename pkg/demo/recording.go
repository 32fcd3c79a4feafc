// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	_ "embed"
	"io"
)

// recording is half a minute of the live demo; `make demo-recording` makes it.
//
//go:embed shop.ebpol
var recording []byte

// Recording is the demo as it was recorded, for where it can't run live.
func Recording() io.ReadCloser { return io.NopCloser(bytes.NewReader(recording)) }
