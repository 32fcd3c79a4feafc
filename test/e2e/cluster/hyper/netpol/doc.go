// SPDX-License-Identifier: Apache-2.0

// Package netpol links upstream Kubernetes' NetworkPolicy tests, and no others,
// into a test binary of their own (the whole suite is several times as large).
package netpol
