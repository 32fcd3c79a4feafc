// SPDX-License-Identifier: Apache-2.0

// Package deptest holds the borders between packages: which may import which,
// and why. It has tests only.
package deptest
