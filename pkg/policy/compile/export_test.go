// SPDX-License-Identifier: Apache-2.0

package compile

// NewNarrow makes a compiler whose sets have so many bits only, so that small
// worlds have sets that don't fit.
func NewNarrow(bits int) *Compiler {
	c := New()
	c.mostBits = bits
	return c
}
