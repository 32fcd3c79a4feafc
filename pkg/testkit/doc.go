// SPDX-License-Identifier: Apache-2.0

// Package testkit is what tests of several packages share: beds of network
// namespaces ([NewBed]), and a TestMain that fails a package which leaves
// something behind ([Main]). It never ships.
//
// A test that needs root calls [NeedsRoot] or makes a bed. Without root it is
// skipped with the reason; under `make test-root` (EBPOL_ROOT_TESTS=1) the
// same reason fails it, so that nobody believes it ran.
package testkit
