// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"testing"
	"time"
)

var began = time.Now()

func processorTime(*testing.B) time.Duration { return time.Since(began) }
