// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
)

func (c *demoCommand) replayRecording(context.Context) error {
	return errors.New("this build has no recording of the demo")
}
