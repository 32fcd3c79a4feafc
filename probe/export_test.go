// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

// FilterName is what a process calls its filters.
var FilterName = filterName
