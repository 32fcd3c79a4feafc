// SPDX-License-Identifier: Apache-2.0

package part

import (
	"encoding/json"

	"github.com/ebpol/kubectl-ebpol/pkg/plain"
)

// JSON is v in one line, in which what would move a cursor or turn text round
// on a terminal is escaped. ok is false if v is no JSON.
func JSON(v any) (line string, ok bool) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", false
	}
	return string(plain.JSON(b)), true
}
